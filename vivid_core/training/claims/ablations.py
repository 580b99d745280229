"""The paper's ablations in the world: `python -m vivid_core.training.claims.ablations FOLDER --steps 2000`.

Each arm is one model, trained from the same first weights on the same order of clips with the same budget, and all are
judged on the same trials with many sampling seeds. So there is one training run an arm (n_train = 1): how much another
first draw of the weights would change is not known, and the p says only how sure it is of these models.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import max_pool2d

from ...editors.engine import embedded_engine
from ...models import embedded
from ...models.embedded_codec import load_codec
from ...origin import commit, today
from ..measures import RIM, Truth, painted
from ..settings import TrainSettings
from ..tasks import Recipe
from ..trainer import Trainer
from ..world.samples import world_sample
from ..world.trials import trials
from ..world.words import vocabulary
from .edits import DIRECT, ORACLE_KEY, Attempt, Editor
from .line import SURE, Line, mean
from .statistics import interval, paired, sign_flip_p

FULL = "full recipe"
NO_MASKS, VIDEO_ONLY, NO_KEYS = "exact masks only", "video only", "no keyframes"
ARMS: dict[str, dict[str, Any]] = {
    FULL: {},
    NO_MASKS: {"mask_modes": ("original",)},
    VIDEO_ONLY: {"images_per_video": 0.0},
    NO_KEYS: {"keyframe_share": 0.0},
}
BATCH = 32  # clips; an image costs about half as much, so there are twice as many in a step
TASKS = ("modify", "add")
TRIALS, SEEDS = 16, 4  # of each task, and of the noise for each trial
MODEL, RESULTS = "embedded_vivid.safetensors", "ablations.json"
KEPT = Path(__file__).with_name(RESULTS)  # of the last whole run, which takes hours

log = logging.getLogger("vivid")


@dataclass(frozen=True)
class Question:
    """One ablation in one measure: what the paper found, and whether more is better."""

    arm: str
    name: str
    paper: str
    way: str
    more_is_better: bool
    measure: Callable[[Attempt], float]


def overfilled(attempt: Attempt) -> float:
    """The pixels painted in the prompted colour off the object and its rim, as a part of the object's own."""
    return _overfilled(attempt.edited_fhwc, attempt.truth)


MASKS_CURE = "mask augmentation cures over-filling and deformed entities (section 5, figure 8)"
IMAGES_HELP = "images beside videos give better alignment with the text and a better background (section 5, table 5)"
KEYS_HELP = "keyframes without a hole in half of the videos teach to carry an edit (sections 4.3 and 4.4)"
QUESTIONS = (
    Question(NO_MASKS, "over-filling", MASKS_CURE, DIRECT, False, overfilled),
    Question(NO_MASKS, "IoU", MASKS_CURE, DIRECT, True, lambda one: one.own.iou),
    Question(VIDEO_ONLY, "IoU", IMAGES_HELP, DIRECT, True, lambda one: one.own.iou),
    Question(VIDEO_ONLY, "PSNR in the mask", IMAGES_HELP, DIRECT, True, lambda one: one.own.psnr),
    Question(NO_KEYS, "IoU with a keyframe", KEYS_HELP, ORACLE_KEY, True, lambda one: one.own.iou),
)


def train_arms(folder: Path, steps: int, batch: int = BATCH, seed: int = 0) -> dict[str, Path]:
    """The model file of each arm, trained in a folder of its own from where the last call stopped."""
    files = {}
    for name, changes in ARMS.items():
        own = folder / name.replace(" ", "_")
        files[name] = own / MODEL
        recipe = replace(Recipe(images_per_video=1, image_batch=2 * batch, video_batch=batch), **changes)
        settings = TrainSettings(seed=seed, total_steps=steps, save_every=100)
        model = embedded.build(vocabulary(), seed)
        trainer = Trainer(model, load_codec(), world_sample, own, recipe, settings)
        loss = trainer.train(steps)
        if not math.isnan(loss):
            log.info("%s: step %d, mean loss %.4f", name, trainer.step, loss)
        embedded.save(trainer.averaged, files[name], {"seed": seed, "step": trainer.step, "arm": name})
    return files


def judged(files: Mapping[str, Path], count: int, seeds: int, steps: int | None = None) -> dict[str, list[list[float]]]:
    """The answers to `QUESTIONS`, by arm: for each question the mean over `seeds` of each of `count` trials a task."""
    chosen = [one for task in TASKS for one in trials(task, count=count)]
    answers = {}
    for name, file in files.items():
        log.info("Judging: %s", name)
        editors = [Editor(embedded_engine(file), seed, steps) for seed in range(seeds)]
        rows = [[_answers(editor, trial, name) for editor in editors] for trial in chosen]
        answers[name] = [[mean([one[at] for one in row]) for row in rows] for at in range(len(QUESTIONS))]
    return answers


