"""The first guess of an object, from a box or a few clicks, that GrabCut then refines.

From a click a region grows by geodesic distance: the cheapest path to the click, where crossing an edge between colours
is expensive. Of those nested regions the object is the one whose whole outline separates two colours best. The regions
of several clicks are put together, so that each click adds a part of the object.

In a box the object fills the middle, and what continues beyond the box belongs to the background, even if its colour
is the object's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Click = tuple[float, float, int]
Corners = tuple[float, float, float, float]

STEP_COST = 0.4  # of one pixel without any edge: keeps far things far
CANDIDATES = 32
SMALLEST, LARGEST = 0.0008, 0.5  # of the picture's area: what one click may mean
SIDE_WIDTH = 3.0  # pixels on either side of an outline whose colours are compared
WEAK_PART = 30  # percentile: an outline is as good as its weaker part, where a region leaks
SIZE_BIAS = 0.2  # exponent of the area: of two equally good outlines the larger, the object and not its detail
SURE_OUTSIDE = 2.0  # times a region's geodesic reach: certainly background beyond
CLAIM = 4.0  # a click on the background claims what is this much nearer to it than to the object's click
CLICK_REACH = 3  # pixels around a click whose median is the clicked colour
LIGHTNESS = 0.15  # weight against colour: shading changes the lightness of one object, rarely its colour
SAME_COLOUR = 18.0  # in Lab (8 bit): still the colour that was clicked
MOSTLY_PURE = 0.6  # a region with less of the clicked colour has leaked
MIDDLE = 0.75  # of the box's half size: where the object is expected
CORE = 0.5  # of the weight at the box's centre
CONTINUES = 0.3  # what is this much nearer to the outside of the box than to its middle continues beyond it
COLOUR_BINS = 16  # for each of L, a, b


class Picture:
    """A small Lab picture (uint8 [H, W, 3]) with its texture flattened, and geodesic distances on it."""

    def __init__(self, cv2: Any, lab: np.ndarray) -> None:
        from scipy.sparse import csr_matrix

        flat = cv2.pyrMeanShiftFiltering(lab, 6, 18)
        self.cv2 = cv2
        self.smooth = cv2.GaussianBlur(flat, (0, 0), 1.2).astype(np.float32)
        self.shape = height, width = lab.shape[:2]
        index = np.arange(height * width, dtype=np.int32).reshape(height, width)
        starts, ends, costs = [], [], []
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            here = (slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
            there = (slice(dy, height), slice(max(0, dx), width + min(0, dx)))
            edge = np.sqrt(((self.smooth[here] - self.smooth[there]) ** 2).sum(axis=2))
            starts.append(index[here].ravel())
            ends.append(index[there].ravel())
            costs.append((edge + STEP_COST * np.hypot(dx, dy)).ravel())
        places = (np.concatenate(starts), np.concatenate(ends))
        self._graph = csr_matrix((np.concatenate(costs), places), shape=(index.size, index.size))

    def distance(self, places: np.ndarray) -> np.ndarray:
        """The geodesic distance of every pixel to the nearest of `places` (bool [H, W]); infinite without any."""
        from scipy.sparse.csgraph import dijkstra

        seeds = np.flatnonzero(places)
        if not len(seeds):
            return np.full(self.shape, np.inf)
        return dijkstra(self._graph, directed=False, indices=seeds, min_only=True).reshape(self.shape)

    def at(self, clicks: list[Click]) -> np.ndarray:
        """bool [H, W], true at the clicks."""
        places = np.zeros(self.shape, bool)
        for x, y, _ in clicks:
            places[int(y), int(x)] = True
        return places

    def outline_contrast(self, region: np.ndarray) -> float:
        """How different the colours on both sides of a region's outline are, at the weaker part of it."""
        cv2 = self.cv2
        inside = region.astype(np.float32)
        rim = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        share = cv2.GaussianBlur(inside, (0, 0), SIDE_WIDTH)[..., None]
        within = cv2.GaussianBlur(self.smooth * inside[..., None], (0, 0), SIDE_WIDTH)
        around = cv2.GaussianBlur(self.smooth, (0, 0), SIDE_WIDTH) - within
        difference = (within / np.maximum(share, 1e-3) - around / np.maximum(1 - share, 1e-3))[rim]
        contrast = np.sqrt((difference**2).sum(axis=1))
        border = np.concatenate([region[0], region[-1], region[:, 0], region[:, -1]])
        contrast = np.concatenate([contrast, np.zeros(int(border.sum()))])  # nothing speaks for an end at the border
        return float(np.percentile(contrast, WEAK_PART)) if len(contrast) else 0.0


def grow_from_clicks(picture: Picture, clicks: list[Click]) -> np.ndarray:
    """GrabCut's labels [H, W], uint8, for the object under the clicks (x, y in pixels, label)."""
    cv2 = picture.cv2
    against = [click for click in clicks if not click[2]]
    distance_against = picture.distance(picture.at(against))
    labels = np.full(picture.shape, cv2.GC_BGD, np.uint8)
    for click in clicks:
        if not click[2]:
            continue
        reach = picture.distance(picture.at([click]))
        stop = min((float(reach[int(y), int(x)]) for x, y, _ in against), default=np.inf)
        reach[(reach >= stop) | (reach >= CLAIM * distance_against)] = np.inf
        limit = _best_limit(picture, reach, _purity(picture, click))
        labels[(reach < SURE_OUTSIDE * limit) & (labels == cv2.GC_BGD)] = cv2.GC_PR_BGD
        labels[reach <= limit] = cv2.GC_PR_FGD
    return labels


