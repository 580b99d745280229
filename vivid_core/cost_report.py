"""An estimate in words: what an edit will cost by KIVE and directly, cropped or not, in work, memory and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .checks import check_not_empty, check_number, checked_mask
from .cost import PETA, Flops, Rates, Tries, tries_flops, weight_bytes
from .diffusion.guidance import Guidance
from .editors.engine import Engine
from .editors.kive_plan import plan
from .editors.local_crop import plan_local_crop, whole_frame

FRAME_BYTES = 12  # of a pixel, as a clip is in memory
MOST_FRAMES = 10_000_000  # days of video
UNITS = ((1e15, "PFLOPs"), (1e12, "TFLOPs"), (0.0, "GFLOPs"))
TITLES = {"off": "The whole frame", "fine": 'Crop "fine"', "fast": 'Crop "fast"'}


@dataclass(frozen=True)
class Estimate:
    """What an edit of `frames` frames of `size` (height, width) costs in each crop mode of `modes`: the size that the
    model sees, and the work. `auto` is the mode that is chosen unless another one is wanted; `windows` how many the
    clip is cut into. `weights` and `room` are bytes: of each part, and beside it in its worst moment."""

    label: str
    frames: int
    size: tuple[int, int]
    steps: int
    guided: bool
    windows: int
    auto: str
    modes: Mapping[str, tuple[tuple[int, int], Tries]]
    weights: Mapping[str, int]
    room: Mapping[str, int]

    @property
    def chosen(self) -> Tries:
        """The work in the mode that is chosen by itself."""
        return self.modes[self.auto][1]

    @property
    def petaflops(self) -> float:
        """What KIVE costs then, in PFLOPs."""
        return self.chosen.kive.total / PETA

    @property
    def most_bytes(self) -> int:
        """Memory with one part loaded at a time, in the worst moment."""
        return max(self.weights[part] + self.room.get(part, 0) for part in self.weights)

    def text(self, rates: Rates | None = None, where: str = "here") -> str:
        """The estimate for people; with `rates` seconds too, and `where` they were measured."""
        tries = self.chosen
        asked = "with guidance" if self.guided else "without guidance"
        lines = [
            f"{self.label}: {_counted(self.frames, 'frame')} of {self.size[1]}x{self.size[0]} in "
            f"{_counted(self.windows, 'window')}, {_counted(self.steps, 'step')} {asked}, "
            f"{_counted(tries.count, 'try', 'tries')} until the edit is right.",
            *(self._mode(name) for name in self.modes),
            _advice(tries),
            self._memory(),
        ]
        if rates is not None:
            spent = {"directly": tries.direct, "by KIVE": tries.kive, "one try on a frame": tries.keyframe}
            times = ", ".join(f"{name} {duration(rates.seconds(flops))}" for name, flops in spent.items())
            lines.append(f"Time at the speed measured {where}, at the least: {times}.")
        lines.append("An estimate of the denoising alone: VAE, text encoder and stitching come on top.")
        return "\n".join(lines)

    def _mode(self, name: str) -> str:
        (height, width), tries = self.modes[name]
        chosen = ", chosen by auto" if len(self.modes) > 1 and name == self.auto else ""
        return (
            f"{TITLES[name]}, seen at {width}x{height}{chosen}: directly {shown(tries.direct)}, by KIVE "
            f"{shown(tries.kive)} ({tries.direct.total / tries.kive.total:.1f}x less); one frame "
            f"{shown(tries.keyframe)}, the clip once {shown(tries.clip)}."
        )

    def _memory(self) -> str:
        parts = ", ".join(f"{name} {size(count)}" for name, count in self.weights.items())
        beside = ", ".join(f"{name} {size(count)}" for name, count in self.room.items() if count)
        clip = FRAME_BYTES * self.frames * self.size[0] * self.size[1]
        return (
            f"Memory: weights of {parts}; beside them {beside or 'not known'}. One part loaded at a time: "
            f"{size(self.most_bytes)}; with less, weights are streamed. The clip itself takes {size(clip)}, and as "
            "much again for the result."
        )


def estimate(
    engine: Engine,
    clip: Tensor | tuple[int, int, int],
    tries: int = 3,
    steps: int | None = None,
    guidance: Guidance | None = None,
) -> Estimate:
    """What an edit will cost. `clip` is the edit mask [F, H, W] (1 = edit), or the clip's (frames, height, width)
    where there is none yet: then only the whole frame is known. None is the family's habit.

    Raises ValueError on an empty mask, an empty clip, less than one try or step, and settings of no known family.
    """
    config: Any = engine.transformer.config
    traits = engine.adapter.traits
    guidance = guidance or traits.guidance
    crops, auto, edited = {}, "off", None
    if isinstance(clip, tuple):
        frames, height, width = clip
        if min(clip) < 1:
            raise ValueError(f"Cost: got a clip of {frames} frames of {width}x{height}; all must be at least 1.")
        check_number(frames, 1, MOST_FRAMES, "Estimate Cost, frame_count")
        crops["off"] = whole_frame(frames, height, width, traits).size
    else:
        mask = checked_mask(clip, "Cost, mask")
        check_not_empty(mask, "Cost, mask")
        frames, height, width = mask.shape
        edited = (mask > 0.5).flatten(1).any(1)
        crops = {mode: plan_local_crop(mask, traits, mode).size for mode in TITLES}
        auto = plan_local_crop(mask, traits, "auto").mode
    # A window in which nothing is edited is never run.
    lengths = [one.length for one in plan(frames, traits) if edited is None or bool(edited[list(one.new)].any())]
    modes = {
        mode: (seen, tries_flops(engine.adapter, config, lengths, seen, tries, steps, guidance))
        for mode, seen in crops.items()
    }
    return Estimate(
        label=traits.label,
        frames=frames,
        size=(height, width),
        steps=traits.steps if steps is None else steps,
        guided=guidance.active,
        windows=len(lengths),
        auto=auto,
        modes=modes,
        weights=_weights(engine),
        room=_room(engine, guidance, max(lengths), crops[auto]),
    )


def shown(flops: Flops) -> str:
    """Operations in a unit that suits them."""
    scale, unit = next((scale, unit) for scale, unit in UNITS if flops.total >= scale)
    return f"{flops.total / (scale or 1e9):.3g} {unit}"


def size(count: float) -> str:
    """Bytes in a unit that suits them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _advice(tries: Tries) -> str:
    if tries.worth_it_from is None:
        return "For so little a keyframe saves nothing: edit directly."
    return f"KIVE costs less from {_counted(tries.worth_it_from, 'try', 'tries')} on."


def _weights(engine: Engine) -> dict[str, int]:
    modules = {"transformer": engine.transformer, "VAE": engine.vae}
    if engine.text is not None:
        modules["text encoder"] = engine.text.module
    return {name: weight_bytes(module) for name, module in modules.items()}


def _room(engine: Engine, guidance: Guidance, length: int, seen: tuple[int, int]) -> dict[str, int]:
    """What the longest window needs; nothing is known of an engine of a script, which holds all by itself."""
    batch = 2 if guidance.active and guidance.batched else 1
    footprint, frames = engine.footprint, engine.adapter.traits.frames_for(length)
    vae = max(part(1, frames, *seen) for part in (footprint.encode, footprint.decode))
    return {"transformer": footprint.denoise(batch, frames, *seen), "VAE": vae}


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
