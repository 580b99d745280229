"""Trials of the editors that steer a frozen model: a held-out scene, the edit that is asked for, and its truth.

Frozen: a trial follows from its kind and number alone. Numbers below `HELD_OUT_CLIPS` are reported; settings may be
chosen on those above.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..draws import Draws
from ..sd_world.render import Shown, flow, render
from ..sd_world.scene import FRAMES, GROWTH, HEADINGS, TURN, SDScene, Thing, draw_scene, held_out
from ..sd_world.words import ROUND
from ..world.words import SEEN_PAIRS

TURNING = ("spin", "grow", "shrink")
PACE = 0.034  # of the side in one frame, of what is asked to move
TRIES = 1000


@dataclass(frozen=True)
class SteeredTruth:
    """What is known of a trial. `source_fhwc` is the clip, `oracle_fhwc` the clip as the edit should make it.

    `was_fhw` and `object_fhw` are how much of each pixel the edited object is, before and after; `colour` is its colour
    afterwards, `was` the one before. `flow_fhwc` [F - 1, H, W, 2] says where each pixel of the oracle is in the next
    frame, in pixels; `heading` where the object should go (right, down), of length 1, or 0 where it isn't told to.
    `depth_fhw` is the source's, 0..1 with 1 the nearest.
    """

    source_fhwc: Tensor
    oracle_fhwc: Tensor
    was_fhw: Tensor
    object_fhw: Tensor
    flow_fhwc: Tensor
    depth_fhw: Tensor
    was: str
    colour: str
    heading: tuple[float, float]


@dataclass(frozen=True)
class SteeredTrial:
    """`source` is to become `target`; the first thing of both is the edited one. `id` names the trial for good."""

    id: str
    source: SDScene
    target: SDScene

    @property
    def caption(self) -> str:
        """What the source shows, in words."""
        return self.source.caption()

    @property
    def prompt(self) -> str:
        """What the edit is asked for."""
        return self.target.caption()

    @cached_property
    def truth(self) -> SteeredTruth:
        """All that is known of it."""
        before, after = render(self.source), render(self.target)
        thing, wanted = self.source.things[0], self.target.things[0]
        angle = HEADINGS.get(wanted.motion)
        heading = (0.0, 0.0) if angle is None else (float(np.cos(angle)), float(np.sin(angle)))
        return SteeredTruth(
            source_fhwc=before.frames_fhwc,
            oracle_fhwc=after.frames_fhwc,
            was_fhw=_first(before),
            object_fhw=_first(after),
            flow_fhwc=torch.from_numpy(flow(self.target)),
            depth_fhw=before.depth_fhw,
            was=thing.colour,
            colour=wanted.colour,
            heading=heading,
        )


def recolouring(number: int) -> SteeredTrial:
    """An object in whatever motion gets another colour."""
    return _recoloured(f"recolour/{number}", one_thing(number), number)


def turned_recolouring(number: int) -> SteeredTrial:
    """An object that turns or changes its size gets another colour."""
    scene, draws = one_thing(number), Draws("sd/steered/turning", number)
    thing = scene.things[0]
    motion = draws.one_of([one for one in TURNING if one != "spin" or thing.shape not in ROUND])
    pace = draws.between(*(TURN if motion == "spin" else GROWTH))
    scene = replace(scene, things=(_in_frame(replace(thing, motion=motion, pace=pace, wobble=0.0)),))
    return _recoloured(f"turned recolour/{number}", scene, number)


def new_motion(number: int) -> SteeredTrial:
    """An object that stands still or moves in one direction is to move in another one, from the same start."""
    scene = one_thing(number)
    thing = scene.things[0]
    thing = thing if thing.motion in HEADINGS else thing.moving("still", 0.0)
    ways = {way: thing.moving(way, PACE) for way in HEADINGS if way != thing.motion}
    fitting = [way for way, moved in ways.items() if _outside(moved) <= 0]
    way = Draws("sd/steered/motion", number).one_of(fitting or [min(ways, key=lambda one: _outside(ways[one]))])
    source = replace(scene, things=(thing,))
    return SteeredTrial(f"motion/{number}", source, replace(scene, things=(ways[way],)))


def one_mover(number: int) -> SteeredTrial:
    """A scene in which one thing moves, another one stands still, and the backdrop does, too; nothing is edited."""
    draws = Draws("sd/steered/mover", number)
    for _ in range(TRIES):
        scene = draw_scene(draws)
        movers = [one for one in scene.things if one.motion in HEADINGS]
        if len(scene.things) == 2 and movers:
            other = next(one for one in scene.things if one is not movers[0])
            backdrop = replace(scene.backdrop, pan=(0.0, 0.0))
            made = replace(scene, backdrop=backdrop, things=(movers[0], other.moving("still", 0.0)))
            return SteeredTrial(f"mover/{number}", made, made)
    raise AssertionError(f"no scene with a mover in {TRIES}")


def one_thing(number: int) -> SDScene:
    """Held-out scene `number`, with only the nearest of its things."""
    scene = held_out(number)
    return replace(scene, things=scene.things[-1:])


def _recoloured(name: str, scene: SDScene, number: int) -> SteeredTrial:
    thing = scene.things[0]
    colours = [colour for shape, colour in SEEN_PAIRS if shape == thing.shape and colour != thing.colour]
    colour = Draws("sd/steered/recolour", number).one_of(colours)
    return SteeredTrial(name, scene, scene.with_thing(0, colour=colour))


def _first(shown: Shown) -> Tensor:
    return torch.from_numpy(shown.weights_nfhw[0])


def _in_frame(thing: Thing) -> Thing:
    """The same thing, moved as little as it takes for it to stay in the frame."""
    reach = _reach(thing)
    right, down = (min(max(middle, reach), 1 - reach) for middle in thing.middle)
    return replace(thing, middle=(right, down))


def _reach(thing: Thing) -> float:
    return thing.radius * float(thing.scales(np.array([0.0, FRAMES - 1.0])).max())


def _outside(thing: Thing) -> float:
    """How far a thing is beyond the frame's edge at the worst time, as a part of the side; 0 or less if nowhere."""
    centres = thing.centres(np.array([0.0, FRAMES - 1.0]))
    return float(_reach(thing) - min(centres.min(), (1 - centres).min()))