def claimed_background(picture: Picture, clicks: list[Click]) -> np.ndarray:
    """What the clicks on the background take away, bool [H, W]: their regions, up to where the object's are nearer."""
    claimed = np.zeros(picture.shape, bool)
    nearest = picture.distance(picture.at([click for click in clicks if click[2]]))
    for click in clicks:
        if not click[2]:
            reach = picture.distance(picture.at([click]))
            claimed |= (reach <= _best_limit(picture, reach, _purity(picture, click))) & (reach < nearest)
    return claimed


def start_in_box(picture: Picture, box: Corners, grown: np.ndarray | None = None) -> np.ndarray:
    """GrabCut's labels [H, W], uint8, for the object in a box (x0, y0, x1, y1 in pixels).

    `grown` (bool [H, W]) is what is known of the object already, in place of the box's middle.
    """
    cv2 = picture.cv2
    inside, middle = middle_of(picture.shape, box)
    seen = middle if grown is None else (grown & inside).astype(np.float32)
    likely = inside & (_colour_odds(picture.smooth, seen) > 0.5)
    labels = np.full(picture.shape, cv2.GC_BGD, np.uint8)
    labels[inside] = cv2.GC_PR_BGD
    labels[likely] = cv2.GC_PR_FGD
    core = likely & (seen > CORE)
    if core.any() and not inside.all():
        labels[picture.distance(~inside) < CONTINUES * picture.distance(core)] = cv2.GC_BGD
    return labels


def middle_of(shape: tuple[int, int], box: Corners) -> tuple[np.ndarray, np.ndarray]:
    """The box's pixels (bool [H, W]) and how much each is expected to be the object (0..1, 1 at the centre)."""
    height, width = shape
    x0, y0, x1, y1 = box
    rows, columns = np.mgrid[0.5:height, 0.5:width].astype(np.float32)
    across, down = (2 * columns - x0 - x1) / (x1 - x0), (2 * rows - y0 - y1) / (y1 - y0)
    inside = (np.abs(across) < 1) & (np.abs(down) < 1)
    if not inside.any():  # thinner than a pixel of the small copy
        inside[min(int(y0), height - 1), min(int(x0), width - 1)] = True
    return inside, np.where(inside, np.exp(-(across**2 + down**2) / MIDDLE**2), 0).astype(np.float32)


def _purity(picture: Picture, click: Click) -> np.ndarray:
    """How much each pixel has the colour that was clicked, 0..1 [H, W]."""
    x, y = int(click[0]), int(click[1])
    around = (slice(max(0, y - CLICK_REACH), y + CLICK_REACH + 1), slice(max(0, x - CLICK_REACH), x + CLICK_REACH + 1))
    difference = picture.smooth - np.median(picture.smooth[around].reshape(-1, 3), axis=0)
    difference[..., 0] *= LIGHTNESS
    return np.exp(-(difference**2).sum(axis=2) / SAME_COLOUR**2)


def _best_limit(picture: Picture, reach: np.ndarray, purity: np.ndarray) -> float:
    """The reach at which the grown region's outline separates colours best."""
    ordered = np.sort(reach[np.isfinite(reach)])
    best, best_score = float(ordered[-1]) if len(ordered) else 0.0, -1.0
    for size in np.geomspace(SMALLEST, LARGEST, CANDIDATES) * reach.size:
        if size >= len(ordered):
            break
        limit = float(ordered[int(size)])
        region = reach <= limit
        pure = float(purity[region].mean())
        unleaked = min(1.0, pure / MOSTLY_PURE) ** 4
        score = picture.outline_contrast(region) * float(size) ** SIZE_BIAS * pure * unleaked
        if score > best_score:
            best, best_score = limit, score
    return best


def _colour_odds(smooth: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """How much more often each pixel's colour occurs where the object was seen than elsewhere, 0..1 [H, W]."""
    bins = np.minimum(smooth / (256 / COLOUR_BINS), COLOUR_BINS - 1).astype(np.int32)
    index = (bins[..., 0] * COLOUR_BINS + bins[..., 1]) * COLOUR_BINS + bins[..., 2]
    shares = []
    for weight in (seen, 1 - seen):
        counts = np.bincount(index.ravel(), weight.ravel(), COLOUR_BINS**3).reshape((COLOUR_BINS,) * 3)
        for axis in range(3):  # neighbouring bins hold nearly the same colour
            padded = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)])
            low, mid, high = (np.take(padded, np.arange(COLOUR_BINS) + o, axis) for o in (0, 1, 2))
            counts = 0.25 * low + 0.5 * mid + 0.25 * high
        shares.append(counts.ravel()[index] / max(float(weight.sum()), 1.0))
    return shares[0] / np.maximum(shares[0] + shares[1], 1e-12)
