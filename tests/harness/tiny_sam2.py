"""SAM 2 at tiny size: the sam2 package's own classes, built from plain values instead of a Hydra configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SIZE = 64  # pixels; the features have 16, 8 and 4 to a side
WIDTH, MEMORY_WIDTH = 32, 16


@contextlib.contextmanager
def _without_traces() -> Iterator[None]:
    """Importing sam2 initialises Hydra for the whole process; put it back to how it was."""
    from hydra.core.global_hydra import GlobalHydra

    was_there = GlobalHydra.instance().is_initialized()
    try:
        yield
    finally:
        if not was_there:
            GlobalHydra.instance().clear()


def build(predictor: bool = False, **settings: Any) -> nn.Module:
    """SAM 2.1's video model: image encoder, memory attention, memory encoder, prompt encoder, mask decoder.

    `predictor` gives the package's video predictor of the same architecture; `settings` go to its class.
    """
    with _without_traces():
        from sam2.modeling.sam2_base import SAM2Base
        from sam2.sam2_video_predictor import SAM2VideoPredictor
    return (SAM2VideoPredictor if predictor else SAM2Base)(
        image_encoder=_image_encoder(),
        memory_attention=_memory_attention(),
        memory_encoder=_memory_encoder(),
        num_maskmem=7,
        image_size=SIZE,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
        **settings,
    )


def _positions(width: int) -> nn.Module:
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    return PositionEmbeddingSine(num_pos_feats=width, normalize=True)


def _image_encoder() -> nn.Module:
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder

    trunk = Hiera(
        embed_dim=8,
        num_heads=1,
        stages=(1, 1, 2, 1),
        global_att_blocks=(3,),
        window_pos_embed_bkg_spatial_size=(4, 4),
        window_spec=(4, 2, 4, 2),
    )
    neck = FpnNeck(
        position_encoding=_positions(WIDTH),
        d_model=WIDTH,
        backbone_channel_list=[64, 32, 16, 8],
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return ImageEncoder(trunk=trunk, neck=neck, scalp=1)


def _memory_attention() -> nn.Module:
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
    from sam2.modeling.sam.transformer import RoPEAttention

    common: dict[str, Any] = {"embedding_dim": WIDTH, "num_heads": 1, "dropout": 0.1, "feat_sizes": (4, 4)}
    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=64,
        dropout=0.1,
        pos_enc_at_attn=False,
        self_attention=RoPEAttention(**common),
        d_model=WIDTH,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=RoPEAttention(rope_k_repeat=True, kv_in_dim=MEMORY_WIDTH, **common),
    )
    return MemoryAttention(d_model=WIDTH, pos_enc_at_input=True, layer=layer, num_layers=2)


def _memory_encoder() -> nn.Module:
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder

    return MemoryEncoder(
        in_dim=WIDTH,
        out_dim=MEMORY_WIDTH,
        mask_downsampler=MaskDownSampler(embed_dim=WIDTH, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(WIDTH, kernel_size=7, padding=3, layer_scale_init_value=1e-6), num_layers=2),
        position_encoding=_positions(MEMORY_WIDTH),
    )


def track(module: Any, first: Tensor, second: Tensor) -> Tensor:
    """A click on the first frame, its object followed to the second.

    Frames are (1, 3, SIZE, SIZE); the result is mask logits (2, 1, SIZE, SIZE).
    """
    device = first.device
    click = {
        "point_coords": torch.tensor([[[20.0, 30.0]]]).to(device),
        "point_labels": torch.ones(1, 1, dtype=torch.int32).to(device),
    }
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    clicked = _step(module, 0, first, click, memory)
    memory["cond_frame_outputs"][0] = clicked
    followed = _step(module, 1, second, None, memory)
    return torch.cat([clicked["pred_masks_high_res"], followed["pred_masks_high_res"]])


def _step(module: Any, index: int, frame: Tensor, click: Any, memory: Any) -> dict[str, Tensor]:
    _, features, positions, sizes = module._prepare_backbone_features(module.forward_image(frame))
    return module.track_step(
        frame_idx=index,
        is_init_cond_frame=click is not None,
        current_vision_feats=features,
        current_vision_pos_embeds=positions,
        feat_sizes=sizes,
        point_inputs=click,
        mask_inputs=None,
        output_dict=memory,
        num_frames=2,
    )


def segment(module: Any) -> Tensor:
    """The image predictor, which asks the module itself for its device: mask logits (3, h, w), on the CPU."""
    with _without_traces():
        from sam2.sam2_image_predictor import SAM2ImagePredictor
    predictor = SAM2ImagePredictor(module)
    predictor._bb_feat_sizes = [(SIZE // stride,) * 2 for stride in (4, 8, 16)]  # it assumes 1024 pixels
    predictor.set_image(np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8))
    _, _, logits = predictor.predict(np.array([[20, 30]]), np.array([1]))
    return torch.from_numpy(logits)