def compared(answers: Mapping[str, Sequence[Sequence[float]]]) -> list[dict[str, Any]]:
    """One line for each question: both arms' means, the difference in the paper's direction, and its p."""
    lines = []
    for at, question in enumerate(QUESTIONS):
        ours, theirs = answers[FULL][at], answers[question.arm][at]
        sign = 1 if question.more_is_better else -1
        differences = sign * paired(ours, theirs)
        p = sign_flip_p(differences)
        line = {
            "claim": f"{FULL} against {question.arm}: {question.name}",
            "paper": question.paper,
            "measured": {FULL: round(mean(ours), 4), question.arm: round(mean(theirs), 4)},
            "holds": p < SURE,
            "n": len(differences),
            "n_train": 1,
            "effect": round(mean(differences.tolist()), 5),
            "interval": [round(end, 5) for end in interval(differences)],
            "p": round(p, 5),
        }
        lines.append(line)
    return lines


def kept(file: Path = KEPT) -> tuple[list[Line], dict[str, Any]]:
    """The claims of the last whole run, and what it says about itself; no claims before there was one.

    Its p are of the run alone, and not corrected for the number of claims yet.
    """
    if not file.exists():
        return [], {}
    content = json.loads(file.read_text(encoding="utf-8"))
    return [_line(one) for one in content["lines"]], content["about"]


def _line(told: Mapping[str, Any]) -> Line:
    """A kept line as a claim."""
    question = next(one for one in QUESTIONS if told["claim"].endswith(f"against {one.arm}: {one.name}"))
    means = told["measured"]
    way = 1 if question.more_is_better else -1
    effect = told.get("effect", way * (means[FULL] - means[question.arm]))
    low, high = told.get("interval", (math.nan, math.nan))
    return Line(
        told["claim"],
        f"VIVID: {question.paper}",
        f"{question.name} is {'higher' if way > 0 else 'lower'} with the {FULL} than with {question.arm}",
        measured=means[FULL],
        holds=True,
        n=told["n"],
        effect=effect,
        interval=(low, high),
        of=f"{FULL}, in the paper's direction",
        p=told["p"],
        needs_p=True,
        means=means,
        more={"n_train": told["n_train"]},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training.claims.ablations", description="Ablations.")
    parser.add_argument("folder", type=Path, help="where the arms' checkpoints and models are")
    parser.add_argument("--steps", type=int, default=2000, help="of training, an arm")
    parser.add_argument("--batch", type=int, default=BATCH, help="clips in a step; images are twice as many")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each task")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="sampling seeds for each trial")
    parser.add_argument("--sampling-steps", type=int, help="of each edit; by default the model's own")
    parser.add_argument("--results", type=Path, help=f"a file for the results; by default FOLDER/{RESULTS}")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    files = train_arms(given.folder, given.steps, given.batch)
    sampling = given.sampling_steps or embedded_engine(files[FULL]).adapter.traits.steps
    lines = compared(judged(files, given.trials, given.seeds, sampling))
    about = {"train_steps": given.steps, "batch": given.batch, "trials": given.trials, "sampling_seeds": given.seeds}
    about |= {"sampling_steps": sampling, "date": today(), "commit": commit()}
    results = given.results or given.folder / RESULTS
    results.write_text(json.dumps({"about": about, "lines": lines}, indent=1) + "\n", encoding="utf-8")
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")
    return 0


def _answers(editor: Editor, trial: Any, arm: str) -> list[float]:
    """What a trial says to each question; NaN where the arm has no part in it."""
    attempts: dict[str, Attempt] = {}
    found = []
    for question in QUESTIONS:
        if arm not in (FULL, question.arm):
            found.append(math.nan)
            continue
        if question.way not in attempts:
            attempts[question.way] = editor.attempt(trial, question.way)
        found.append(question.measure(attempts[question.way]))
    return found


def _overfilled(edited_fhwc: Tensor, truth: Truth) -> float:
    shape = truth.weight_fhw > 0.5
    near = max_pool2d((truth.weight_fhw > 0).float()[:, None], 2 * RIM + 1, 1, RIM)[:, 0] > 0
    found = painted(edited_fhwc, truth.backdrop_fhwc, truth.colour) & (truth.edit_mask_fhw > 0.5) & ~near
    return float(found.sum()) / max(1.0, float(shape.sum()))


if __name__ == "__main__":
    raise SystemExit(main())
