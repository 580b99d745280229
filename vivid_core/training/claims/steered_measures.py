"""How good an edit of a whole clip is where its truth is known: colours, shape, way, background, steadiness, sharpness.

Nothing here asks a network. What shows an object is told by the world's colours: `recognise.colour_masks`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..measures import INSIDE, RIM, rgb
from ..sd_world.recognise import LEAST, colour_masks, iou
from .steered_trials import SteeredTruth

LEVELS = 255
FEWEST = 3  # frames in which an object must be seen to say where it goes
SILENT = 1e-10  # a mean square that is no difference: 100 dB
LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def judged(edited_fhwc: Tensor, truth: SteeredTruth) -> dict[str, float]:
    """Every measure of an edit in 0..1, by name:

    colour_error: from the object's mean colour on the oracle's pixels to the prompted one, 0..1.7 (RGB distance)
    prompted, kept: of the pixels that show any of the world's colours, the share in the prompted one, and in the one
        that the object had; 0 where nothing shows any
    shape: mean IoU over the frames of what shows a colour with the source's object
    away: mean distance of its centre from that of the source's object, as a part of the side; NaN where never seen
    forward: how far it goes the prompted way in one frame, in percent of the side
    background: PSNR to the source in dB, off the object in the source and in the oracle
    flicker: mean absolute change of the object's mean colour along its true track, in levels of 255
    fade: how much farther its colour is from the prompted one in the last frame than in the first, in levels of 255
    warp: `warp_mse` with the true flow
    sharpness: `laplacian_energy`

    Raises ValueError when the clip has another size than the truth.
    """
    if edited_fhwc.shape != truth.oracle_fhwc.shape:
        raise ValueError(
            f"Measures: got a clip of shape {tuple(edited_fhwc.shape)} for a truth of shape "
            f"{tuple(truth.oracle_fhwc.shape)}; they must be the same clip."
        )
    masks = colour_masks(edited_fhwc)
    seen_fhw = torch.stack(list(masks.values())).amax(0)
    shown = float(seen_fhw.sum())
    colours = track_colours(edited_fhwc, truth.object_fhw)
    from_prompted = (colours - rgb(truth.colour)).norm(dim=1)
    found, true = centres(seen_fhw), centres((truth.was_fhw > 0.5).float())
    return {
        "colour_error": float(from_prompted.nanmean()),
        "prompted": float(masks[truth.colour].sum()) / shown if shown else 0.0,
        "kept": float(masks[truth.was].sum()) / shown if shown else 0.0,
        "shape": float(np.mean([iou(own, was) for own, was in zip(seen_fhw, (truth.was_fhw > 0.5).float())])),
        "away": _mean(np.linalg.norm(found - true, axis=1)),
        "forward": 100 * float(slope(found) @ np.array(truth.heading)),
        "background": background_psnr(edited_fhwc, truth),
        "flicker": LEVELS * float(colours.diff(dim=0).abs().nanmean()),
        "fade": LEVELS * float(from_prompted[-1] - from_prompted[0]),
        "warp": warp_mse(edited_fhwc, truth.flow_fhwc, truth.object_fhw),
        "sharpness": laplacian_energy(edited_fhwc),
    }


def track_colours(edited_fhwc: Tensor, object_fhw: Tensor) -> Tensor:
    """The mean colour of each frame's pixels that are all object, [F, 3]; NaN where there are none."""
    inside = (object_fhw > INSIDE).to(edited_fhwc)[..., None]
    return (edited_fhwc * inside).sum((1, 2)) / inside.sum((1, 2))


def centres(masks_fhw: Tensor) -> np.ndarray:
    """The middle of each mask, right and down as parts of the side: float64 [F, 2]; NaN where it is next to nothing."""
    found = np.full((len(masks_fhw), 2), math.nan)
    for index, mask_hw in enumerate(masks_fhw):
        if float(mask_hw.mean()) >= LEAST:
            rows, columns = torch.nonzero(mask_hw, as_tuple=True)
            found[index] = [float(at.double().mean() + 0.5) for at in (columns, rows)]
    return found / np.array([masks_fhw.shape[2], masks_fhw.shape[1]])


def slope(centres_f2: np.ndarray) -> np.ndarray:
    """How far something goes in one frame: the least-squares line through its centres, [2]; 0 where it is seen in fewer
    than `FEWEST` frames, since what isn't there goes nowhere."""
    at = np.flatnonzero(np.isfinite(centres_f2).all(1))
    if len(at) < FEWEST:
        return np.zeros(2)
    times = at - at.mean()
    return (times @ centres_f2[at]) / (times @ times)


def background_psnr(edited_fhwc: Tensor, truth: SteeredTruth) -> float:
    """In dB, at most 100, off the object and a rim of `RIM` pixels around it, before and after the edit."""
    taken = torch.maximum(truth.was_fhw, truth.object_fhw) > 0
    off = F.max_pool2d(taken[:, None].float(), 2 * RIM + 1, 1, RIM)[:, 0] == 0
    error = float((edited_fhwc - truth.source_fhwc)[off].double().square().mean())
    return 10 * math.log10(1 / max(error, SILENT))


def warp_mse(edited_fhwc: Tensor, flow_fhwc: Tensor, object_fhw: Tensor) -> float:
    """How much pixels change on their way to the next frame, by the true flow: a mean square, in levels of 255 squared.

    Only pixels count that are all object or all backdrop in both frames, and stay in the frame.
    """
    height, width = object_fhw.shape[1:]
    following = _sampled(edited_fhwc[1:], flow_fhwc)
    later = _sampled(object_fhw[1:, ..., None], flow_fhwc)[..., 0]
    now = object_fhw[:-1]
    same = ((now > INSIDE) & (later > INSIDE)) | ((now < 1 - INSIDE) & (later < 1 - INSIDE))
    down, right = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([right, down], -1) + flow_fhwc
    there = ((place >= 0) & (place <= torch.tensor([width - 1, height - 1]))).all(-1)
    different = (following - edited_fhwc[:-1])[same & there].double()
    return LEVELS**2 * float(different.square().mean())


def laplacian_energy(edited_fhwc: Tensor) -> float:
    """Mean square of the Laplacian of the grey picture, in levels of 255 squared: more is sharper (or noisier)."""
    grey = edited_fhwc.mean(-1)[:, None]
    return LEVELS**2 * float(F.conv2d(grey, grey.new_tensor([[LAPLACE]])).double().square().mean())


def _sampled(values_fhwc: Tensor, flow_fhwc: Tensor) -> Tensor:
    """Each pixel's value at the place where the flow says that it goes."""
    height, width = values_fhwc.shape[1:3]
    down, right = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([right, down], -1) + flow_fhwc
    grid = (2 * place + 1) / torch.tensor([width, height]) - 1
    found = F.grid_sample(values_fhwc.movedim(-1, 1), grid, align_corners=False, padding_mode="border")
    return found.movedim(1, -1)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
