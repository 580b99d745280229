"""Scenes of one or two things that move, turn or change their size in a way that a word names.

Lengths are parts of the frame's side. A scene lasts `FRAMES` frames; times are frames from its first one on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..draws import Draws
from ..world.scene import Backdrop, draw_backdrop
from ..world.words import SEEN_PAIRS, SIZES
from . import words

SIDE, FRAMES = 64, 8
TRAINED, HELD_OUT, HELD_OUT_CLIPS = "sd/train", "sd/held-out", 64
SPEED = (0.025, 0.042)  # of the side, in one frame
WOBBLE = 0.2  # radians off the named direction
TURN = (0.18, 0.32)  # radians in one frame
GROWTH = (0.05, 0.08)  # in one frame, of the logarithm of the radius
PACES = {"spin": TURN, "grow": GROWTH, "shrink": GROWTH, "still": (0.0, 0.0)}  # of the others it is SPEED
HEADINGS = {"right": 0.0, "down": np.pi / 2, "left": np.pi, "up": 3 * np.pi / 2}
TILTED = 0.4  # of the things that don't spin
TWO = 0.2  # of the scenes hold two things
PANS = 0.5  # of the backdrops that would move, do
NEAR_THE_MIDDLE = (0.35, 0.65)  # from there a thing's middle stays in the picture, wherever it goes
TRIES = 50


@dataclass(frozen=True)
class Thing:
    """A plain object. `middle` (right, down), `radius`, `angle` and `near` are those in the middle of the scene.

    `near` is how near it is, 0..1: what lies behind, plain backdrop, has at most 0.35. `pace` is how fast it does what
    `motion` says, in the unit of that motion; `wobble` (radians) is how far off the named direction it goes.
    """

    shape: str
    colour: str
    size: str
    radius: float
    middle: tuple[float, float]
    angle: float
    near: float
    motion: str
    pace: float
    wobble: float

    def centres(self, times: np.ndarray) -> np.ndarray:
        """Where its middle is: float64 [T, 2] of right, down."""
        away = np.zeros((len(times), 2))
        if self.motion in HEADINGS:
            heading = HEADINGS[self.motion] + self.wobble
            away = self.pace * _since_middle(times)[:, None] * np.array([np.cos(heading), np.sin(heading)])
        return np.array(self.middle) + away

    def angles(self, times: np.ndarray) -> np.ndarray:
        """How far it is turned clockwise, in radians: float64 [T]."""
        return self.angle + (self.pace if self.motion == "spin" else 0.0) * _since_middle(times)

    def scales(self, times: np.ndarray) -> np.ndarray:
        """How large it is, 1 in the middle of the scene: float64 [T]."""
        way = {"grow": 1.0, "shrink": -1.0}.get(self.motion, 0.0)
        return np.exp(way * self.pace * _since_middle(times))

    def moving(self, motion: str, pace: float) -> Thing:
        """The same thing in another motion, from where it is when the scene begins."""
        start, other = np.zeros(1), replace(self, motion=motion, pace=pace, wobble=0.0)
        right, down = self.centres(start)[0] - other.centres(start)[0] + np.array(self.middle)
        turned = float(self.angles(start)[0] - other.angles(start)[0]) + self.angle
        scale = float(self.scales(start)[0] / other.scales(start)[0])
        return replace(
            other, middle=(float(right), float(down)), angle=turned, radius=self.radius * scale, near=self.near * scale
        )


@dataclass(frozen=True)
class SDScene:
    """A backdrop whose depth rises from `far` at the top to `ground` at the bottom, and things from back to front."""

    backdrop: Backdrop
    far: float
    ground: float
    things: tuple[Thing, ...]

    def caption(self, motion: bool = True, size: bool = True, texture: bool = True) -> str:
        """What it shows, in words; size, motion and texture may be left out."""
        said = [
            words.thing_words(one.colour, one.shape, one.size if size else "", one.motion if motion else "")
            for one in self.things
        ]
        return words.scene_words(said, self.backdrop.texture if texture else "")

    def with_thing(self, index: int, **changed: Any) -> SDScene:
        """The same scene where one thing has other values: the truth of an edit."""
        thing = replace(self.things[index], **changed)
        return replace(self, things=(*self.things[:index], thing, *self.things[index + 1 :]))


def draw_scene(draws: Draws) -> SDScene:
    """A scene of one thing, or now and then of two that begin apart and have different colours."""
    backdrop = draw_backdrop(draws)
    if not draws.chance(PANS):
        backdrop = replace(backdrop, pan=(0.0, 0.0))
    things = [_draw_thing(draws)]
    for _ in range(TRIES if draws.chance(TWO) else 0):
        other = _draw_thing(draws)
        if _apart(things[0], other):
            things.append(other)
            break
    far, ground = draws.between(0.0, 0.1), draws.between(0.2, 0.35)
    return SDScene(backdrop, far, ground, tuple(sorted(things, key=lambda one: one.near)))


def held_out(number: int) -> SDScene:
    """A scene that is never trained, always the same one for a number; the first `HELD_OUT_CLIPS` are the judges'."""
    return draw_scene(Draws(HELD_OUT, number))


