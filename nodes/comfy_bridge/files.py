"""Files that nodes show in the page: in ComfyUI's temp folder, under names that nobody else uses."""

from __future__ import annotations

import os
import uuid

import folder_paths
from comfy_api.latest import io, ui


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
