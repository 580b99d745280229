"""ComfyUI's progress bar, preview, cancel button and the text shown on a node, behind vivid_core's Runtime."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor

from ...vivid_core.runtime import Runtime

PREVIEW_EVERY_SECONDS = 0.25
PREVIEW_SIZE = 512

log = logging.getLogger("vivid")


class ComfyRuntime(Runtime):
    """Reports to the node that is running now; raises ComfyUI's own exception when the user cancels."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = comfy.utils.ProgressBar(1)
        self._last_preview = 0.0

    def begin(self, total: int) -> None:
        super().begin(total)
        self._bar.update_absolute(0, max(total, 1))

    def advance(self, steps: int = 1, preview: Callable[[], Tensor] | None = None) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        super().advance(steps, preview)
        self._bar.update_absolute(self.done, max(self.total, 1), self._due(preview))

    def _due(self, preview: Callable[[], Tensor] | None) -> tuple[str, Image.Image, int] | None:
        now = time.monotonic()
        if preview is None or now - self._last_preview < PREVIEW_EVERY_SECONDS:
            return None
        self._last_preview = now
        image_hwc = preview().clamp(0, 1).mul(255).byte().cpu().numpy()
        return "JPEG", Image.fromarray(image_hwc), PREVIEW_SIZE


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
        server.send_progress_text(text, context.node_id)


def _prompt_server() -> Any:
    import server  # ComfyUI's own module; at call time, since headless use may have no server at all

    return getattr(server.PromptServer, "instance", None)
