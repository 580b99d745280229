"""Tracks of made-up objects that move, turn, deform, are hidden in part and leave the frame; and faults in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

HEIGHT, WIDTH, COUNT = 96, 160, 28
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
ROUGH = np.random.default_rng(0).standard_normal((HEIGHT, WIDTH), np.float32)


@dataclass(frozen=True)
class Body:
    """A wobbling outline on its way; all values drawn once."""

    size: float
    start: tuple[float, float]
    drift: tuple[float, float]
    sway: tuple[float, float]
    pace: float
    turn: float
    stretch: float
    waves: tuple[tuple[float, float, float], ...]
    breath: float
    rough: float
    shake: float
    seed: int

    def place(self, frame: int) -> tuple[float, float]:
        """The centre (x, y)."""
        draw = np.random.default_rng((self.seed, frame)).normal(0, self.shake * self.size, 2)
        angle = self.pace * frame
        x = self.start[0] + self.drift[0] * frame + self.sway[0] * np.sin(angle)
        y = self.start[1] + self.drift[1] * frame + self.sway[1] * np.cos(1.3 * angle)
        return float(x + draw[0]), float(y + draw[1])

    def mask(self, frame: int, size: float = 1.0, at: tuple[float, float] | None = None) -> np.ndarray:
        """Bool [H, W]; `size` as a multiple of its own."""
        x, y = at or self.place(frame)
        angle = self.turn * frame
        across, down = COLUMNS - x, ROWS - y
        along = (across * np.cos(angle) + down * np.sin(angle)) / self.stretch
        beside = (down * np.cos(angle) - across * np.sin(angle)) * self.stretch
        around = np.arctan2(beside, along)
        reach = np.ones_like(around)
        for number, (height, phase, speed) in enumerate(self.waves, start=2):
            reach += height * np.cos(number * around + phase + speed * frame)
        reach *= self.size * size * (1 + self.breath * np.sin(0.7 * self.pace * frame))
        noise = np.roll(ROUGH, (self.seed + 37 * frame, 61 * frame), (0, 1))
        return np.hypot(along, beside) + self.rough * noise < reach


def body(draw: np.random.Generator, fast: float = 0.25) -> Body:
    """Any object; `fast` is how far it may go on each frame, in multiples of its size."""
    size = float(draw.uniform(7, 16))
    start = float(draw.uniform(50, WIDTH - 50)), float(draw.uniform(30, HEIGHT - 30))
    # Back towards the middle at the latest on the last frame, so that most of it stays in the picture.
    drift = tuple(
        float(np.clip(draw.uniform(-fast, fast) * size, (low - at) / COUNT, (high - at) / COUNT))
        for at, low, high in zip(start, (20, 15), (WIDTH - 20, HEIGHT - 15))
    )
    return Body(
        size, start, drift, (float(draw.uniform(0, 15)), float(draw.uniform(0, 8))), float(draw.uniform(0.05, 0.4)),
        float(draw.uniform(-0.12, 0.12)), float(draw.uniform(1, 1.45)),
        tuple((float(draw.uniform(0, 0.18)), float(draw.uniform(0, 6)), float(draw.uniform(-0.2, 0.2))) for _ in "abc"),
        float(draw.uniform(0, 0.25)), float(draw.uniform(0, 0.8)), float(draw.uniform(0, 0.06)),
        int(draw.integers(1 << 30)),
    )  # fmt: skip


def clean(seed: int, kind: str) -> torch.Tensor:
    """mask_fhw of a track without a fault. `kind`: "free", "hidden" (a post passes in front of it), "leaving"."""
    draw = np.random.default_rng((seed, len(kind)))
    one = body(draw)
    masks = np.stack([one.mask(frame) for frame in range(COUNT)])
    if kind == "hidden":
        width, speed = draw.uniform(0.2, 0.8) * one.size, draw.uniform(1.5, 5)
        for frame in range(COUNT):
            left = speed * (frame - draw.uniform(0, 0.01)) % (WIDTH + width) - width
            masks[frame, :, max(0, round(left)) : max(0, round(left + width))] = False
    if kind == "leaving":
        out = -1.5 * one.size, float(draw.uniform(20, HEIGHT - 20))
        pace = float(draw.uniform(0.8, 4))
        for frame in range(COUNT):
            x = out[0] + pace * min(frame, COUNT - frame) * 1.5
            masks[frame] = one.mask(frame, at=(x, out[1]))
    return torch.from_numpy(masks).float()


def lost(seed: int) -> tuple[torch.Tensor, int]:
    """A track whose object is gone for some frames, or all but a few pixels of it, and the first of them."""
    draw = np.random.default_rng((seed, 100))
    masks = clean(seed, "free")
    first, length = int(draw.integers(3, COUNT - 3)), int(draw.integers(1, 12))
    masks[first : first + length] *= _remnant(masks[first], draw) if draw.random() < 0.4 else 0
    return masks, first


def swapped(seed: int) -> tuple[torch.Tensor, int]:
    """A track that goes on with another object, elsewhere and of its own shape and way, for some frames."""
    draw = np.random.default_rng((seed, 200))
    own, other = body(draw), body(draw)
    first, length = int(draw.integers(2, COUNT - 1)), int(draw.integers(1, COUNT))
    x, y = own.place(first)
    away = own.size + other.size + draw.uniform(1, 25)  # beside it: their outlines don't meet
    angle = draw.uniform(0, 6.3)
    shift = x + away * np.cos(angle) - other.place(first)[0], y + away * np.sin(angle) - other.place(first)[1]
    masks = np.stack([own.mask(frame) for frame in range(COUNT)])
    for frame in range(first, min(COUNT, first + length)):
        there = other.place(frame)
        masks[frame] = other.mask(frame, at=(there[0] + shift[0], there[1] + shift[1]))
    return torch.from_numpy(masks).float(), first


def jumped(seed: int) -> tuple[torch.Tensor, int]:
    """A track whose mask swells, shrinks, takes in a neighbour or loses a half at once, and when."""
    draw = np.random.default_rng((seed, 300))
    own, other = body(draw), body(draw)
    first, kind = int(draw.integers(2, COUNT - 1)), int(draw.integers(4))
    masks = np.stack([own.mask(frame) for frame in range(COUNT)])
    size = draw.uniform(1.4, 2.0)
    for frame in range(first, COUNT):
        x, y = own.place(frame)
        if kind < 2:
            masks[frame] = own.mask(frame, size if kind else 1 / size)
        elif kind == 2:
            masks[frame] |= other.mask(frame, 1.2 * own.size / other.size, at=(x + 1.3 * own.size, y))
        else:
            masks[frame] &= x > COLUMNS
    return torch.from_numpy(masks).float(), first


def _remnant(mask_hw: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    kept = torch.zeros_like(mask_hw)
    pixels = mask_hw.nonzero()
    row, column = pixels[int(draw.integers(len(pixels)))].tolist() if len(pixels) else (0, 0)
    kept[row : row + 2, column : column + 2] = 1
    return kept
