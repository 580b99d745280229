"""Carrying one frame's pixels through a clip: chained optical flow that does not drift.

Each step composes the flow from frame to frame (checked forward against backward), then warps the anchor (the
reference at first) into the new frame, measures what shift is left between the two, and takes it out: errors don't
add up. One motion for the whole object, fitted to what is seen, stands in where nothing is seen, so that a hidden
object keeps moving and is found again. When the object has changed too much to be compared with the anchor, the
present frame becomes the anchor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..runtime import Runtime
from .carrier import Carrier
from .fields import Box
from .flow import INVERSE_SEARCH, Floats, FlowEstimator


@dataclass(frozen=True)
class Carried:
    """What the reference has become on frame `index`, within `box` (whole pixels of the frame).

    `map_xy` [h, w, 2]: for each pixel of the box its coordinates in the reference frame, going on smoothly where the
    object is hidden. `confidence` [h, w] in 0..1: low where hidden or not matched. `mask` [h, w] in 0..1: the
    reference's mask carried here, hidden parts included. `visible` in 0..1: how much of the object is seen.
    """

    index: int
    box: Box
    map_xy: Floats
    confidence: Floats
    mask: Floats
    visible: float


def carry(
    frames_fhwc: Tensor,
    reference: int,
    mask_hw: Tensor,
    order: Sequence[int],
    masks_fhw: Tensor | None = None,
    runtime: Runtime | None = None,
    flow: FlowEstimator = INVERSE_SEARCH,
) -> Iterator[Carried]:
    """Carry the masked pixels of frame `reference` through the frames of `order`, one after the other.

    `order` leads away from the reference in steps of one frame (forward or backward), and may begin with it.
    `masks_fhw` says where the object is on each frame, if that is known; `flow` finds the motion from frame to frame.
    Same inputs give the same output.
    Raises ValueError when the reference's mask is empty.
    """
    runtime = runtime or Runtime()
    known = None if masks_fhw is None else masks_fhw.numpy()
    carrier = Carrier(frames_fhwc, reference, mask_hw.numpy(), flow)
    for index in order:
        if index != reference:
            carrier.step(index, None if known is None else known[index])
        yield carried(carrier)
        runtime.advance()


def carried(carrier: Carrier) -> Carried:
    """The present state of a carrier at full resolution."""
    confidence = np.clip(carrier.size.enlarged(carrier.confidence, carrier.box), 0, 1)
    mask = carrier.full_mask().astype(np.float32) / 255
    return Carried(carrier.index, carrier.full_box, carrier.full_map(), confidence, mask, carrier.visible)