def ways_of(scene: SDScene, count: int, draws: Draws) -> tuple[SDScene, ...]:
    """The scene `count` times: its nearest thing begins in the same place near the middle, and does other things."""
    front = len(scene.things) - 1
    thing = scene.things[front].moving("still", 0.0)
    thing = replace(thing, middle=(draws.between(*NEAR_THE_MIDDLE), draws.between(*NEAR_THE_MIDDLE)))
    left, ways = list(motions_of(thing.shape)), []
    for _ in range(count):
        motion = draws.one_of(left)
        left.remove(motion)
        other = thing.moving(motion, draws.between(*pace_of(motion)))
        ways.append(replace(scene, things=(*scene.things[:front], other)))
    return tuple(ways)


def motions_of(shape: str) -> tuple[str, ...]:
    """What a thing of a shape can be seen to do."""
    return tuple(one for one in words.MOTIONS if one != "spin" or shape not in words.ROUND)


def pace_of(motion: str) -> tuple[float, float]:
    """From where to where the pace of a motion goes."""
    return PACES.get(motion, SPEED)


def _draw_thing(draws: Draws) -> Thing:
    shape, colour = draws.one_of(SEEN_PAIRS)
    size = draws.one_of(tuple(SIZES))
    motion = draws.one_of(motions_of(shape))
    tilted = motion == "spin" or draws.chance(TILTED)
    thing = Thing(
        shape=shape,
        colour=colour,
        size=size,
        radius=draws.between(*SIZES[size]),
        middle=(0.5, 0.5),
        angle=draws.between(0, 2 * np.pi) * tilted,
        near=draws.between(0.5, 0.72),
        motion=motion,
        pace=draws.between(*pace_of(motion)),
        wobble=draws.between(-WOBBLE, WOBBLE),
    )
    times = np.array([0.0, FRAMES - 1.0])
    reach = np.abs(thing.centres(times) - 0.5).max(0) + thing.radius * float(thing.scales(times).max())
    low, high = np.minimum(reach, 0.5), np.maximum(1 - reach, 0.5)
    return replace(thing, middle=(draws.between(low[0], high[0]), draws.between(low[1], high[1])))


def _since_middle(times: np.ndarray) -> np.ndarray:
    return times - (FRAMES - 1) / 2


def _apart(one: Thing, other: Thing) -> bool:
    if one.colour == other.colour:
        return False
    times = np.array([0.0, (FRAMES - 1) / 2, FRAMES - 1.0])
    gaps = np.abs(one.centres(times) - other.centres(times)).max(1)
    return bool((gaps > 0.9 * (one.radius + other.radius)).all())
