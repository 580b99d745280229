"""Small clips, masks and pictures, and everything that can be wrong with one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

COUNTS = (1, 2, 3, 4, 5, 8, 9)
SIDES = (32, 33, 40, 47, 48, 64, 65, 96)
Fault = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Shape:
    """The clip that a graph is about."""

    count: int
    height: int
    width: int
    seed: int

    def other(self, chance: random.Random) -> Shape:
        """Another clip, which doesn't belong to this one."""
        return drawn_shape(chance)

    def single(self) -> Shape:
        """One frame of it."""
        return Shape(1, self.height, self.width, self.seed)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width and height of what moves, on frame 0."""
        return self.width // 5, self.height // 4, max(1, self.width // 3), max(1, self.height // 3)


def drawn_shape(chance: random.Random) -> Shape:
    return Shape(chance.choice(COUNTS), chance.choice(SIDES), chance.choice(SIDES), chance.randrange(1000))


def frames(shape: Shape) -> Tensor:
    """frames_fhwc: a textured box glides over a textured ground."""
    generator = torch.Generator().manual_seed(shape.seed)
    ground, thing = (torch.rand(1, 3, 8, 8, generator=generator) for _ in range(2))
    size = (shape.height, shape.width)
    ground, thing = (interpolate(one, size, mode="bilinear")[0].permute(1, 2, 0) for one in (ground, thing))
    inside = mask(shape)[..., None]
    return (ground * (1 - inside) + thing * inside).clamp(0, 1).contiguous()


def mask(shape: Shape) -> Tensor:
    """mask_fhw: exactly the box."""
    marked = torch.zeros(shape.count, shape.height, shape.width)
    x, y, across, down = shape.box
    for index in range(shape.count):
        marked[index, y : y + down, min(x + index, shape.width - 1) : x + index + across] = 1
    return marked


def edited(shape: Shape) -> Tensor:
    """The clip with another colour in the box, and nothing else changed."""
    inside = mask(shape)[..., None]
    return (frames(shape) * (1 - inside) + inside * torch.tensor([0.2, 0.4, 0.9])).contiguous()


def with_one(value: float) -> Fault:
    """One pixel of the last frame has this value."""

    def spoilt(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        if tensor.numel():
            tensor[-1].view(-1)[tensor[-1].numel() // 2] = value
        return tensor

    return spoilt


BOTH: dict[str, Fault] = {
    "none at all": lambda one: one[:0],
    "NaN": with_one(float("nan")),
    "infinite": with_one(float("inf")),
    "minus infinite": with_one(float("-inf")),
    "above 1": with_one(255.0),
    "below 0": with_one(-0.5),
    "a little above 1": with_one(1.0005),
    "one frame": lambda one: one[:1],
    "one frame more": lambda one: torch.cat([one, one[-1:]]),
    "one frame less": lambda one: one[:-1],
    "a hundred frames": lambda one: one[:1].repeat(100, *[1] * (one.ndim - 1))[:, ::4, ::4],
    "one pixel": lambda one: one[:, :1, :1].contiguous(),
    "one row": lambda one: one[:, :1].contiguous(),
    "one column less": lambda one: one[:, :, :-1].contiguous(),
    "no height": lambda one: one[:, :0],
    "half precision": lambda one: one.half(),
    "bfloat16": lambda one: one.bfloat16(),
    "double precision": lambda one: one.double(),
    "whole numbers": lambda one: (one * 255).byte(),
    "not contiguous": lambda one: one.transpose(1, 2).contiguous().transpose(1, 2),
    "one frame expanded": lambda one: one[:1].expand(one.shape),
    "backwards in memory": lambda one: one.flip(0),
    "all zero": torch.zeros_like,
    "all one": torch.ones_like,
    "all grey": lambda one: torch.full_like(one, 0.5),
    "with a gradient": lambda one: one.clone().requires_grad_(),
}
OF_IMAGES: dict[str, Fault] = {
    **BOTH,
    "an alpha channel": lambda one: torch.cat([one, torch.full_like(one[..., :1], 0.5)], dim=-1),
    "one channel": lambda one: one[..., :1],
    "two channels": lambda one: one[..., :2],
    "five channels": lambda one: one[..., [0, 1, 2, 0, 1]],
    "channels first": lambda one: one.permute(0, 3, 1, 2).contiguous(),
    "rank 3": lambda one: one[0] if len(one) else one,
    "rank 5": lambda one: one[None],
}
OF_MASKS: dict[str, Fault] = {
    **BOTH,
    "soft": lambda one: one * 0.7 + 0.1,
    "just at the threshold": lambda one: one * 0.5,
    "one pixel marked": lambda one: with_one(1.0)(torch.zeros_like(one)),
    "inverted": lambda one: 1 - one,
    "logical": lambda one: one > 0.5,
    "of one picture": lambda one: one[0],
    "with a channel": lambda one: one[:, None],
    "channel last": lambda one: one[..., None],
    "rank 5": lambda one: one[None, None],
    "noise": lambda one: (torch.rand(one.shape, generator=torch.Generator().manual_seed(1)) > 0.5).float(),
    "only on the last frame": lambda one: torch.cat([torch.zeros_like(one[:-1]), one[-1:]]),
}
