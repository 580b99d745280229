"""Files of our nodes in ComfyUI's folders: those shown in the page, and finished windows that outlive a run."""

from __future__ import annotations

import os
import uuid

import folder_paths
from comfy_api.latest import io, ui

from ...vivid_core.editors.window_store import FolderStore

WINDOWS, WINDOW_BYTES = "vivid_windows", 4_000_000_000


def temp_file(stem: str, extension: str) -> tuple[str, ui.SavedResult]:
    """A fresh path in ComfyUI's temp folder, and what the page needs to find it there.

    Raises ValueError when the folder can't be made or written.
    """
    folder = folder_paths.get_temp_directory()
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as fault:
        raise ValueError(
            f"ComfyUI's temp folder {folder} can't be made ({fault.strerror}); start with another one."
        ) from fault
    name = f"{stem}_{uuid.uuid4().hex[:12]}.{extension}"
    return os.path.join(folder, name), ui.SavedResult(name, "", io.FolderType.temp)


def window_store() -> FolderStore:
    """Where finished windows are kept between runs: in ComfyUI's output folder, never more than 4 GB."""
    return FolderStore(os.path.join(folder_paths.get_output_directory(), WINDOWS), WINDOW_BYTES)
