"""SAM 2 and 2.1 in their original layout, in all four sizes: built from plain values through the sam2 package."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .family import Family, Tensors, count, given_config, odd_size, width
from .files import WeightFiles

EMBEDDED = Path(__file__).with_name("embedded_sam2.safetensors")  # trained by the pack, in its world of plain shapes
LABEL = "SAM 2 model"
CLASS = "SAM2Base"
METADATA = "vivid_sam2"  # the name under which `save` puts settings and notes
TRUNK = "image_encoder.trunk."
IMAGE_SIZE = 1024  # what the released models were trained with, in pixels
# --no-build-isolation: otherwise pip downloads a second torch only to build the package.
INSTALL = "-m pip install --no-build-isolation sam2"

# The released sizes by the width of their first stage and their number of blocks. Windows are not in the shapes.
SIZES: dict[tuple[int, int], dict[str, Any]] = {
    (96, 12): {
        "name": "tiny",
        "num_heads": 1,
        "stages": (1, 2, 7, 2),
        "global_att_blocks": (5, 7, 9),
        "window_pos_embed_bkg_spatial_size": (7, 7),
        "window_spec": (8, 4, 14, 7),
    },
    (96, 16): {
        "name": "small",
        "num_heads": 1,
        "stages": (1, 2, 11, 2),
        "global_att_blocks": (7, 10, 13),
        "window_pos_embed_bkg_spatial_size": (7, 7),
        "window_spec": (8, 4, 14, 7),
    },
    (112, 24): {
        "name": "base plus",
        "num_heads": 2,
        "stages": (2, 3, 16, 3),
        "global_att_blocks": (12, 16, 20),
        "window_pos_embed_bkg_spatial_size": (14, 14),
        "window_spec": (8, 4, 14, 7),
    },
    (144, 48): {
        "name": "large",
        "num_heads": 2,
        "stages": (2, 6, 36, 4),
        "global_att_blocks": (23, 33, 43),
        "window_pos_embed_bkg_spatial_size": (7, 7),
        "window_spec": (8, 4, 16, 8),
    },
}

# What every size has in common. The last two are what the package adds for its video predictor.
COMMON: dict[str, Any] = {
    "num_maskmem": 7,
    "sigmoid_scale_for_mem_enc": 20.0,
    "sigmoid_bias_for_mem_enc": -10.0,
    "use_mask_input_as_output_without_sam": True,
    "directly_add_no_mem_embed": True,
    "use_high_res_features_in_sam": True,
    "multimask_output_in_sam": True,
    "iou_prediction_use_sigmoid": True,
    "use_obj_ptrs_in_encoder": True,
    "only_obj_ptrs_in_the_past_for_eval": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "fixed_no_obj_ptr": True,
    "multimask_output_for_tracking": True,
    "use_multimask_token_for_obj_ptr": True,
    "multimask_min_pt_num": 0,
    "multimask_max_pt_num": 1,
    "use_mlp_for_obj_ptr_proj": True,
    "binarize_mask_from_pts_for_mem_enc": True,
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
}


def _detects(tensors: Tensors) -> bool:
    return all(any(name.startswith(part) for name in tensors) for part in (TRUNK, "memory_attention."))


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json, from what `save` wrote, or from the shapes: `version` (2.0 or 2.1), `image_size`
    (pixels to a side, free to change in steps of 32), `trunk` (one of SIZES with its `embed_dim`), `width`,
    `memory_width`, `memory_layers`, `memory_feedforward`.

    Raises ValueError for a size that was never released and brings no settings.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    if METADATA in files.metadata:
        written = files.told(METADATA).get("config")
        if not isinstance(written, dict):
            raise ValueError(f"{files.path.name} has damaged metadata (no settings of a SAM 2): download it again.")
        return written
    embed_dim = width(files.tensors, TRUNK + "patch_embed.proj.weight")
    blocks = count(files.tensors, TRUNK + "blocks.")
    if (embed_dim, blocks) not in SIZES:
        raise odd_size(files, LABEL, f"{blocks} blocks that begin {embed_dim} wide")
    trunk = {name: value for name, value in SIZES[embed_dim, blocks].items() if name != "name"}
    return {
        "version": "2.1" if "no_obj_embed_spatial" in files.tensors else "2.0",
        "image_size": IMAGE_SIZE,
        "trunk": {"embed_dim": embed_dim, **trunk},
        "width": width(files.tensors, "image_encoder.neck.convs.0.conv.weight"),
        "memory_width": width(files.tensors, "memory_encoder.out_proj.weight"),
        "memory_layers": count(files.tensors, "memory_attention.layers."),
        "memory_feedforward": width(files.tensors, "memory_attention.layers.0.linear1.weight"),
    }


def title(config: Mapping[str, Any]) -> str:
    """Which of the released models these settings are, for a reader; or what is known of another one."""
    trunk = config["trunk"]
    size = SIZES.get((trunk["embed_dim"], sum(trunk["stages"])), {"name": "of a size of its own"})
    return f"SAM {'2.1' if str(config['version']) == '2.1' else '2'} {size['name']}"


def save(module: nn.Module, config: Mapping[str, Any], path: str | Path, notes: Mapping[str, Any]) -> None:
    """Write a model as fp16 safetensors, never half a file, with the settings that `build` takes in its metadata; so
    any size can be read again. `notes` (seed, steps, scores) go there too.
    """
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {name: one.detach().to("cpu", torch.float16).contiguous() for name, one in module.state_dict().items()}
    unfinished = path.with_name(path.name + ".part")
    save_file(tensors, unfinished, {METADATA: json.dumps({"config": dict(config), "notes": dict(notes)})})
    os.replace(unfinished, path)


def build(config: Mapping[str, Any]) -> nn.Module:
    """The video model (`SAM2Base`) with the settings that `config` gives, with random weights.

    Raises ModuleNotFoundError, with the install command, without the sam2 package; ValueError when `image_size` is no
    multiple of 32.
    """
    if config["image_size"] % 32:
        raise ValueError(
            f"SAM 2: got pictures of {config['image_size']} pixels, but the side must be a multiple of 32, such as 512."
        )
    newer = str(config["version"]) == "2.1"
    with sam2_package():
        from sam2.modeling.sam2_base import SAM2Base

        return SAM2Base(
            image_encoder=_image_encoder(config),
            memory_attention=_memory_attention(config),
            memory_encoder=_memory_encoder(config),
            image_size=config["image_size"],
            no_obj_embed_spatial=newer,
            add_tpos_enc_to_obj_ptrs=newer,
            proj_tpos_enc_in_obj_ptrs=newer,
            use_signed_tpos_enc_to_obj_ptrs=newer,
            **COMMON,
        )


@contextlib.contextmanager
def sam2_package() -> Iterator[None]:
    """A block that imports from sam2. The package starts Hydra for the whole process; this puts it back to how it was.

    Raises ModuleNotFoundError, in one sentence with the install command, when the package or a part of it is missing.
    """
    was_there = _hydra_runs()
    try:
        yield
    except ModuleNotFoundError as missing:
        package = str(missing.name).split(".")[0]
        raise ModuleNotFoundError(
            f'A {LABEL} needs the package sam2 ({package} is not installed): run "{sys.executable}" {INSTALL} and '
            "restart ComfyUI; without it Track Mask follows objects by optical flow.",
            name=missing.name,
        ) from missing
    finally:
        if not was_there and _hydra_runs():
            sys.modules["hydra.core.global_hydra"].GlobalHydra.instance().clear()


def _hydra_runs() -> bool:
    hydra = sys.modules.get("hydra.core.global_hydra")
    return hydra is not None and bool(hydra.GlobalHydra.instance().is_initialized())


def _positions(features: int) -> nn.Module:
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    return PositionEmbeddingSine(num_pos_feats=features, normalize=True)


def _image_encoder(config: Mapping[str, Any]) -> nn.Module:
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder

    trunk = Hiera(**config["trunk"])
    neck = FpnNeck(
        position_encoding=_positions(config["width"]),
        d_model=config["width"],
        backbone_channel_list=[config["trunk"]["embed_dim"] * 2**stage for stage in (3, 2, 1, 0)],
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return ImageEncoder(trunk=trunk, neck=neck, scalp=1)


def _memory_attention(config: Mapping[str, Any]) -> nn.Module:
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
    from sam2.modeling.sam.transformer import RoPEAttention

    side = config["image_size"] // 16
    common: dict[str, Any] = {
        "embedding_dim": config["width"],
        "num_heads": 1,
        "dropout": 0.1,
        "feat_sizes": (side, side),
    }
    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=config["memory_feedforward"],
        dropout=0.1,
        pos_enc_at_attn=False,
        self_attention=RoPEAttention(**common),
        d_model=config["width"],
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=RoPEAttention(rope_k_repeat=True, kv_in_dim=config["memory_width"], **common),
    )
    return MemoryAttention(
        d_model=config["width"], pos_enc_at_input=True, layer=layer, num_layers=config["memory_layers"]
    )


def _memory_encoder(config: Mapping[str, Any]) -> nn.Module:
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder

    return MemoryEncoder(
        in_dim=config["width"],
        out_dim=config["memory_width"],
        mask_downsampler=MaskDownSampler(embed_dim=config["width"], kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(config["width"], kernel_size=7, padding=3, layer_scale_init_value=1e-6), num_layers=2),
        position_encoding=_positions(config["memory_width"]),
    )


FAMILY = Family(
    name="sam2",
    label=LABEL,
    role="segmenter",
    get_it="get sam2.1_hiera_large.pt of facebook/sam2.1-hiera-large on Hugging Face",
    detects=_detects,
    config=config,
    build=build,
)
