"""VIVID for ComfyUI: track an object, edit one keyframe, propagate the edit, keep the rest bit-exact.

ComfyUI finds the nodes through `comfy_entrypoint` and the page's scripts through `WEB_DIRECTORY`.
Nothing of ComfyUI is imported here, so that the folder can be imported, tested and read without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import VividExtension

WEB_DIRECTORY = "./js"


async def comfy_entrypoint() -> VividExtension:
    """Called by ComfyUI once, when it loads the pack."""
    from .nodes import VividExtension

    return VividExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
