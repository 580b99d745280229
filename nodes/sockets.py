"""The pack's own socket types. Everything else travels as ComfyUI's IMAGE, MASK, VIDEO, STRING."""

from __future__ import annotations

from comfy_api.latest import io

Track = io.Custom("VIVID_TRACK")
"""A vivid_core.masks.tracks.Track: bit-packed masks of several objects over time, with scores."""

Prompts = io.Custom("VIVID_PROMPTS")
"""A vivid_core.masks.prompts.Prompts: points, boxes and masks of several objects, by frame."""

Segmenter = io.Custom("VIVID_SEGMENTER")
"""A comfy_bridge.segmenter.ManagedSegmenter: a model under ComfyUI's memory that finds and follows marked objects."""

Keyframes = io.Custom("VIVID_KEYFRAMES")
"""A vivid_core.video.keyframes.Keyframes."""

Stitch = io.Custom("VIVID_STITCH")
"""A vivid_core.video.crop.Stitch, or a WindowStitch: where a crop or a window was taken, to put it back exactly."""

Flow = io.Custom("VIVID_FLOW")
"""A comfy_bridge.flow.ManagedFlow: a model under ComfyUI's memory that finds the motion between two pictures."""

Engine = io.Custom("VIVID_ENGINE")
"""A comfy_bridge.engine.ManagedEngine: models under ComfyUI's memory that edit by a mask, and their adapter."""

Diffusion = io.Custom("VIVID_DIFFUSION")
"""A comfy_bridge.diffusion.ManagedDiffusion: a Stable Diffusion model under ComfyUI's memory, for tuning-free edits."""

Depth = io.Custom("VIVID_DEPTH")
"""A comfy_bridge.depth.ManagedDepth: a model under ComfyUI's memory that tells how far things are."""

Inversion = io.Custom("VIVID_INVERSION")
"""A vivid_core.editors.inverted.InvertedClip: the noise that a clip comes from, and the clip."""
