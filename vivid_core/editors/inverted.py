"""A clip as the tuning-free editors take it: at a size that the model takes, inverted once, with the way back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..checks import checked_frames
from ..diffusion.ddim import Inversion, Times, invert, reconstruct
from ..runtime import Runtime
from ..video.crop import Stitch, crop
from .backbone import Backbone
from .clip_windows import ClipAsk
from .depth_maps import Scale, depth_of, normalised


@dataclass(frozen=True)
class InversionPlan:
    """How to invert: `steps` of DDIM, of which an edit then has as many. `still` asks the image model, frame by frame.

    Frames get at most `pixels` pixels (None: as many as they have). `chunk` frames are asked at once of the image model
    (None: all); a clip longer than motion modules are trained with goes in windows that share `overlap` frames.
    `checked` denoises again, to see how far off that is, which takes the same time once more. `depth_scale` is that of
    `depth_maps.normalised`, `strength` the depth ControlNet's.
    """

    steps: int = 50
    still: bool = False
    pixels: int | None = None
    chunk: int | None = None
    overlap: int = 4
    checked: bool = True
    depth_scale: Scale = "frame"
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.pixels is not None and self.pixels < 1:
            raise ValueError(f"Invert Clip: got {self.pixels} pixels for a frame; use 1 or more.")


@dataclass(frozen=True)
class InvertedClip:
    """The noise that a clip comes from, and all that the editors need to know of the clip.

    `frames_fhwc` are as they were given; `stitch` says how they were resized for the model. `text_bld` is the encoded
    `source`. `depth_fhw` is None, or the normalised depth that the model was shown. `identity` is the backbone's.
    """

    frames_fhwc: Tensor
    stitch: Stitch
    inversion: Inversion
    source: str
    text_bld: Tensor
    plan: InversionPlan
    identity: str
    depth_fhw: Tensor | None = None

    @property
    def frame_count(self) -> int:
        return len(self.frames_fhwc)

    @property
    def steps(self) -> int:
        return self.inversion.times.steps

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the model sees."""
        return self.stitch.out_size

    def seen(self, clip: Tensor) -> Tensor:
        """Frames or masks of the clip's own size as the model sees them."""
        return resized(clip, self.stitch)

    @contextmanager
    def asked(self, backbone: Backbone, still: bool, editor: str) -> Iterator[ClipAsk]:
        """The backbone, in this block, as it was asked for the inversion; as the image model where `still`.

        Raises ValueError when another model inverted the clip, or the inversion is of the other kind.
        """
        if self.identity != backbone.identity:
            raise ValueError(
                f"{editor}: the clip was inverted with another model than the connected one, {backbone.title}; connect "
                "the same model to Invert Clip and to this node."
            )
        if self.plan.still != still:
            made, wanted = ("each frame by itself", "all frames together")[:: 1 if self.plan.still else -1]
            raise ValueError(
                f"{editor}: the clip was inverted {made}, but this editor works on {wanted}; choose it in the input "
                "editor of Invert Clip."
            )
        with asked(backbone, self.plan, self.frame_count, self.size, self.depth_fhw) as clip_ask:
            yield clip_ask


@dataclass(frozen=True)
class Inverted:
    """An inversion, and the clip as it comes back from it (`frames_fhwc`, at the model's size): denoised with the same
    text and guidance 1, `error` away from the clip's latents, as a share of their size. Unchecked it is only what the
    VAE makes of the clip, and `error` is None."""

    clip: InvertedClip
    frames_fhwc: Tensor
    error: float | None

    def report(self) -> str:
        """How far the way was, and how exactly the clip came back."""
        clip = self.clip
        kind = "each frame by itself" if clip.plan.still else "all frames together"
        told = f'"{clip.source}"' if clip.source else "no source prompt"
        lines = [f"Inverted in {clip.steps} steps, {kind}, with {told}.", seen_at(clip.stitch)]
        if self.error is None:
            lines.append("Not checked: the reconstruction shows what the VAE makes of the clip.")
        else:
            lines.append(f"Reconstruction error: {100 * self.error:.2f} % of the latents.")
        return "\n".join(lines)


