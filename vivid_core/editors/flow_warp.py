"""Carrying edited keyframes to every frame by optical flow: in seconds, without weights.

What was recoloured is remade from each frame's own pixels, what was painted anew is copied out of the keyframe
(key_edit.py tells them apart). Between two keyframes both are carried, forward and backward, and mixed by their
distance in time and by how well each pixel is seen; what only one keyframe shows comes from that one. Where neither
shows a pixel, the colour map of its surroundings, continued smoothly, edits the frame's own pixel.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..checks import check_not_empty, checked_frames, checked_mask_for
from ..masks.carry import Carried, carry
from ..masks.fields import Box
from ..masks.flow import INVERSE_SEARCH, Floats, FlowEstimator
from ..runtime import Runtime
from ..video.composite import composite, composite_key, feather_outside
from ..video.keyframes import Keyframe, Keyframes
from .key_edit import KeyEdit, analyse
from .key_warp import warped_edit
from .propagation import Propagation

UNSEEN = 0.004  # trust in a pixel that its keyframe doesn't show, against 1 for one that it shows
WEAK = 0.4  # confidence below which another keyframe is advised
LEVELS = 255  # trust is kept in so many steps between the two passes


def propagate_by_flow(
    frames_fhwc: Tensor,
    mask_fhw: Tensor,
    keyframes: Keyframes,
    blend_mask_fhw: Tensor | None = None,
    feather: float = 8.0,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
    flow: FlowEstimator = INVERSE_SEARCH,
) -> Propagation:
    """Carry the edits of `keyframes` to every frame of a clip, inside the mask.

    `frames_fhwc` float32 [F, H, W, 3]; `mask_fhw` [F, H, W], above 0.5 where the object is; `blend_mask_fhw` says
    where the edit is shown, by default the mask and a soft rim of `feather` pixels outside it. The result is
    bit-exact the original where the blend mask is 0 (so also on frames with an empty mask), and `composite_key` at
    each keyframe. `flow` finds the motion from frame to frame.
    Raises ValueError when there is no keyframe, a keyframe lies outside the clip or on a frame whose mask is empty,
    or when masks and frames don't fit.
    """
    runtime = runtime or Runtime()
    frames = checked_frames(frames_fhwc, "Propagate", notes)
    mask = checked_mask_for(mask_fhw, frames, "Propagate, mask", notes)
    check_not_empty(mask, "Propagate, mask")
    keys = _checked_keys(keyframes, frames, mask, notes)
    spans = _spans(keys, len(frames))
    runtime.begin(sum(len(order) for _, order, _ in spans) + 2 * len(frames))
    if blend_mask_fhw is None:
        blend = feather_outside(mask, feather, runtime)
    else:
        blend = checked_mask_for(blend_mask_fhw, frames, "Propagate, blend mask", notes)
    work = _Work(frames, mask, blend, keys, runtime, flow)
    for key, order, other in spans:
        work.carry_key(key, order, other)
    return work.finished()


def _checked_keys(keyframes: Keyframes, frames: Tensor, mask: Tensor, notes: list[str] | None) -> Keyframes:
    if len(keyframes) == 0:
        raise ValueError("Propagate: got no keyframe; set at least one edited frame with Set Keyframes.")
    keys = keyframes.fitted(frames, notes)
    for key in keys:
        if not _marks(mask[key.index]):
            raise ValueError(
                f"Keyframe {key.index}: the mask is empty on that frame, so there is no object to carry; set the "
                "keyframe where the object is seen, or correct the mask there."
            )
    return keys


def _marks(mask_hw: Tensor) -> bool:
    return bool((mask_hw.numpy() > 0.5).any())


def _spans(keys: Keyframes, count: int) -> list[tuple[Keyframe, Sequence[int], Keyframe | None]]:
    """What to carry, in order: a keyframe, the frames it is carried to, and the keyframe at their other end."""
    ordered = list(keys)
    first, last = ordered[0], ordered[-1]
    spans: list[tuple[Keyframe, Sequence[int], Keyframe | None]] = [(first, range(first.index - 1, -1, -1), None)]
    for before, after in zip(ordered, ordered[1:]):
        spans.append((before, range(before.index + 1, after.index), after))
        spans.append((after, range(after.index - 1, before.index, -1), before))
    spans.append((last, range(last.index + 1, count), None))
    return [span for span in spans if len(span[1])]


@dataclass(frozen=True)
class _Trust:
    """How much a pass trusts each pixel it wrote, on its box; compressed, it waits for the pass from the other side."""

    box: Box
    data: bytes

    @classmethod
    def pack(cls, box: Box, trust: Floats, cover: Floats) -> _Trust:
        steps = np.stack([np.rint(np.sqrt(trust) * LEVELS), np.rint(cover * LEVELS)]).astype(np.uint8)
        return cls(box, zlib.compress(steps.tobytes(), 1))

    def unpack(self, box: Box) -> tuple[Floats, Floats]:
        """Trust and cover on another box, 0 where nothing was written."""
        steps = np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(2, self.box.height, self.box.width)
        shift = np.array([box.left - self.box.left, box.top - self.box.top])
        result = np.zeros((2, box.height, box.width), np.float32)
        top, left = max(0, -shift[1]), max(0, -shift[0])
        bottom, right = min(box.height, self.box.height - shift[1]), min(box.width, self.box.width - shift[0])
        if bottom > top and right > left:
            part = steps[:, top + shift[1] : bottom + shift[1], left + shift[0] : right + shift[0]]
            result[:, top:bottom, left:right] = part.astype(np.float32) / LEVELS
        return np.square(result[0]), result[1]


class _Work:
    """The state of one propagation; `result` holds the edited pixels of the frames done so far."""

    def __init__(
        self, frames: Tensor, mask: Tensor, blend: Tensor, keys: Keyframes, runtime: Runtime, flow: FlowEstimator
    ) -> None:
        self._frames, self._mask, self._blend, self._keys = frames, mask, blend, keys
        self._runtime, self._flow = runtime, flow
        self.result = frames.clone()
        self._edits: dict[int, KeyEdit] = {}
        self._half_done: dict[int, _Trust] = {}
        self._confidence = torch.ones(len(frames))
        self._recoloured: dict[int, float] = {}

    def preview(self, index: int) -> Callable[[], Tensor]:
        """Shows frame `index` as it is by then."""
        return lambda: self.result[index]

    def carry_key(self, key: Keyframe, order: Sequence[int], other: Keyframe | None) -> None:
        """Carry `key` through the frames of `order`; if the key at their other end was carried before, mix the two."""
        edit = self._analysed(key)
        for carried in carry(self._frames, key.index, self._mask[key.index], order, self._mask, flow=self._flow):
            index = carried.index
            if _marks(self._mask[index]):
                near = 1.0 if other is None else 1 - abs(index - key.index) / abs(other.index - key.index)
                self._write(carried, edit, key.strength * near * near * (3 - 2 * near), half=other is not None)
            self._runtime.advance(preview=self.preview(index))

    def _analysed(self, key: Keyframe) -> KeyEdit:
        """Only one keyframe's analysis is held at a time: each span's passes follow one another."""
        if key.index not in self._edits:
            index = key.index
            vote = None if key.mask_hw is None else key.mask_hw.numpy()
            images = (self._frames[index].numpy(), key.image_hwc.numpy())
            self._edits = {index: analyse(*images, self._mask[index].numpy(), self._blend[index].numpy(), vote)}
            self._recoloured[index] = self._edits[index].recoloured_share
        return self._edits[key.index]

    def _write(self, carried: Carried, edit: KeyEdit, strength: float, half: bool) -> None:
        """Put the edit on its frame; `half`: a second keyframe comes, or came, from the other side."""
        index = carried.index
        mask = self._mask[index].numpy()
        warped = warped_edit(edit, carried, self._frames[index].numpy(), mask, self._blend[index].numpy() > 0)
        if warped is None:
            return
        inside = mask[warped.box.slices] > 0.5
        seen = float(warped.trust[inside].mean()) if inside.any() else 0.0
        self._confidence[index] = max(seen, float(self._confidence[index]) if index in self._half_done else 0.0)
        trust = np.maximum(warped.trust, UNSEEN) * strength * warped.cover
        picture, cover = warped.picture, warped.cover
        target = self.result[index].numpy()[warped.box.slices]
        if half and index not in self._half_done:
            target[:] = picture
            self._half_done[index] = _Trust.pack(warped.box, trust, cover)
            return
        if half:
            other_trust, other_cover = self._half_done.pop(index).unpack(warped.box)
            share = trust / np.maximum(trust + other_trust, 1e-9)
            picture = target + (picture - target) * share[..., None]
            cover = np.maximum(cover, other_cover)
        original = self._frames[index].numpy()[warped.box.slices]
        target[:] = original + (picture - original) * cover[..., None]

    def finished(self) -> Propagation:
        """Composite every frame, keyframes as `composite_key` has them."""
        keys = {key.index: key for key in self._keys}
        for index in range(len(self._frames)):
            if index in keys:
                self.result[index] = composite_key(self._frames[index], keys[index], self._blend[index])
                self._confidence[index] = 1.0
            else:
                one = slice(index, index + 1)
                self.result[one] = composite(self._frames[one], self.result[one], self._blend[one])
            self._runtime.advance(preview=self.preview(index))
        return Propagation(self.result, self._blend, self._confidence, self._report())

    def _report(self) -> str:
        """What was carried how, and where it is guesswork."""
        lines = []
        for key in self._keys:
            share = (
                self._analysed(key).recoloured_share
                if key.index not in self._recoloured
                else self._recoloured[key.index]
            )
            lines.append(
                f"Keyframe {key.index}: {100 * share:.0f} % of its edit is recolouring, remade on each frame's own "
                f"pixels; {100 - 100 * share:.0f} % is new and copied along the motion."
            )
        shown = [index for index in range(len(self._frames)) if _marks(self._mask[index])]
        lowest = min(shown, key=lambda index: float(self._confidence[index]))
        mean = sum(float(self._confidence[index]) for index in shown) / len(shown)
        lines.append(
            f"Confidence {mean:.2f} on average, lowest {float(self._confidence[lowest]):.2f} on frame {lowest}."
        )
        if float(self._confidence[lowest]) < WEAK:
            lines.append(f"A further keyframe near frame {lowest} would help.")
        return "\n".join(lines)
