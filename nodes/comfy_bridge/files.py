"""Files of our nodes in ComfyUI's folders: those shown in the page, and finished windows that outlive a run."""

from __future__ import annotations

import os
import shutil
import uuid

import folder_paths
from comfy_api.latest import io, ui

from ...vivid_core.editors.footage_scans import FootageScans
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


def window_store(wanted: int = 0) -> FolderStore:
    """Where finished windows are kept between runs: in ComfyUI's output folder, never more than 4 GB; or than `wanted`
    bytes if that is more, as far as half of the free disk allows."""
    folder = folder_paths.get_output_directory()
    room = WINDOW_BYTES if wanted <= WINDOW_BYTES else max(WINDOW_BYTES, min(wanted, _free(folder) // 2))
    return FolderStore(os.path.join(folder, WINDOWS), room)


def footage_scans() -> FootageScans:
    """What passes through long videos found, beside the finished windows."""
    return FootageScans(os.path.join(folder_paths.get_output_directory(), WINDOWS))


def _free(folder: str) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
