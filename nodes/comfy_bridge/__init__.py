"""The bridge to ComfyUI: the only code of the pack that imports `comfy`."""
