"""ComfyUI's progress bar, preview, cancel button and the text shown on a node, behind vivid_core's Runtime."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import comfy.model_management
import comfy.utils
import latent_preview
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor, nn

from ...vivid_core.runtime import Runtime
from .attention import routed
from .host import ManagedModel
from .memory import loaded

PREVIEW_EVERY_SECONDS = 0.25
PREVIEW_SIZE = 512
SHOWN_PLAINLY = str.maketrans("<>", "\u2039\u203a")  # marks that look alike

Preview: TypeAlias = tuple[str, Image.Image, int]

log = logging.getLogger("vivid")


class ComfyRuntime(Runtime):
    """Reports to the node that is running now; raises ComfyUI's own exception when the user cancels."""

    def __init__(self, *models: ManagedModel, latent_format: Any = None) -> None:
        """`models` are those the run may hold; `latent_format` is ComfyUI's, for previews of latents."""
        super().__init__()
        self._bar = comfy.utils.ProgressBar(1)
        self._last_preview = 0.0
        self._models = {id(model.module): model for model in models}
        self._latent_format = latent_format
        self._previewer: Any = None

    def begin(self, total: int) -> None:
        super().begin(total)
        self._bar.update_absolute(0, max(total, 1))

    def advance(
        self,
        steps: int = 1,
        preview: Callable[[], Tensor] | None = None,
        latent_cfhw: Callable[[], Tensor] | None = None,
    ) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        super().advance(steps)
        shown = self._latent_image(latent_cfhw) if latent_cfhw is not None else self._image(preview)
        self._bar.update_absolute(self.done, max(self.total, 1), shown)

    @contextmanager
    def hold(self, *modules: nn.Module, activations: int = 0) -> Iterator[None]:
        """Raises ValueError for a module that was not named when the run began."""
        strange = [type(module).__name__ for module in modules if id(module) not in self._models]
        if strange:
            raise ValueError(f"Runtime: {', '.join(strange)} is not one of this run's models; name it at its start.")
        models = [self._models[id(module)] for module in modules]
        outlines = any(model.role in ("segmenter", "depth") for model in models)
        with loaded(*models, activations=activations), routed(low_precision=not outlines):
            yield

    def _image(self, preview: Callable[[], Tensor] | None) -> Preview | None:
        now = time.monotonic()
        if preview is None or now - self._last_preview < PREVIEW_EVERY_SECONDS:
            return None
        self._last_preview = now
        image_hwc = preview().clamp(0, 1).mul(255).byte().cpu().numpy()
        return "JPEG", Image.fromarray(image_hwc), PREVIEW_SIZE

    def _latent_image(self, latent_cfhw: Callable[[], Tensor]) -> Preview | None:
        """By the method that the user chose for ComfyUI's own previews, if any."""
        if self._latent_format is None:
            return None
        latent_bcfhw = latent_cfhw()[None]
        if self._previewer is None:  # it may have weights of its own, to be read once for a run
            self._previewer = latent_preview.get_previewer(latent_bcfhw.device, self._latent_format)
        shown = self._previewer
        return None if shown is None else shown.decode_latent_to_preview_image("JPEG", latent_bcfhw)


class Uncounted(Runtime):
    """For work before a run, too quick for the bar: what it counts is not shown, but a cancel arrives."""

    def advance(self, *_: Any, **__: Any) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()


def running_node() -> str:
    """The id of the node that is running now, unique in its workflow; empty outside of a run."""
    context = get_executing_context()
    return "" if context is None else str(context.node_id)


def say(notes: Iterable[str]) -> None:
    """Show sentences on the running node (where the page can) and in ComfyUI's log."""
    text = "\n".join(notes)
    if not text:
        return
    for line in text.splitlines():
        log.info(line)
    server = _prompt_server()
    context = get_executing_context()
    if server is not None and context is not None:
        server.send_progress_text(for_the_page(text), context.node_id)


def for_the_page(text: str) -> str:
    """A text that ComfyUI's page shows as it is: it takes what a node says for HTML, with links in double brackets."""
    return text.translate(SHOWN_PLAINLY).replace("[[", "[ [")


def _prompt_server() -> Any:
    import server  # ComfyUI's own module; at call time, since headless use may have no server at all

    return getattr(server.PromptServer, "instance", None)
