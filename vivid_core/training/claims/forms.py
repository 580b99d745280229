"""How much is asked: a quick form that anybody has time for, and a full one."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Form:
    """At most `trials` clips of each of VIVID's tasks, `seeds` draws of the noise for each, in `steps` steps (None: the
    model's own); at most `sd_trials` scenes of each experiment about steering, in `sd_steps` steps. `changed_by` says
    which of it is not the form's own."""

    name: str
    trials: int
    seeds: int
    sd_trials: int
    sd_steps: int
    steps: int | None = None
    changed_by: tuple[str, ...] = ()

    @property
    def told_seeds(self) -> str:
        """The seeds in words."""
        return "one seed of the noise" if self.seeds == 1 else f"{self.seeds} seeds of the noise"

    @property
    def told(self) -> str:
        """The form in words."""
        return (
            f"{self.trials} clips a task with {self.told_seeds}, {self.sd_trials} scenes a claim about steering in "
            f"{self.sd_steps} steps"
        )

    def changed(self, trials: int | None, seeds: int | None, steps: int | None) -> Form:
        """The form with other numbers where they are given.

        Raises ValueError for a number below 1.
        """
        given = {"trials": trials, "seeds": seeds, "steps": steps}
        told = {name: value for name, value in given.items() if value is not None}
        for name, value in told.items():
            if value < 1:
                raise ValueError(f"Claims: got {value} {name}; use 1 or more.")
        found = replace(self, changed_by=tuple(f"{name} {value}" for name, value in told.items()))
        if trials is not None:
            found = replace(found, trials=trials, sd_trials=trials)
        if seeds is not None:
            found = replace(found, seeds=seeds)
        return found if steps is None else replace(found, steps=steps, sd_steps=steps)


# All held-out clips of VIVID take about a minute a seed on one core; the full form goes on from the quick one's
# answers about them. Steering takes most of the time: on two cores about a minute a scene in 15 steps.
QUICK = Form("quick", trials=64, seeds=1, sd_trials=16, sd_steps=15)
FULL = Form("full", trials=64, seeds=3, sd_trials=32, sd_steps=25)
