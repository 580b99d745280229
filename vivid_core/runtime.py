"""What a long loop may ask of its surroundings: hold models, count its steps, show a preview, stop when cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from torch import nn


class Runtime:
    """The plain runtime for scripts and tests: counts, never stops. ComfyUI's is in nodes/comfy_bridge.

    A run has one bar: whoever knows the whole work calls `begin` once with the number of steps (usually frames
    times passes), and every inner loop calls `advance` once for each step, at least once for each frame.
    """

    def __init__(self) -> None:
        self.total = 0
        self.done = 0

    def begin(self, total: int) -> None:
        """Start the bar of this run at zero, with `total` steps to come."""
        self.total, self.done = total, 0

    def advance(
        self,
        steps: int = 1,
        preview: Callable[[], Tensor] | None = None,
        latent_cfhw: Callable[[], Tensor] | None = None,
    ) -> None:
        """Count `steps`. `preview` makes an image_hwc (float 0..1), `latent_cfhw` the clip as the denoising loop
        expects it to end, of which the first frame is shown; they are called only if somebody will see it.

        Raises whatever the surroundings use to cancel a run; let it pass through.
        """
        self.done = min(self.done + steps, self.total)

    @contextmanager
    def hold(self, *modules: nn.Module, activations: int = 0) -> Iterator[None]:
        """Have `modules` ready to be called in this block, with room for `activations` bytes beside their weights.

        Name all that the block calls, and hold them again after something else was held inside. Here nothing is
        moved: a script puts its modules where it wants them.
        """
        yield
