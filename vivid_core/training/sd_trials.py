"""What an embedded Stable Diffusion holds: numbers on held-out scenes and captions, and sheets to look at.

Frozen: scenes are `held_out(number)`, and what is drawn from noise has the number as its seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..diffusion.ddim import Times
from ..editors.backbone import Backbone
from ..runtime import Runtime
from .claims.sheets import Row
from .draws import Draws
from .sd_world.recognise import Seen, iou, seen, seen_of
from .sd_world.render import Shown, render
from .sd_world.scene import FRAMES, SIDE, SDScene, held_out
from .sd_world.words import MOTIONS
from .world.words import COLOURS

STEPS, GUIDANCE = 25, 4.0
STRENGTH = 0.6  # of the noise that a known scene is given before it is drawn again
MOVES = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
LEAST_MOVE, LEAST_GROWTH = 0.08, 1.2  # of the side over a clip; of the area


@dataclass(frozen=True)
class SDScore:
    """Shares of `trials` trials: the prompted colour is what is seen most of; its shape is the prompted one; the mean
    IoU with the true mask; the named motion is what happens. NaN where a trial does not ask for it."""

    what: str
    colour: float
    shape: float
    iou: float
    motion: float
    trials: int

    def line(self) -> dict[str, object]:
        """For a line of JSON, without what was not asked for."""
        values = {key: round(one, 3) if isinstance(one, float) else one for key, one in asdict(self).items()}
        return {key: one for key, one in values.items() if one == one}


@torch.no_grad()
def drawn(
    backbone: Backbone,
    captions: Sequence[str],
    noise_bcfhw: Tensor,
    clean_bcfhw: Tensor | None = None,
    depth_bfhw: Tensor | None = None,
    guidance: float = GUIDANCE,
) -> Tensor:
    """Clips [B, F, H, W, 3] in 0..1, a caption and a noise [B, 16, F, h, w] for each.

    `clean_bcfhw` are latents to start from with `STRENGTH` of the noise, instead of noise alone; depth is [B, F, H, W]
    in 0..1.
    """
    times, runtime = Times.make(backbone.noise, STEPS), Runtime()
    first = times.steps if clean_bcfhw is None else round(STRENGTH * times.steps)
    latents = noise_bcfhw if clean_bcfhw is None else times.noised(first, clean_bcfhw, noise_bcfhw)
    empty = backbone.encoded("", runtime)
    clips = []
    for row, caption in enumerate(captions):
        ask = backbone.ask(None if depth_bfhw is None else depth_bfhw[row])
        own, text = latents[row : row + 1], backbone.encoded(caption, runtime)
        for k in range(first, 0, -1):
            plain, told = ask(torch.cat([own, own]), times.timestep(k), [empty, text]).chunk(2)
            own = times.down(k, own, plain + guidance * (told - plain))
        clips.append(backbone.decode(own, runtime))
    return torch.stack(clips)


def from_noise(backbone: Backbone, count: int) -> tuple[SDScore, list[Row]]:
    """Held-out captions without motion, drawn from noise; with their scene's depth where the backbone wants depth."""
    scenes = [_one_thing(number) for number in range(count)]
    captions = [scene.caption(motion=False) for scene in scenes]
    clips = drawn(backbone, captions, _noise(backbone, range(count), 1), depth_bfhw=_depth(backbone, scenes))
    # Where a thing is, only depth says.
    shown = None if backbone.depth == "none" else [render(scene, SIDE, 1) for scene in scenes]
    return _score("drawn from noise", scenes, shown, clips, captions)


def again(backbone: Backbone, count: int, recoloured: bool) -> tuple[SDScore, list[Row]]:
    """Held-out scenes, drawn again from `STRENGTH` of noise by their caption, or by one with another colour."""
    scenes = [_one_thing(number) for number in range(count)]
    shown = [render(scene, SIDE, 1) for scene in scenes]
    clean = torch.cat([backbone.encode(one.frames_fhwc, Runtime()) for one in shown])
    if recoloured:
        scenes = [scene.with_thing(0, colour=_other_colour(number)) for number, scene in enumerate(scenes)]
    captions = [scene.caption(motion=False) for scene in scenes]
    clips = drawn(backbone, captions, _noise(backbone, range(count), 1), clean, _depth(backbone, scenes))
    return _score("recoloured" if recoloured else "drawn again", scenes, shown, clips, captions)


