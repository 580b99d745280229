"""An edit as a function of colour alone: what each colour of the original became, wherever it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..masks.flow import Floats
from ..optional import opencv

NODES = 13  # along each of red, green and blue
ROUNDS = 6  # of correcting the table by what it still gets wrong
OUTLIER = 0.04**2  # squared error from which a sample counts for little
EXPLAINED = 0.7  # share of samples that must fit, for the edit to count as a function of colour
MOST_SAMPLES = 150_000
UNHEARD = 1e-3  # mass of samples at a node from which it speaks for itself


@dataclass(frozen=True)
class ColourTable:
    """`change` [NODES, NODES, NODES, 3]: what is added to a colour; between nodes it is interpolated."""

    change: Floats

    def apply(self, image: Floats) -> Floats:
        """`image` [..., 3] with each colour changed as the table says."""
        flat = image.reshape(-1, 3)
        # grid_sample reads x from the last axis: blue, then green, then red.
        grid = torch.from_numpy(np.ascontiguousarray(flat[:, ::-1])).mul_(2).sub_(1).view(1, -1, 1, 1, 3)
        table = torch.from_numpy(self.change).permute(3, 0, 1, 2)[None]
        change = F.grid_sample(table, grid, align_corners=True, padding_mode="border")[0, :, :, 0, 0]
        return (flat + change.numpy().T).reshape(image.shape)


def colour_table(original: Floats, edited: Floats, where: NDArray[np.bool_]) -> ColourTable:
    """The table that fits `edited` best as a function of the colours of `original` ([h, w, 3]) over `where` [h, w].

    Colours that don't occur get the change of those most like them. An edit that is no function of colour at all
    (one colour became several) gets one affine colour map for everything, which at least is calm.
    """
    colours, wanted = original[where], edited[where]
    step = max(1, len(colours) // MOST_SAMPLES)
    colours, wanted = colours[::step], wanted[::step]
    table = ColourTable(np.zeros((NODES, NODES, NODES, 3), np.float32))
    if not len(colours):
        return table
    error = weight = np.ones(len(colours), np.float32)
    for _ in range(ROUNDS):
        missing = wanted - table.apply(colours)
        mass = _splat(colours, weight[:, None])
        mean = _splat(colours, missing * weight[:, None]) / np.maximum(mass, 1e-6)
        table = ColourTable(table.change + _continued(mean, mass))
        # What most pixels of a colour became counts, not what a few of them were painted over with.
        error = np.square(wanted - table.apply(colours)).mean(1)
        weight = (1 / np.square(1 + error / OUTLIER)).astype(np.float32)
    if float((error < OUTLIER).mean()) < EXPLAINED:
        return _affine_table(colours, wanted - colours)
    return table


def _affine_table(colours: Floats, change: Floats) -> ColourTable:
    def with_one(values: Floats) -> Floats:
        return np.concatenate([values, np.ones((*values.shape[:-1], 1), np.float32)], -1)

    basis = with_one(colours)
    steady = 1e-3 * len(colours) * np.diag([1.0, 1.0, 1.0, 0.0])
    solution = np.linalg.lstsq(basis.T @ basis + steady, basis.T @ change, rcond=None)[0]
    nodes = np.stack(np.meshgrid(*[np.linspace(0, 1, NODES)] * 3, indexing="ij"), -1).astype(np.float32)
    return ColourTable((with_one(nodes) @ solution).astype(np.float32))


def _splat(colours: Floats, values: Floats) -> Floats:
    """Sum of `values` [N, C] at the eight nodes around each colour, weighted as interpolation weighs them."""
    place = np.clip(colours, 0, 1) * (NODES - 1)
    base = np.minimum(place.astype(np.intp), NODES - 2)
    rest = place - base
    total = np.zeros((NODES**3, values.shape[1]), np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = np.abs(1 - np.array(corner) - rest).prod(1)
        node = ((base + corner) * (NODES * NODES, NODES, 1)).sum(1)
        for channel in range(values.shape[1]):
            total[:, channel] += np.bincount(node, weight * values[:, channel], NODES**3)
    return total.reshape(NODES, NODES, NODES, -1)


def _continued(mean: Floats, mass: Floats) -> Floats:
    """`mean` where samples were, spread to nodes without any."""
    heard = mass / (mass + UNHEARD * max(float(mass.max()), 1e-6))
    result = mean * heard
    weight = heard
    near, near_weight = mean * heard, heard
    for _ in range(NODES):
        near, near_weight = _blurred(near), _blurred(near_weight)
        share = 1 - weight
        result = result + near / np.maximum(near_weight, 1e-9) * share * np.minimum(1, near_weight * 8)
        weight = weight + share * np.minimum(1, near_weight * 8)
    return (result / np.maximum(weight, 1e-9)).astype(np.float32)


def _blurred(volume: Floats) -> Floats:
    cv2 = opencv("Colour tables")
    channels = volume.shape[-1]
    for axis in range(3):
        front = np.moveaxis(volume, axis, 0)
        flat = np.ascontiguousarray(front).reshape(NODES, -1)
        flat = cv2.blur(flat, (1, 3), borderType=cv2.BORDER_REPLICATE)
        volume = np.moveaxis(flat.reshape(front.shape), 0, axis)
    return np.ascontiguousarray(volume).reshape(NODES, NODES, NODES, channels)
