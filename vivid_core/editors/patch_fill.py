"""Filling one hole by copying patches from its surroundings, coarse to fine.

The idea of completion by patches (Wexler, Shechtman, Irani 2007): every patch that touches the hole should look like
some patch of the known picture. Matching and voting take turns on a pyramid. While a level is small its matches are
exact, on patches projected on their principal components; finer levels inherit and refine them. Neighbours are pushed
to copy from neighbouring places (iterated conditional modes over the shifts), because that keeps texture sharp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..optional import opencv
from ..runtime import Runtime
from .membrane import fill_smoothly
from .patch_start import DISTANCE_COST, RADIUS, patches, peeled

Floats: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]
Places: TypeAlias = NDArray[np.int64]

COMPONENTS = 20  # principal components kept of a patch's 147 numbers
EXACT_PAIRS = 150_000_000  # patch pairs that one exact match may compare
CHUNK_PAIRS = 8_000_000  # of these at once: 32 MB
COARSEST_DEPTH = 12.0  # pixels; a hole no deeper than this is filled from its border inwards for a start
FEWEST_SOURCES = 200  # patches; on a level with fewer there is nothing to choose from
LEAST_TRUST = 1e-4  # in the worst match, where no other has a say
COHERENCE = 0.12  # cost of a neighbour with another shift, in units of the level's median matching cost
COHERENCE_TURNS = 4
CHUNK_PATCHES = 20_000
STEPS = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))


@dataclass
class _Level:
    """One level of the pyramid. All [h, w]: picture (with 3 channels), hole, how deep in it a pixel lies.

    `sources` [N, 2] are the middles of the patches that may be copied, `number` [h, w] gives their row there or -1.
    `basis` and `mean` project a patch on the principal components of these.
    """

    image: Floats
    hole: Flags
    depth: Floats
    sources: Places
    number: Places
    basis: Floats
    mean: Floats


@dataclass
class _Matching:
    """For each target patch (row, column) the source patch it copies, and the cost of that."""

    targets: Places
    sources: Places
    costs: Floats


def fill_by_patches(image_hwc: Floats, hole_hw: Flags, usable_hw: Flags, runtime: Runtime) -> Floats:
    """Return the picture with its hole filled by patches out of `usable_hw`; without any usable patch, smoothly."""
    levels = _pyramid(image_hwc, hole_hw, usable_hw)
    if not levels:
        return fill_smoothly(image_hwc, ~hole_hw)
    levels[-1].image = peeled(levels[-1].image, levels[-1].hole, levels[-1].sources)
    matching: _Matching | None = None
    for number, level in reversed(list(enumerate(levels))):
        targets = np.argwhere(_grown(level.hole, RADIUS))
        if matching is not None:
            matching = _inherited(matching, level, targets)
            level.image = _voted(level, matching)
        rounds = 2 if number == 0 else 3 + number
        for _ in range(rounds):
            runtime.advance(0)
            matching = _matched(level, targets, matching)
            level.image = _voted(level, matching)
    return np.where(hole_hw[..., None], levels[0].image, image_hwc).astype(np.float32)


def _pyramid(image: Floats, hole: Flags, usable: Flags) -> list[_Level]:
    """Halve until the hole is shallow; stop before no patch is left to copy."""
    cv2 = opencv("Filling holes")
    levels: list[_Level] = []
    known = ~hole
    while min(hole.shape) > 4 * RADIUS:
        fits = np.zeros(hole.shape, np.uint8)
        fits[RADIUS:-RADIUS, RADIUS:-RADIUS] = 1
        whole = cv2.erode((usable & ~hole).astype(np.uint8), np.ones((2 * RADIUS + 1,) * 2, np.uint8))
        centres = (whole & fits).astype(bool)
        if centres.sum() < (FEWEST_SOURCES if levels else 1):
            break
        depth = cv2.distanceTransform(np.pad(hole.astype(np.uint8), 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1]
        levels.append(_level(image, hole, depth, np.argwhere(centres)))
        if float(depth.max()) <= COARSEST_DEPTH:
            break
        size = ((hole.shape[1] + 1) // 2, (hole.shape[0] + 1) // 2)
        mass = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
        image = image / np.maximum(mass, 1e-6)[..., None]
        usable = cv2.resize(usable.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
        hole = mass < 0.5
        known = ~hole
    return levels


def _level(image: Floats, hole: Flags, depth: Floats, sources: Places) -> _Level:
    number = np.full(hole.shape, -1, np.int64)
    number[sources[:, 0], sources[:, 1]] = np.arange(len(sources))
    sample = patches(image, sources[:: max(1, len(sources) // 4000)])
    mean = sample.mean(0)
    _, vectors = np.linalg.eigh((sample - mean).T @ (sample - mean))
    return _Level(image.copy(), hole, depth, sources, number, vectors[:, -COMPONENTS:].astype(np.float32), mean)


def _matched(level: _Level, targets: Places, start: _Matching | None) -> _Matching:
    """The best source of every target: exact if the level is small, else refined from `start`; then made coherent."""
    sources = level.sources
    every, wanted = _projected(level, sources), _projected(level, targets)
    if start is None or len(targets) * len(sources) <= EXACT_PAIRS:
        stride = max(1, -(-len(targets) * len(sources) // EXACT_PAIRS))
        best = _nearest(wanted, every[::stride]) * stride
    else:
        best = level.number[start.sources[:, 0], start.sources[:, 1]]
    best = _coherent(level, targets, wanted, every, best)
    return _Matching(targets, sources[best], np.square(wanted - every[best]).sum(1))


def _nearest(wanted: Floats, every: Floats) -> Places:
    squared = np.square(every).sum(1) * 0.5
    best = np.empty(len(wanted), np.int64)
    step = max(1, CHUNK_PAIRS // len(every))
    for first in range(0, len(wanted), step):
        best[first : first + step] = np.argmin(squared - wanted[first : first + step] @ every.T, axis=1)
    return best


def _coherent(level: _Level, targets: Places, wanted: Floats, every: Floats, best: Places) -> Places:
    """Iterated conditional modes: each target may take a neighbour's shift, or one next to its own."""
    height, width = level.hole.shape
    shifts = np.full((height + 2, width + 2, 2), 1 << 20, np.int64)  # a frame of impossible shifts around
    rows, columns = targets[:, 0] + 1, targets[:, 1] + 1
    price = COHERENCE * float(np.median(np.square(wanted - every[best]).sum(1))) + 1e-6
    for turn in range(COHERENCE_TURNS):
        shifts[rows, columns] = level.sources[best] - targets
        around = [shifts[rows + dy, columns + dx] for dy, dx in NEIGHBOURS]
        own = shifts[rows, columns]
        lowest = np.full(len(targets), np.inf, np.float32)
        chosen = best.copy()
        for proposal in [*around, *(own + np.array(step) for step in STEPS)]:
            place = targets + proposal
            valid = (place >= 0).all(1) & (place[:, 0] < height) & (place[:, 1] < width)
            index = np.where(valid, level.number[np.where(valid, place[:, 0], 0), np.where(valid, place[:, 1], 0)], -1)
            valid = np.flatnonzero(index >= 0)
            cost = np.square(wanted[valid] - every[index[valid]]).sum(1)
            cost += price * _disagreeing(proposal[valid], around, valid)
            better = cost < lowest[valid]
            lowest[valid[better]] = cost[better]
            chosen[valid[better]] = index[valid[better]]
        waits = (targets.sum(1) + turn) % 2 == 0  # half of them at a time, or neighbours swap for ever
        best = np.where(waits, best, chosen)
    return best


