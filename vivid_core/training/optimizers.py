"""Two optimizers as one: Muon for the matrices of the blocks, AdamW for all else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

BLOCKS = "transformer_blocks."


class Optimizers:
    """Several optimizers, stepped and stored together; `rates` are theirs at full learning rate."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer], rates: Sequence[float]) -> None:
        self.parts, self.rates = tuple(parts), tuple(rates)

    def step(self, share: float) -> None:
        """Move the weights, at `share` of the full learning rates."""
        for part, rate in zip(self.parts, self.rates):
            for group in part.param_groups:
                group["lr"] = share * rate
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """What a run needs to go on bit for bit."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from what `state_dict` gave."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def adamw(weights: Iterable[Tensor], rate: float) -> Optimizers:
    """AdamW alone."""
    return Optimizers([torch.optim.AdamW(list(weights), lr=rate, betas=(0.9, 0.99))], [rate])


def muon_and_adamw(modules: Iterable[nn.Module], rate: float, matrix_rate: float) -> Optimizers:
    """Muon for the matrices inside repeated blocks, AdamW for the rest of the modules' weights that want gradients.

    Raises ValueError when this torch has no Muon (2.9 is the first that has).
    """
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(
            f"Training: torch {torch.__version__} has no Muon; update torch to 2.9 or newer, or train with AdamW."
        )
    named = [one for module in modules for one in module.named_parameters() if one[1].requires_grad]
    matrices = [weight for name, weight in named if name.startswith(BLOCKS) and weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    rest = adamw((weight for _, weight in named if id(weight) not in chosen), rate)
    muon = torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    return Optimizers([muon, *rest.parts], [matrix_rate, *rest.rates])
