"""One object followed away from one frame: the carried mask, put right by colour where that helps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..optional import opencv
from .carrier import LOST, Carrier
from .flow import INVERSE_SEARCH, PURPOSE, Floats, FlowEstimator
from .refine import ColourModel

FORGOTTEN = 0.1  # of what stays hidden at each correction, where colour tells the object well
SPECK = 0.004  # of the object's area: smaller islands and holes are noise


def follow(
    frames_fhwc: Tensor,
    reference: int,
    mask: NDArray,
    order: Sequence[int],
    flow: FlowEstimator = INVERSE_SEARCH,
) -> Iterator[tuple[int, NDArray[np.bool_], float]]:
    """Yield (frame, visible mask [H, W], how much of the object is seen in 0..1) for each frame of `order`.

    A lost object has an empty mask and score 0. `flow` finds the motion from frame to frame.
    Raises ValueError when `mask` is empty.
    """
    carrier = Carrier(frames_fhwc, reference, mask, flow)
    model = ColourModel()
    for index in order:
        carrier.step(index)
        if carrier.visible <= LOST:
            yield index, np.zeros(frames_fhwc.shape[1:3], bool), 0.0
            continue
        yield index, _visible_mask(carrier, _without_specks(_by_colour(carrier, model))), carrier.visible


def _by_colour(carrier: Carrier, model: ColourModel) -> Floats:
    """The visible mask at working size."""
    carried = np.minimum(carrier.alpha, carrier.confidence)
    mask = model.refined(carrier.image, carried, carrier.from_background)
    if mask is None:
        return carried
    carrier.see(mask, FORGOTTEN * model.say)
    return mask


def _visible_mask(carrier: Carrier, mask: Floats) -> NDArray[np.bool_]:
    """The mask at full size: the carried outline where it agrees with the working-size `mask`, else the latter's."""
    full = np.zeros((carrier.size.full_height, carrier.size.full_width), bool)
    full[carrier.full_box.slices] = carrier.changed(mask) > 127
    return full


def _without_specks(mask: Floats) -> Floats:
    """`mask` without small islands and pinholes."""
    cv2 = opencv(PURPOSE)
    least = SPECK * float((mask > 0.5).sum())
    for value in (0.0, 1.0):
        part = ((mask > 0.5) != (value > 0)).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] < least
        small[0] = False
        if small.any():
            mask = np.where(small[labels], np.float32(value), mask)
    return mask
