"""Textured scenes with known motion: an object over a moving background, sometimes behind something.

Object, background and occluder have the same kind of texture and colours, so that only motion and detail tell them
apart. The truth is known for every pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

MOTIONS = ("still", "translation", "rotation", "scaling", "mixed")


@dataclass(frozen=True)
class Scene:
    """`masks_fhw` is the visible part of the object, `whole_fhw` all of it; `poses` [F, 2, 3] take the object's own
    coordinates (origin at its middle) to pixels of each frame."""

    frames_fhwc: Tensor
    masks_fhw: Tensor
    whole_fhw: Tensor
    poses: np.ndarray

    def true_map(self, reference: int, frame: int) -> np.ndarray:
        """For each pixel of `frame`, taken as the object's: its coordinates in `reference`, float32 [H, W, 2]."""
        height, width = self.frames_fhwc.shape[1:3]
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        return _applied(self.poses[reference], _applied(_inverse(self.poses[frame]), x, y)).astype(np.float32)


def make_scene(
    seed: int,
    motion: str = "translation",
    frames: int = 48,
    width: int = 320,
    height: int = 240,
    occluder: str = "none",
    moving_background: bool = True,
    object_size: float = 0.26,
) -> Scene:
    """A scene of `frames` frames. `motion` is one of MOTIONS; `occluder` is none, partial (a post that hides a part of
    the object on its way) or full (a wall that hides all of it for a while; use it with translation)."""
    random = np.random.default_rng(seed)
    radius = object_size * min(width, height)
    poses = _object_poses(random, motion, frames, width, height, radius, occluder)
    outline = _outline(random)
    reach = int(radius * 1.6) + 4
    object_texture = texture(random, 2 * reach, 2 * reach)
    drift = random.uniform(-0.5, 0.5, 2) if moving_background else np.zeros(2)
    back = texture(random, width + 80, height + 80)
    front = texture(random, width, height) if occluder != "none" else None
    cover = _occluder_alpha(occluder, width, height, radius)
    frames_fhwc = torch.empty(frames, height, width, 3)
    masks_fhw, whole_fhw = torch.empty(frames, height, width), torch.empty(frames, height, width)
    for index in range(frames):
        picture = _shifted(back, 40 + drift * (index - frames / 2), width, height)
        alpha = np.zeros((height, width), np.float32)
        scale = math.sqrt(abs(np.linalg.det(poses[index][:, :2])))
        rows, columns = _around(poses[index][:, 2], reach * scale, width, height)
        y, x = np.mgrid[rows, columns].astype(np.float64)
        own = _applied(_inverse(poses[index]), x, y)
        alpha[rows, columns] = part = _coverage(own, outline, radius, scale)
        seen = _sampled(object_texture, own[..., 0] + reach, own[..., 1] + reach)
        picture[rows, columns] += (seen - picture[rows, columns]) * part[..., None]
        if front is not None:
            picture += (front - picture) * cover[..., None]
        frames_fhwc[index] = torch.from_numpy(picture).clamp(0, 1)
        whole_fhw[index] = torch.from_numpy(alpha > 0.5)
        masks_fhw[index] = whole_fhw[index] * torch.from_numpy(cover < 0.5)
    return Scene(frames_fhwc, masks_fhw, whole_fhw, poses)


def texture(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Coloured noise of several grain sizes, float32 [height, width, 3] in 0..1."""
    total = np.zeros((height, width, 3), np.float32)
    for sigma, strength in ((1.2, 0.07), (3.0, 0.09), (9.0, 0.1)):
        grain = cv2.GaussianBlur(random.standard_normal((height, width, 3)).astype(np.float32), (0, 0), sigma)
        total += strength * grain / grain.std()
    return np.clip(total + 0.5 + 0.06 * random.standard_normal(3), 0, 1).astype(np.float32)


def overlap(first: Tensor, second: Tensor) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    a, b = first > 0.5, second > 0.5
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def mean_overlap(first_fhw: Tensor, second_fhw: Tensor) -> float:
    """The mean over frames of `overlap`."""
    return sum(overlap(a, b) for a, b in zip(first_fhw, second_fhw)) / len(first_fhw)


def _object_poses(
    random: np.random.Generator, motion: str, frames: int, width: int, height: int, radius: float, occluder: str
) -> np.ndarray:
    middle = np.array([width / 2, height / 2])
    heading = random.uniform(0, 2 * math.pi)
    travel = np.array(
        [math.cos(heading) * 0.42 * (width - 2.6 * radius), math.sin(heading) * 0.42 * (height - 2.6 * radius)]
    )
    if occluder != "none":
        travel = np.array([(0.5 * width - 1.2 * radius) * random.choice([-1, 1]), random.uniform(-0.1, 0.1) * height])
    turn = random.uniform(0.6, 1.2) * random.choice([-1, 1])
    growth = random.uniform(0.3, 0.45) * random.choice([-1, 1])
    poses = []
    for index in range(frames):
        phase = 2 * index / max(1, frames - 1) - 1
        place, angle, scale = middle.copy(), 0.0, 1.0
        if motion in ("translation", "mixed"):
            place = middle + travel * phase
        if motion in ("rotation", "mixed"):
            angle = turn * phase * (1 if motion == "rotation" else 0.5)
        if motion in ("scaling", "mixed"):
            scale = math.exp(growth * phase * (1 if motion == "scaling" else 0.5))
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        poses.append([[cos, -sin, place[0]], [sin, cos, place[1]]])
    return np.array(poses)


def _outline(random: np.random.Generator) -> np.ndarray:
    return random.uniform(-1, 1, (4, 2)) * np.array([[0.1], [0.08], [0.05], [0.04]])


def _coverage(own: np.ndarray, outline: np.ndarray, radius: float, scale: float) -> np.ndarray:
    angle = np.arctan2(own[..., 1], own[..., 0])
    border = np.ones_like(angle)
    for order, (cos, sin) in enumerate(outline, start=2):
        border += cos * np.cos(order * angle) + sin * np.sin(order * angle)
    distance = (border * radius - np.hypot(own[..., 0], own[..., 1])) * scale
    return np.clip(distance + 0.5, 0, 1).astype(np.float32)


def _occluder_alpha(occluder: str, width: int, height: int, radius: float) -> np.ndarray:
    half = {"none": 0.0, "partial": 0.4 * radius, "full": 1.5 * radius}[occluder]
    alpha = np.zeros((height, width), np.float32)
    if half:
        alpha[:, round(width / 2 - half) : round(width / 2 + half)] = 1
    return alpha


def _around(middle: np.ndarray, reach: float, width: int, height: int) -> tuple[slice, slice]:
    low, high = np.floor(middle - reach).astype(int), np.ceil(middle + reach).astype(int)
    return slice(max(low[1], 0), min(high[1], height)), slice(max(low[0], 0), min(high[0], width))


def _shifted(picture: np.ndarray, offset: np.ndarray, width: int, height: int) -> np.ndarray:
    affine = np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, affine, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _sampled(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.remap(
        picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def _applied(pose: np.ndarray, x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    if y is None:
        x, y = x[..., 0], x[..., 1]
    return np.stack([pose[0, 0] * x + pose[0, 1] * y + pose[0, 2], pose[1, 0] * x + pose[1, 1] * y + pose[1, 2]], -1)


def _inverse(pose: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([pose, [0, 0, 1]]))[:2]