def in_motion(backbone: Backbone, count: int) -> tuple[SDScore, list[Row]]:
    """Held-out captions with each motion in turn, drawn from noise as clips."""
    ways = [*MOVES, "grow", "shrink", "still"]
    scenes = [_one_thing(number).with_thing(0, motion=ways[number % len(ways)]) for number in range(count)]
    captions = [scene.caption() for scene in scenes]
    clips = drawn(backbone, captions, _noise(backbone, range(count), FRAMES))
    moved = [
        float(moves_as(clip, scene.things[0].motion, scene.things[0].colour)) for clip, scene in zip(clips, scenes)
    ]
    score, rows = _score("in motion", scenes, None, clips, captions)
    return replace(score, motion=statistics.mean(moved)), rows


def moves_as(clip_fhwc: Tensor, motion: str, colour: str) -> bool:
    """Whether what a clip shows of a colour does what a word of `MOTIONS` says, from its first frame to its last.

    Raises ValueError for "spin", which can't be told from two frames, and for what is no motion.
    """
    if motion not in MOTIONS or motion == "spin":
        raise ValueError(f'Trials: got the motion "{motion}", which is not told from two frames.')
    ends = seen_of(clip_fhwc[0], colour), seen_of(clip_fhwc[-1], colour)
    if ends[0] is None or ends[1] is None:
        return False
    away = np.subtract(ends[1].middle, ends[0].middle)
    growth = ends[1].area / ends[0].area
    if motion in MOVES:
        forward = float(np.dot(away, MOVES[motion]))
        return forward > LEAST_MOVE and forward > 0.7 * float(np.linalg.norm(away))
    if motion == "still":
        return float(np.linalg.norm(away)) < LEAST_MOVE and 1 / LEAST_GROWTH < growth < LEAST_GROWTH
    return growth > LEAST_GROWTH if motion == "grow" else growth < 1 / LEAST_GROWTH


def _score(
    what: str, scenes: Sequence[SDScene], shown: Sequence[Shown] | None, clips: Tensor, captions: Sequence[str]
) -> tuple[SDScore, list[Row]]:
    colours, shapes, overlaps, rows = [], [], [], []
    for number, (scene, clip, caption) in enumerate(zip(scenes, clips, captions)):
        thing, image = scene.things[0], clip[len(clip) // 2]
        found, own = seen(image), seen_of(image, thing.colour)
        colours.append(float(found is not None and found.colour == thing.colour))
        shapes.append(float(own is not None and own.shape == thing.shape))
        panels = {"drawn": clip}
        if shown is not None:
            overlaps.append(_overlap(own, shown[number].mask_fhw(0)[0]))
            panels = {"scene": shown[number].frames_fhwc, **panels}
        rows.append(Row(f"{number}: {caption}", panels))
    mean = statistics.mean
    overlap = mean(overlaps) if overlaps else float("nan")
    return SDScore(what, mean(colours), mean(shapes), overlap, float("nan"), len(rows)), rows


def _overlap(found: Seen | None, truth_hw: Tensor) -> float:
    return 0.0 if found is None else iou(found.mask_hw, truth_hw)


def _one_thing(number: int) -> SDScene:
    """Held-out scene `number`, with only the nearest of its things."""
    scene = held_out(number)
    return replace(scene, things=scene.things[-1:])


def _other_colour(number: int) -> str:
    """A colour that held-out scene `number` does not have."""
    taken = {one.colour for one in held_out(number).things}
    return Draws("sd/recolour", number).one_of([one for one in COLOURS if one not in taken])


def _depth(backbone: Backbone, scenes: Sequence[SDScene]) -> Tensor | None:
    if backbone.depth == "none":
        return None
    return torch.stack([render(scene, SIDE, 1).depth_fhw for scene in scenes])


def _noise(backbone: Backbone, numbers: Sequence[int], frames: int) -> Tensor:
    size = (backbone.latent_channels, frames, *backbone.latent_size(SIDE, SIDE))
    return torch.stack([torch.randn(size, generator=torch.Generator().manual_seed(number)) for number in numbers])
