"""The schedulers of diffusers, with the constants that each family was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..optional import require

__all__ = ["Schedule", "cogvideox", "make", "wan"]

COGVIDEOX_SAMPLERS = {"dpm": "CogVideoXDPMScheduler", "ddim": "CogVideoXDDIMScheduler"}
WAN_SAMPLERS = {"unipc": "UniPCMultistepScheduler", "euler": "FlowMatchEulerDiscreteScheduler"}


@dataclass(frozen=True)
class Schedule:
    """How a family was noised in training, and with what it may be sampled.

    `samplers` are the names that a user may choose, the family's own default first, with diffusers' classes;
    `constants` are the settings that all of these need, `extra` those of one of them.
    """

    samplers: Mapping[str, str]
    constants: Mapping[str, Any]
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def default(self) -> str:
        return next(iter(self.samplers))


def cogvideox(snr_shift_scale: float = 1.0, default: str = "dpm") -> Schedule:
    """CogVideoX: v-prediction, no signal at all at the last time. The shift is 1 for 5B, 3 for 2B."""
    samplers = {default: COGVIDEOX_SAMPLERS[default]} | COGVIDEOX_SAMPLERS
    constants = {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
        "set_alpha_to_one": True,
        "clip_sample": False,
        "snr_shift_scale": snr_shift_scale,
    }
    return Schedule(samplers, constants)


def wan(shift: float = 3.0) -> Schedule:
    """Wan 2.1: flow matching. 3 is what the released diffusers checkpoints say, also those of VACE; higher values
    (5 at 720p, up to 16) spend more of the steps where noise is strong."""
    unipc = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift}
    return Schedule(WAN_SAMPLERS, {"num_train_timesteps": 1000}, {"unipc": unipc, "euler": {"shift": shift}})


def make(schedule: Schedule, name: str | None = None) -> Any:
    """A new scheduler of diffusers; `name` is one of `schedule.samplers`, by default the family's own.

    One run needs one of its own: schedulers remember their last steps.

    Raises ValueError for a name that the family doesn't have, ModuleNotFoundError without diffusers.
    """
    name = schedule.default if name is None else name
    if name not in schedule.samplers:
        raise ValueError(
            f"Sampler: got {name!r}, but this model is sampled with {' or '.join(schedule.samplers)}; choose one of "
            "these."
        )
    diffusers = require("diffusers", "Sampling")
    return getattr(diffusers, schedule.samplers[name])(**schedule.constants, **schedule.extra.get(name, {}))
