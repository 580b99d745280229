"""How the Stable Diffusion models and AnimateDiff were noised in training: as their folder says, or as released."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .ddim import NoiseSchedule

# The first abar is the model's own, as in all released configs (set_alpha_to_one False).
IMAGES = NoiseSchedule(betas="scaled_linear", spacing="leading", offset=1, first_alpha=None)
ANIMATEDIFF = NoiseSchedule(betas="linear", spacing="linspace", offset=1, first_alpha=None)
PREDICTIONS = ("epsilon", "v_prediction")
BETAS = ("scaled_linear", "linear")
SPACINGS = ("leading", "linspace", "trailing")


def schedule_of(config: Mapping[str, Any], what: str) -> NoiseSchedule:
    """What a scheduler_config.json of diffusers says; `what` names the folder in messages.

    Raises ValueError for betas or predictions that no SD 1.x or 2.x model has.
    """
    betas = config.get("beta_schedule", "linear")
    prediction = config.get("prediction_type", "epsilon")
    spacing = config.get("timestep_spacing", "leading")
    for name, value, known in (
        ("beta_schedule", betas, BETAS),
        ("prediction_type", prediction, PREDICTIONS),
        ("timestep_spacing", spacing, SPACINGS),
    ):
        if value not in known:
            raise ValueError(
                f"{what}: its scheduler has the {name} {value!r}, which no SD 1.x or 2.x model was trained with "
                f"({', '.join(known)}): download its scheduler_config.json again."
            )
    return NoiseSchedule(
        betas=betas,
        start=float(config.get("beta_start", 0.0001)),
        end=float(config.get("beta_end", 0.02)),
        spacing=spacing,
        offset=int(config.get("steps_offset", 0)),
        first_alpha=1.0 if config.get("set_alpha_to_one", False) else None,
        prediction=prediction,
        trained=int(config.get("num_train_timesteps", 1000)),
    )
