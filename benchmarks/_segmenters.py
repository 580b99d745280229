"""SAM 2 with random weights at sizes that can be timed on a CPU, clips for it, and the sam2 package's own predictor."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

WIDTHS = {"width": 256, "memory_width": 64, "memory_layers": 4, "memory_feedforward": 2048}  # as released
CLICK = ((0.4, 0.5, 1),)
OTHER_CLICK = ((0.6, 0.4, 1),)


def model(name: str, side: int) -> Any:
    """The released architecture `name` (tiny, small, ...) on pictures of side x side pixels."""
    import torch
    from harness.segmenters import telling

    from vivid_core.models import sam2

    size, settings = next((size, each) for size, each in sam2.SIZES.items() if each["name"] == name)
    trunk = {"embed_dim": size[0], **{key: value for key, value in settings.items() if key != "name"}}
    torch.manual_seed(0)
    return telling(sam2.build({"version": "2.1", "image_size": side, "trunk": trunk, **WIDTHS}))


def narrow_model(side: int) -> Any:
    """All parts of the architecture with few channels and blocks, for what depends on the clip and not on the model."""
    import torch
    from harness.segmenters import CONFIG, telling

    from vivid_core.models import sam2

    torch.manual_seed(0)
    return telling(sam2.build({**CONFIG, "image_size": side}))


def panning_clip(frames: int, height: int = 480, width: int = 854) -> Any:
    """frames_fhwc of a camera that moves one pixel a frame over a picture of blots; all frames share its memory."""
    import torch
    from torch.nn.functional import interpolate

    whole = width + frames
    blots = torch.rand(1, 3, 12, whole // 40, generator=torch.Generator().manual_seed(0))
    picture = interpolate(blots, size=(height, whole), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0).contiguous()
    return picture.as_strided((frames, height, width, 3), (3, 3 * whole, 3, 1))


def bare_predictor(module: Any) -> Any:
    """The sam2 package's video predictor with the weights of `module` and nothing switched on, but that corrected
    frames are conditioning frames."""
    from vivid_core.models.sam2 import sam2_package

    with sam2_package():
        from sam2.sam2_video_predictor import SAM2VideoPredictor
    predictor = copy.copy(module)
    predictor.__class__ = SAM2VideoPredictor
    predictor.fill_hole_area = 0
    predictor.non_overlap_masks = predictor.clear_non_cond_mem_around_input = False
    predictor.add_all_frames_to_correct_as_cond = True
    return predictor


def tracked_barely(predictor: Any, frames_fhwc: Any, points: Any) -> Any:
    """The logits [F, H, W] of a click on the first frame followed to the last, frames prepared as ours are."""
    import torch
    from torch.nn.functional import interpolate

    from vivid_core.masks.sam2_session import DEVIATION, MEAN

    height, width = frames_fhwc.shape[1:3]
    side = predictor.image_size
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))

    def load(**_: Any) -> Any:
        whole = frames_fhwc.permute(0, 3, 1, 2)
        sized = interpolate(whole, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        return (sized.clamp(0, 1) - mean) / deviation, height, width

    with patch("sam2.sam2_video_predictor.load_video_frames", load):  # it reads files only
        state = predictor.init_state("")
    places = torch.tensor([[x * width, y * height] for x, y, _ in points])
    predictor.add_new_points_or_box(state, 0, 1, places, torch.tensor([label for *_, label in points]))
    return torch.stack([logits[0, 0] for _, _, logits in predictor.propagate_in_video(state)])


def tracker(module: Any, frames_fhwc: Any) -> Callable[..., Any]:
    """`tracker(...)(prompt, ..., previous=...)`: a track of the clip by our own loop."""
    from vivid_core.masks.prompts import Prompts
    from vivid_core.masks.sam2_session import Sam2Segmenter
    from vivid_core.masks.track_sam2 import track_by_segmenter

    segmenter = Sam2Segmenter(module, "benchmark")

    def track(*prompts: Any, **named: Any) -> Any:
        return track_by_segmenter(frames_fhwc, Prompts(prompts), segmenter, **named)

    return track
