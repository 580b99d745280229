"""Scenes: what is in a clip of the world, as numbers from which it is rendered, and as many edits of it as wanted.

Lengths are parts of the frame's side and times are frames, so that one scene can be rendered in any size and length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..draws import Draws
from . import words

FASTEST = 0.035  # of the frame's side in one frame
MOST_ENTITIES = 3
TRIES = 20


@dataclass(frozen=True)
class Backdrop:
    """A texture of two colours (RGB in 0..1) under a slope of light, moved by `pan` (right, down) in each frame."""

    texture: str
    first_rgb: tuple[float, float, float]
    second_rgb: tuple[float, float, float]
    period: float
    angle: float
    phase: float
    pan: tuple[float, float]
    slope: tuple[float, float]


@dataclass(frozen=True)
class Path:
    """A way through the frame: a `kind` of `words.MOTIONS`, from or around `middle`.

    "drift" goes by `reach` in each frame and turns round at the border; "bounce" drifts sideways and hops by
    reach[1]; "sway" and "orbit" go `reach` to both sides. `period` (frames) and `phase` are of the last three.
    """

    kind: str
    middle: tuple[float, float]
    reach: tuple[float, float]
    period: float
    phase: float


@dataclass(frozen=True)
class Entity:
    """A plain object. `radius` is half the side of the box that it fills."""

    shape: str
    colour: str
    size: str
    radius: float
    path: Path

    @property
    def pair(self) -> tuple[str, str]:
        """Shape and colour."""
        return self.shape, self.colour

    @property
    def motion(self) -> str:
        """The motion as a key of `words.MOTION_WORDS`."""
        if self.path.kind != "drift":
            return self.path.kind
        right, down = self.path.reach
        if abs(right) >= abs(down):
            return "drift right" if right >= 0 else "drift left"
        return "drift down" if down >= 0 else "drift up"

    def caption(self, length: str) -> str:
        """The local caption in one of `words.CAPTION_LENGTHS`."""
        return words.caption(self.shape, self.colour, self.size, self.motion, length)

    def centres(self, times: np.ndarray) -> np.ndarray:
        """Where the middle of the box is at `times` (frames): float64 [T, 2] of right, down. Never out of the frame."""
        way, turn = self.path, 2 * np.pi * times / self.path.period + self.path.phase
        right, down = np.full_like(turn, way.middle[0]), np.full_like(turn, way.middle[1])
        if way.kind in ("drift", "bounce"):
            right = _turning(right + way.reach[0] * times, self.radius)
        if way.kind == "drift":
            down = _turning(down + way.reach[1] * times, self.radius)
        elif way.kind == "bounce":
            down = down - way.reach[1] * np.abs(np.sin(turn / 2))
        elif way.kind == "orbit":
            down = down + way.reach[1] * np.sin(turn)
        if way.kind in ("sway", "orbit"):
            right = right + way.reach[0] * np.cos(turn)
        return np.stack([right, down], axis=-1)


@dataclass(frozen=True)
class Scene:
    """A backdrop and entities from back to front."""

    backdrop: Backdrop
    entities: tuple[Entity, ...]

    def with_changed(self, index: int, shape: str, colour: str) -> Scene:
        """The same scene where one entity has another shape and colour: the truth of a modification."""
        changed = replace(self.entities[index], shape=shape, colour=colour)
        return replace(self, entities=(*self.entities[:index], changed, *self.entities[index + 1 :]))

    def without(self, index: int) -> Scene:
        """The same scene without one entity: the truth of a deletion, and what an addition starts from."""
        return replace(self, entities=self.entities[:index] + self.entities[index + 1 :])


def draw_scene(draws: Draws) -> Scene:
    """A scene of one to three entities, of seen pairs only."""
    wanted = 1 + draws.chance(0.6) + draws.chance(0.35)
    entities: list[Entity] = []
    for _ in range(min(wanted, MOST_ENTITIES)):
        for _ in range(TRIES):
            entity = draw_entity(draws)
            if all(_apart(entity, other) for other in entities):
                entities.append(entity)
                break
    return Scene(draw_backdrop(draws), tuple(entities))


def draw_entity(draws: Draws) -> Entity:
    """An entity of a seen pair."""
    shape, colour = draws.one_of(words.SEEN_PAIRS)
    size = draws.one_of(tuple(words.SIZES))
    radius = draws.between(*words.SIZES[size])
    return Entity(shape, colour, size, radius, _draw_path(draws, radius))


def draw_backdrop(draws: Draws) -> Backdrop:
    """A backdrop of greyish colours, so that every colour of an entity stands out. Most of them move."""
    grey = draws.between(0.22, 0.48)
    first = [grey + draws.between(-0.07, 0.07) for _ in range(3)]
    step = draws.between(0.10, 0.20) * (1 if grey < 0.35 else -1)
    second = [channel + step + draws.between(-0.03, 0.03) for channel in first]
    moves = draws.chance(0.6)
    pan = (draws.between(-0.02, 0.02) * moves, draws.between(-0.02, 0.02) * moves)
    return Backdrop(
        texture=draws.one_of(words.TEXTURES),
        first_rgb=(first[0], first[1], first[2]),
        second_rgb=(second[0], second[1], second[2]),
        period=draws.between(0.24, 0.42),
        angle=draws.between(0, np.pi),
        phase=draws.between(0, 2 * np.pi),
        pan=pan,
        slope=(draws.between(-0.08, 0.08), draws.between(-0.08, 0.08)),
    )


def _draw_path(draws: Draws, radius: float) -> Path:
    kind = draws.one_of(words.MOTIONS)
    period, phase = draws.between(16, 28), draws.between(0, 2 * np.pi)
    if kind == "drift":
        speed, heading = draws.between(0.012, FASTEST), draws.between(0, 2 * np.pi)
        reach, room = (speed * float(np.cos(heading)), speed * float(np.sin(heading))), (radius, radius, radius)
    elif kind == "bounce":
        reach = (draws.between(-0.015, 0.015), draws.between(0.10, 0.18))
        room = (radius, radius + reach[1], radius)
    elif kind == "sway":
        reach = (draws.between(0.07, 0.13), 0.0)
        room = (radius + reach[0], radius, radius)
    else:
        around = draws.between(0.06, 0.11)
        reach, room = (around, around), (radius + around, radius + around, radius + around)
    side, above, below = room
    middle = (draws.between(side, 1 - side), draws.between(above, 1 - below))
    return Path(kind, middle, reach, period, phase)


def _turning(place: np.ndarray, margin: float) -> np.ndarray:
    """`place`, folded back at `margin` from both ends of 0..1."""
    span = 1 - 2 * margin
    return margin + span - np.abs((place - margin) % (2 * span) - span)


def _apart(one: Entity, other: Entity) -> bool:
    """They may overlap when the clip begins, but not cover each other; and one can tell them by their colours."""
    if one.colour == other.colour:
        return False
    start = np.zeros(1)
    gap = np.abs(one.centres(start) - other.centres(start)).max()
    return bool(gap > 0.75 * (one.radius + other.radius))