def _disagreeing(proposal: Places, around: list[Places], which: Places) -> Floats:
    """How many of the neighbours have another shift than the proposed one."""
    count = np.zeros(len(proposal), np.float32)
    for other in around:
        here = other[which]
        count += (here[:, 0] != proposal[:, 0]) | (here[:, 1] != proposal[:, 1])
    return count


def _voted(level: _Level, matching: _Matching) -> Floats:
    """Every hole pixel is the weighted mean of what the patches over it say; good ones near the border count most."""
    height, width = level.hole.shape
    spread = float(np.quantile(matching.costs, 0.75)) + 1e-6
    trust = (
        np.maximum(np.exp(-matching.costs / (2 * spread)), LEAST_TRUST)
        * 1.2 ** -level.depth[matching.targets[:, 0], matching.targets[:, 1]]
    )
    total = np.zeros((height, width, 3), np.float32)
    mass = np.zeros((height, width), np.float32)
    for dy in range(-RADIUS, RADIUS + 1):
        for dx in range(-RADIUS, RADIUS + 1):
            rows, columns = matching.targets[:, 0] + dy, matching.targets[:, 1] + dx
            kept = np.flatnonzero((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))
            rows, columns = rows[kept], columns[kept]
            said = level.image[matching.sources[kept, 0] + dy, matching.sources[kept, 1] + dx]
            weight = (trust[kept] * np.exp(-(dy * dy + dx * dx) / 6.0)).astype(np.float32)
            total[rows, columns] += said * weight[:, None]
            mass[rows, columns] += weight
    voted = total / np.maximum(mass, 1e-12)[..., None]
    return np.where(level.hole[..., None], voted, level.image).astype(np.float32)


def _inherited(coarse: _Matching, level: _Level, targets: Places) -> _Matching:
    """The coarser level's shifts, doubled; where one points at no whole patch any more, the nearest whole one."""
    height, width = level.hole.shape
    shape = ((height + 1) // 2, (width + 1) // 2)
    shifts = np.zeros((*shape, 2), np.int64)
    costs = np.ones(shape, np.float32)
    have = np.zeros(shape, bool)
    at = (coarse.targets[:, 0], coarse.targets[:, 1])
    shifts[at], costs[at], have[at] = coarse.sources - coarse.targets, coarse.costs, True
    owner = _nearest_set(have)[targets[:, 0] // 2, targets[:, 1] // 2]
    wish = np.clip(targets + 2 * shifts[owner[:, 0], owner[:, 1]], 0, (height - 1, width - 1))
    sources = _nearest_set(level.number >= 0)[wish[:, 0], wish[:, 1]]
    return _Matching(targets, sources, costs[owner[:, 0], owner[:, 1]])


def _nearest_set(flags: Flags) -> Places:
    """[h, w, 2]: the nearest place where `flags` is set."""
    cv2 = opencv("Filling holes")
    _, labels = cv2.distanceTransformWithLabels(
        (~flags).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros((int(labels.max()) + 1, 2), np.int64)
    rows, columns = np.nonzero(flags)
    places[labels[rows, columns]] = np.stack([rows, columns], 1)
    return places[labels]


def _projected(level: _Level, places: Places) -> Floats:
    """[N, COMPONENTS + 2]: patches on the principal components, and where they are."""
    projected = np.empty((len(places), COMPONENTS + 2), np.float32)
    for first in range(0, len(places), CHUNK_PATCHES):
        some = slice(first, first + CHUNK_PATCHES)
        projected[some, :COMPONENTS] = (patches(level.image, places[some]) - level.mean) @ level.basis
    projected[:, COMPONENTS:] = places / float(max(level.hole.shape)) * DISTANCE_COST
    return projected


def _grown(flags: Flags, radius: int) -> Flags:
    cv2 = opencv("Filling holes")
    return cv2.dilate(flags.astype(np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8)).astype(bool)
