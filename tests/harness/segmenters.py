"""SAM 2 with random weights under which tracking means something: as modules, as files, and a clip to track in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from . import tiny_sam2

# as the package's builder sets them for its video predictor
FLAGS: dict[str, Any] = {
    "binarize_mask_from_pts_for_mem_enc": True,
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
}
# what the tiny model's config.json says: its size was never released
CONFIG: dict[str, Any] = {
    "version": "2.1",
    "image_size": tiny_sam2.SIZE,
    "trunk": {
        "embed_dim": 8,
        "num_heads": 1,
        "stages": [1, 1, 2, 1],
        "global_att_blocks": [3],
        "window_pos_embed_bkg_spatial_size": [4, 4],
        "window_spec": [4, 2, 4, 2],
    },
    "width": tiny_sam2.WIDTH,
    "memory_width": tiny_sam2.MEMORY_WIDTH,
    "memory_layers": 2,
    "memory_feedforward": 64,
}


def tiny_module(seed: int = 0) -> nn.Module:
    """Random weights under which objects are there, and memory and prompts matter."""
    torch.manual_seed(seed)
    return telling(tiny_sam2.build(**FLAGS))


@torch.no_grad()
def telling(module: Any) -> nn.Module:
    """`module` with its random weights so changed that objects are there, and memory and prompts matter."""
    module.eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1 and "positional" not in name:
            parameter.mul_(1.6)
        if name.endswith("gamma"):
            parameter.fill_(0.5)
    module.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(4.0)
    module.no_mem_embed.normal_(std=0.5)
    return module


def save(module: nn.Module, path: Path, config: dict[str, Any] | None = CONFIG) -> Path:
    """A file in the released layout, .pt or .safetensors, and beside it its config.json, if any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pt":
        torch.save({"model": module.state_dict()}, path)
    else:
        save_file(module.state_dict(), path)
    if config is not None:
        (path.parent / "config.json").write_text(json.dumps({"_class_name": "SAM2Base", **config}))
    return path


def clip(frames: int = 12, height: int = 40, width: int = 56, seed: int = 0) -> Tensor:
    """Noise in large blots that drifts: frames_fhwc."""
    random = torch.Generator().manual_seed(seed)
    blots = torch.rand(1, 3, 12, 16 + frames, generator=random)
    wide = interpolate(blots, size=(height, (16 + frames) * 4), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)
    return torch.stack([wide[:, 2 * index : 2 * index + width] for index in range(frames)])
