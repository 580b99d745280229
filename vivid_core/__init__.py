"""Masks, flow, composites and editors for local video editing; usable from a script, without ComfyUI.

Words and shapes: `frames_fhwc` is float32 [F, H, W, 3] in 0..1; `mask_fhw` is float32 [F, H, W] in 0..1, where 1
means "edit here". Both are ComfyUI's IMAGE and MASK. Clips stay where they are given (host memory); frames are
worked on one at a time.
"""
