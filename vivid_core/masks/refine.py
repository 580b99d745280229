"""The outline of a carried mask, put right by colour: for objects that bend, turn and show new sides.

What flow followed from the object is object, what it followed from the background is background. Only what is left
over, and a narrow band along the outline, is decided by colour; and only while object and surroundings differ in
colour enough for that to be reliable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..optional import opencv
from .flow import PURPOSE, Bytes, Flags, Floats, luminance

BINS = 8  # of each channel
TILE = 24  # pixels: colours count most near where they were seen
FAR = 0.15  # how much a colour seen anywhere counts beside one seen near
DOUBT = 3e-4  # share of a colour about which nothing is known
MEMORY = 0.9  # how much of the colours seen anywhere survives one frame
FOLD = 12  # pixels: side of the squares of the checkerboard on which the model is put to the test
SURE = 3.0  # log odds of what flow followed
COLOUR_LIMIT = 2.4  # log odds of colour alone: never outvotes what flow followed
EDGE_DOUBT = 1.2  # pixels: blur of the followed labels, so that colour places the outline
SMOOTHING = 4  # pixels: window of the edge-keeping smoothing
SEPARABLE = (
    0.91,
    0.96,
)  # share of known pixels that colour tells right: from the first it is heard, at the second fully
WEAK = 0.8  # log odds of what was carried to places that flow did not follow
FEWEST = 60  # pixels of each kind that a colour model needs


class ColourModel:
    """The colours of the object and of its surroundings, anywhere (learnt from frame to frame) and near each place."""

    def __init__(self) -> None:
        self._anywhere: list[Floats | None] = [None, None]
        self.say = 0.0  # 0..1: how well colour tells the object on the present frame

    def refined(self, image: Bytes, carried: Floats, background: Flags) -> Floats | None:
        """The object's mask [h, w] in 0..1 from what was `carried` or is surely `background` and, for the rest, colour.

        None when colour can't tell the object from its surroundings.
        """
        seen = carried > 0.5
        if min(seen.sum(), background.sum()) < FEWEST:
            return None
        odds = self._tested_odds(image, (seen, background))
        if odds is None:
            return None
        cv2 = opencv(PURPOSE)
        labels = np.where(seen, np.float32(SURE), np.where(background, np.float32(-SURE), np.float32(-WEAK)))
        total = cv2.GaussianBlur(labels, (0, 0), EDGE_DOUBT) + odds
        return _rooted(_edge_keeping(total, luminance(image).astype(np.float32) / 255, SMOOTHING), seen)

    def _tested_odds(self, image: Bytes, sides: tuple[Flags, Flags]) -> Floats | None:
        """How much each pixel's colour speaks for the object; None when half of the pixels don't explain the others."""
        height, width = image.shape[:2]
        places = _places(image)
        tiles = (-(-height // TILE), -(-width // TILE))
        rows, columns = np.arange(height)[:, None] // FOLD, np.arange(width) // FOLD
        first = (rows + columns) % 2 == 0
        halves = [[_counts(places[side & fold], tiles) for fold in (first, ~first)] for side in sides]
        trial = self._odds(places, halves[0][0], halves[1][0], tiles)
        right = [float((trial[side & ~first] * sign > 0).mean()) for side, sign in zip(sides, (1, -1))]
        whole = [half + other for half, other in halves]
        odds = self._odds(places, whole[0], whole[1], tiles)
        for side, counts in enumerate(whole):
            share, old = _anywhere(counts, tiles), self._anywhere[side]
            self._anywhere[side] = share if old is None else MEMORY * old + (1 - MEMORY) * share
        low, high = SEPARABLE
        self.say = float(np.clip((min(right) - low) / (high - low), 0, 1))
        return self.say * odds if self.say > 0 else None

    def _odds(self, places: NDArray[np.intp], inside: Floats, outside: Floats, tiles: tuple[int, int]) -> Floats:
        shares = []
        for counts, old in zip((inside, outside), self._anywhere):
            far = _anywhere(counts, tiles) if old is None else old
            near = _spread(counts.reshape(*tiles, BINS, BINS, BINS), (0, 1, 2, 3, 4)).reshape(*tiles, -1)
            near /= near.sum(2, keepdims=True) + 0.1 * TILE * TILE
            shares.append(near + FAR * far + DOUBT)
        table = np.clip(np.log(shares[0] / shares[1]), -COLOUR_LIMIT, COLOUR_LIMIT).astype(np.float32)
        return table.reshape(-1)[places]


def _places(image: Bytes) -> NDArray[np.intp]:
    """For each pixel the number of its bin: tile row, tile column, red, green, blue."""
    height, width = image.shape[:2]
    levels = (image // (256 // BINS)).astype(np.intp)
    tile = (np.arange(height)[:, None] // TILE) * (-(-width // TILE)) + np.arange(width) // TILE
    return ((tile * BINS + levels[..., 0]) * BINS + levels[..., 1]) * BINS + levels[..., 2]


def _counts(places: NDArray[np.intp], tiles: tuple[int, int]) -> Floats:
    return np.bincount(places, minlength=tiles[0] * tiles[1] * BINS**3).astype(np.float32)


def _anywhere(counts: Floats, tiles: tuple[int, int]) -> Floats:
    colours = counts.reshape(tiles[0] * tiles[1], -1).sum(0).reshape(BINS, BINS, BINS)
    return (_spread(colours, (0, 1, 2)) / max(1.0, float(colours.sum()))).reshape(-1)


def _spread(counts: Floats, axes: tuple[int, ...]) -> Floats:
    """Each bin shared with its neighbours along `axes`: half stays, a quarter goes to either side."""
    for axis in axes:
        padded = np.concatenate([counts.take([0], axis), counts, counts.take([-1], axis)], axis)
        size = counts.shape[axis]
        before, after = padded.take(range(size), axis), padded.take(range(2, size + 2), axis)
        counts = 0.5 * counts + 0.25 * (before + after)
    return counts


def _rooted(odds: Floats, seen: Flags) -> Floats:
    """The mask that the odds give, without parts that hang together with little that was followed."""
    cv2 = opencv(PURPOSE)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((odds > 0).astype(np.uint8), connectivity=4)
    rooted = np.bincount(labels[seen], minlength=count) > 0.2 * stats[:, cv2.CC_STAT_AREA]
    rooted[0] = False
    return np.where(rooted[labels], 1 / (1 + np.exp(-2 * odds)), 0).astype(np.float32)


def _edge_keeping(values: Floats, guide: Floats, window: int) -> Floats:
    """`values` smoothed, but not across edges of `guide`: a local linear model of it (He et al. 2010)."""
    cv2 = opencv(PURPOSE)

    def mean(picture: Floats) -> Floats:
        return cv2.blur(picture, (2 * window + 1, 2 * window + 1))

    guide_mean, value_mean = mean(guide), mean(values)
    slope = (mean(guide * values) - guide_mean * value_mean) / (mean(guide * guide) - guide_mean**2 + 1e-3)
    return mean(slope) * guide + mean(value_mean - slope * guide_mean)
