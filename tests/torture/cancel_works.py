"""What is cancelled: each of our nodes that takes its time, ready to run, with shipped or any other embedded models."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import engines, probes
from harness.clips import write_film
from harness.engines import CLIP_RUN, RUN, returned
from harness.inprocess import Executor, Result

from . import clips
from .cancels import Work
from .clips import Shape

MOTION = "embedded, with motion (comes with the pack)"
LOAD = {"motion": "none", "controlnet": "none", "vae": "with the model", "precision": "auto", "prediction": "auto"}
INVERT = {
    "source_prompt": "a red ring", "steps": 3, "megapixels": 0.26, "check": False, "frames_at_once": 3, "overlap": 2,
}  # fmt: skip
PIX2VIDEO = {
    "prompt": "a blue ring", "guidance": 7.5, "order": "outward", "anchor": -1, "feather": 2, "negative": "",
    "attended": "anchor and previous", "first_layer": 7, "update_weight": 0.0122, "update_share": 0.5,
}  # fmt: skip
UNIEDIT = {
    "prompt": "a blue ring", "mode": "appearance", "guidance": 7.5, "structure": -1.0, "masks": "blend only",
    "feather": 2, "word": "", "threshold": 0.4, "negative": "", "content": 1.0, "content_from": 10, "injection": 1.0,
    "background": 0.5, "source": "replay", "roles": "together",
}  # fmt: skip
TRACKED = {"frame": 0, "box": "9, 12, 16, 16", "points": "", "direction": "both", "mask_frames": ""}
NAMES = (
    "VividEditKeyframe", "VividPropagate", "VividEditVideo", "VividEditLongVideo", "VividInvert", "VividPix2Video",
    "VividUniEdit", "VividPreviewPropagation", "VividTrackMask",
)  # fmt: skip
FROZEN = ("VividInvert", "VividPix2Video", "VividUniEdit")
DECODING = (*NAMES[:4], "VividPix2Video", "VividUniEdit")
Call = Callable[..., Result]


@dataclass(frozen=True)
class Extent:
    """How much work it is: the clips of the two kinds of models, and the steps of each run."""

    clip: Shape = Shape(5, 48, 48, 1)
    frozen: Shape = Shape(3, 32, 32, 1)
    steps: int = 2
    inverted_steps: int = 3

    @classmethod
    def drawn(cls, chance: random.Random) -> Extent:
        """Another extent, which takes no more than a few times as long."""
        seed = chance.randrange(1000)
        clip = Shape(chance.choice((5, 9)), chance.choice((48, 64)), 48, seed)
        frozen = Shape(chance.choice((2, 3, 4)), 32, chance.choice((32, 40)), seed)
        return cls(clip, frozen, chance.randint(2, 6), chance.randint(2, 5))


def work(executor: Executor, name: str, folder: Path, extent: Extent) -> Work:
    """The node `name` with all that it needs, made in this executor; `folder` takes its files."""
    through = functools.partial(probes.call, executor)
    return (_frozen if name in FROZEN else _masked)(through, name, folder, extent)


def _masked(call: Call, name: str, folder: Path, extent: Extent) -> Work:
    shape = extent.clip
    frames, mask = clips.frames(shape), clips.mask(shape)
    if name == "VividTrackMask":
        return Work(name, lambda: {"frames": frames, **TRACKED})
    keys = returned(call("VividKeyframes", images=clips.edited(shape)[:1], at_frames="0", strength=1.0))[0]
    given: dict[str, Any]
    if name == "VividPreviewPropagation":
        given = {"frames": frames, "mask": mask, "mode": "propagate", "feather": 2, "keyframes": keys}
        return Work(name, lambda: dict(given))
    engine = engines.engine(call)
    given = {"engine": engine, "mask": mask, **engines.texts(call, engine)}
    if name == "VividEditLongVideo":
        from comfy_api.input_impl import VideoFromFile

        film = write_film(folder / "film.mp4", shape.count, (shape.width, shape.height))
        given |= {"video": VideoFromFile(str(film)), "plan_only": False}
    else:
        given["frames"] = frames
    given |= {**RUN, "frame": 0} if name == "VividEditKeyframe" else CLIP_RUN
    given |= {"steps": extent.steps} | ({"keyframes": keys} if name == "VividPropagate" else {})
    return Work(name, lambda: dict(given), lambda inputs: inputs["engine"].vae.module.first.unproject)


def _frozen(call: Call, name: str, folder: Path, extent: Extent) -> Work:
    diffusion = returned(call("VividLoadDiffusion", model=MOTION, **LOAD))[0]
    editor = "Pix2Video" if name == "VividPix2Video" else "UniEdit"
    settings = {**INVERT, "steps": extent.inverted_steps}
    given = {"diffusion": diffusion, "frames": clips.frames(extent.frozen), "editor": editor, **settings}
    if name != "VividInvert":
        inversion = returned(call("VividInvert", **given))[0]
        settings = PIX2VIDEO if editor == "Pix2Video" else UNIEDIT
        given = {"diffusion": diffusion, "inversion": inversion, "mask": clips.mask(extent.frozen), **settings}
    return Work(name, lambda: dict(given), lambda inputs: inputs["diffusion"].backbone.vae.part.unproject)