def invert_clip(
    backbone: Backbone,
    frames_fhwc: Tensor,
    source: str,
    plan: InversionPlan,
    runtime: Runtime | None = None,
    depth_fhwc: Tensor | None = None,
    notes: list[str] | None = None,
) -> Inverted:
    """Find the noise that a clip comes from, with `source` as its text (empty for real clips: UniEdit).

    `depth_fhwc` are pictures of the clip's depth, near = bright. Steps on `runtime`: one for each frame that is encoded
    or decoded, one for each step of both ways.

    Raises ValueError as `checked_frames`, `depth_maps`, `ddim.Times.make` and the backbone do.
    """
    runtime, notes = runtime or Runtime(), [] if notes is None else notes
    frames_fhwc = checked_frames(frames_fhwc, "Invert Clip", notes)
    count, stitch = len(frames_fhwc), fitted(frames_fhwc, backbone.multiple, plan.pixels)
    depth_fhw = None
    if depth_fhwc is not None:
        size = backbone.depth_size(*stitch.out_size)
        depth_fhw = normalised(depth_of(depth_fhwc, count, notes), size, plan.depth_scale)
    with asked(backbone, plan, count, stitch.out_size, depth_fhw) as clip_ask:
        times = Times.make(clip_ask.backbone.noise, plan.steps)
        runtime.begin(2 * count + plan.steps * (1 + plan.checked))
        text = backbone.encoded(source, runtime, notes)
        latents = backbone.encode(resized(frames_fhwc, stitch), runtime)
        if clip_ask.windowed:
            notes.append(clip_ask.described())
        named: dict[str, Any] = clip_ask.named(1) | {"chunk": clip_ask.chunk}
        inversion = invert(clip_ask.averaged, latents, text, times, runtime, **named)
        back = reconstruct(clip_ask.averaged, inversion, text, runtime, **named) if plan.checked else None
    shown = backbone.decode(latents if back is None else back.latents_bcfhw, runtime)
    made = InvertedClip(frames_fhwc, stitch, inversion, source, text, plan, backbone.identity, depth_fhw)
    return Inverted(made, shown, None if back is None else back.error)


def pixels_of(megapixels: float) -> int | None:
    """Pixels for an `InversionPlan`; 0 megapixels (10^6 pixels) keeps the frames as they are.

    Raises ValueError unless they lie in 0..100.
    """
    if not 0 <= megapixels <= 100:
        raise ValueError(f"Invert Clip: got {megapixels} megapixels; use 0, which keeps the size, to 100.")
    return round(megapixels * 1e6) or None


def fitted(frames_fhwc: Tensor, multiple: int, pixels: int | None = None) -> Stitch:
    """How frames are resized for a model whose sides are multiples of `multiple`: to the nearest such size, and to at
    most about `pixels` pixels."""
    count, height, width = frames_fhwc.shape[:3]
    scale = 1.0 if pixels is None else min(1.0, math.sqrt(pixels / (height * width)))
    size = tuple(max(1, round(side * scale / multiple)) * multiple for side in (height, width))
    return Stitch(((0, 0),) * count, (height, width), (size[0], size[1]), (height, width))


def resized(clip: Tensor, stitch: Stitch) -> Tensor:
    """Frames or masks of a clip at the size that the model sees; themselves where that is theirs."""
    return crop(clip, stitch) if stitch.scaled else clip


def seen_at(stitch: Stitch) -> str:
    """For reports: the frames' size and the model's."""
    (height, width), (seen_height, seen_width) = stitch.source_size, stitch.out_size
    if not stitch.scaled:
        return f"Frames of {width}x{height}."
    return f"Frames of {width}x{height}, resized to {seen_width}x{seen_height} for the model and back."


@contextmanager
def asked(
    backbone: Backbone, plan: InversionPlan, count: int, size: tuple[int, int], depth_fhw: Tensor | None
) -> Iterator[ClipAsk]:
    """The backbone about a clip of `count` frames of `size`, as a plan of inversion wants it; only in this block.

    Raises ValueError as `Backbone.ask` and `clip_windows.spans` do.
    """
    with still_or_not(backbone, plan.still) as model:
        yield ClipAsk.make(model, count, size, depth_fhw, plan.strength, plan.chunk, plan.overlap)


@contextmanager
def still_or_not(backbone: Backbone, still: bool) -> Iterator[Backbone]:
    """The backbone, as its image model where `still`."""
    if not still:
        yield backbone
        return
    with backbone.still() as model:
        yield model
