"""The state of a carry and its step from one frame to the next; see carry.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..distance import lengths
from . import matching
from .anchor import Anchor
from .fields import Box, Field, WorkingSize, apply_affine, box_of, chained_affine, inverse_affine
from .flow import (
    INVERSE_SEARCH,
    Bytes,
    Floats,
    FlowEstimator,
    dense_flow,
    forward_backward_error,
    luminance,
    picture,
    resized,
    warp,
)

MARGIN = 0.12  # of the object's longer side, around it
SMALLEST_MARGIN = 10
AGREES = 0.75  # forward-backward error in pixels that counts as consistent, plus a share of the motion
AGREES_SHARE = 0.04
QUIET, LOUD = 10.0, 24.0  # colour error (of 255): surely the same surface below the first, never above the second
CHANGED = 9.0  # the anchor is given up when pixels that were followed surely differ from it by this much (median)
SEEN_WELL = 0.3  # from this share on, what is seen tells how the object moves and changes
DRIFT = 2.0  # pixels: one frame's drift of the chained flow is smaller
CHANGED_SHARE = 0.05  # ... or when this share of the object was followed but no longer looks like it
ADOPTED_CHANGE = 0.03  # a mask corrected by more than this share of its area becomes the anchor's
STEP_QUIET = 9.0  # colour error from frame to frame below which a pixel was followed
LOST = 0.05  # an object of which less is seen is lost


class Carrier:
    """Follows the masked pixels of `reference`; call `step` for each next frame."""

    def __init__(
        self, frames_fhwc: Tensor, reference: int, mask: NDArray, flow: FlowEstimator = INVERSE_SEARCH
    ) -> None:
        """Raises ValueError when the mask (full size) is empty."""
        self._frames, self._flow = frames_fhwc, flow
        height, width = frames_fhwc.shape[1:3]
        self.size = WorkingSize.of(width, height)
        self.index = reference
        self._picture = self._shrunk(reference)
        self._anchor = self._first_anchor(mask)
        self.field = Field.identity(self._anchor.box)
        self.alpha = self.confidence = self._anchor.alpha
        self._known = 2 * self.alpha - 1
        self.from_object = self.alpha > 0.5
        self.from_background = self.alpha < 0.5
        self._speed = np.zeros(2)
        self._typical = 0.0  # colour error of pixels that were surely followed
        self.visible = 1.0

    @property
    def box(self) -> Box:
        return self.field.box

    @property
    def image(self) -> Bytes:
        """The present frame within `box`, at working size."""
        return self._picture[self.box.slices]

    @property
    def full_box(self) -> Box:
        return self.size.full_box(self.box)

    def confidence_at(self, points_xy: Floats) -> Floats:
        return warp(self.confidence, points_xy - _corner(self.box), "zero")

    def full_map(self) -> Floats:
        """For each full pixel of `full_box` its coordinates in the reference frame."""
        there = self._anchor.to_reference.at(self.field.on(self.box))
        return self.size.enlarged(self.size.to_full(there), self.box)

    def full_mask(self) -> NDArray[np.uint8]:
        """The carried mask on `full_box`, hidden parts included: 0..255."""
        there = self.size.to_full(self.field.on(self.box)) - _corner(self._anchor.mask_box)
        return self._anchor.full_mask_through(self.size.enlarged(there, self.box))

    def step(self, index: int, known: NDArray | None = None) -> None:
        """Go on to frame `index`, where the object's mask is `known` or not."""
        image = self._shrunk(index)
        gray = luminance(image)
        known_small = None if known is None else self._shrunk_mask(known)
        box = self._next_box(known_small)
        predicted = chained_affine(self.field.affine, _shift(-self._speed))
        if self.visible > LOST:
            there, weight = self._followed(image, box)
        else:
            there, weight = apply_affine(predicted, box.grid()), np.zeros((box.height, box.width), np.float32)
            self.from_object = self.from_background = weight > 1
        if known_small is not None:
            weight = weight * known_small[box.slices]
        field = self._fitted(there, box, weight, predicted)
        if self.visible <= LOST:
            field = self._searched(image, field)
        field, error = self._corrected(image, gray, field)
        self._speed_from(field)
        self.index, self._picture, self.field = index, image, field
        self._judge(error, weight, None if known_small is None else known_small[box.slices])

    def adopt(self, mask: Bytes) -> None:
        """Make the present frame the anchor, with `mask` (0..255 on `full_box`) as the object.

        Where the object is hidden, the old anchor's picture stays.
        """
        points = self.field.on(self.box)
        to_reference = Field.of(self._anchor.to_reference.at(points), self.box, self._anchor.to_reference.affine)
        warped, old_alpha = self._anchor.seen_through(points)
        here = self._picture[self.box.slices]
        seen = np.maximum(self.confidence, 1 - old_alpha)[..., None]
        image = (warped + (here - warped.astype(np.float32)) * seen).astype(np.uint8)
        self.alpha = self.size.shrunk(mask, self.box).astype(np.float32) / 255
        self._anchor = Anchor(image, self.box, to_reference, self.alpha, mask, self.full_box)
        self.field = Field.identity(self.box)

    def _first_anchor(self, mask: NDArray) -> Anchor:
        small = self._shrunk_mask(mask)
        inside = box_of(mask)
        if inside is None:
            raise ValueError(
                f"Carrying a mask: the mask on frame {self.index} is empty; mark the object there or choose another "
                "reference frame."
            )
        scale = self.size.scale
        edges = np.array(inside, np.float64).reshape(2, 2) * scale
        low, high = np.floor(edges[0]).astype(int), np.ceil(edges[1]).astype(int)
        box = Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).cut(self.size.width, self.size.height)
        box = self._with_margin(box, 0)
        full_box = self.size.full_box(box)
        kept = (255 * np.clip(mask[full_box.slices], 0, 1)).astype(np.uint8)
        identity = Field.identity(box)
        return Anchor(self._picture[box.slices].copy(), box, identity, small[box.slices].copy(), kept, full_box)

    def _with_margin(self, box: Box, more: float) -> Box:
        margin = max(SMALLEST_MARGIN, int(MARGIN * max(box.width, box.height))) + int(more)
        return box.grown(margin, self.size.width, self.size.height)

    def _next_box(self, known: Floats | None) -> Box:
        inside = box_of(self.alpha)
        if inside is None:
            inside = self._expected_box()
        else:
            left, top = self.box.left, self.box.top
            inside = Box(inside.left + left, inside.top + top, inside.right + left, inside.bottom + top)
        x, y = (int(round(value)) for value in self._speed)
        inside = inside.joined(Box(inside.left + x, inside.top + y, inside.right + x, inside.bottom + y))
        here = None if known is None else box_of(known)
        if here is not None:
            inside = inside.joined(here)
        return self._with_margin(inside.cut(self.size.width, self.size.height), np.hypot(*self._speed))

    def _expected_box(self) -> Box:
        """Where the anchor's box would be now; it may lie outside the frame."""
        now = apply_affine(inverse_affine(self.field.affine), self._anchor.corners)
        low, high = now.min(0), now.max(0)
        return Box(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1)

    def _followed(self, image: Bytes, box: Box) -> tuple[Floats, Floats]:
        """The anchor coordinates of the new frame's pixels by one more step of flow, and where that can be trusted."""
        rows, columns = box.slices
        # Not to single pixels: the correction below is exact, and always by inverse search, as what is left is small.
        back, forth = self._flow.both_ways(image[rows, columns], self._picture[rows, columns])
        error = forward_backward_error(back, forth)
        allowed = AGREES + AGREES_SHARE * lengths(back)
        source = box.grid() + back
        same = matching.colour_error(image[rows, columns], warp(self._picture, source)) < STEP_QUIET
        consistent = (error < allowed) & same
        known = warp(self._known + 1, source - _corner(self.box), "zero") - 1
        self.from_object = consistent & (known > 0.75)
        self.from_background = consistent & (known < -0.75)
        return self.field.at(source), (consistent & (self.confidence_at(source) > 0.5)).astype(np.float32)

    def _fitted(self, there: Floats, box: Box, weight: Floats, predicted: NDArray[np.float64]) -> Field:
        """The followed map as a field; unseen parts move with the whole."""
        affine = matching.fit_motion(there, box, weight, float(self._anchor.alpha.sum()), predicted)
        field = Field.of(there, box, affine)
        return Field(affine, box, matching.filled(field.correction, weight))

    def _searched(self, image: Bytes, field: Field) -> Field:
        """A lost object looked for around the place where it should be."""
        warped, alpha = self._anchor.seen_through(field.on(field.box))
        inside = box_of(alpha)
        if inside is None:
            return field
        left, top = field.box.left, field.box.top
        place = Box(inside.left + left, inside.top + top, inside.right + left, inside.bottom + top)
        reach = int(0.4 * max(place.width, place.height)) + SMALLEST_MARGIN
        shift = matching.find_shift(image, warped[inside.slices], alpha[inside.slices], place, reach)
        if shift is None:
            return field
        return Field(chained_affine(field.affine, _shift(-np.array(shift))), field.box, field.correction)

    def _corrected(self, image: Bytes, gray: Bytes, field: Field) -> tuple[Field, Floats]:
        """The field with what shift is left between the warped anchor and the frame taken out, and the colour error.

        A correction counts where it is small, smooth and makes the pictures agree: flow can bend the anchor until it
        resembles whatever hides the object.
        """
        here, now = image[field.box.slices], gray[field.box.slices]
        warped, alpha = self._anchor.seen_through(field.on(field.box))
        before = matching.colour_error(here, warped, alpha)
        scene = now + (luminance(warped).astype(np.float32) - now) * alpha
        left = dense_flow(now, scene.astype(np.uint8), self.size.preset)
        drift = DRIFT if self.visible > 3 * LOST else matching.FOUND_WITHIN * max(field.box.width, field.box.height)
        better = field.at(field.box.grid() + left)
        after = matching.colour_error(here, self._anchor.seen_through(better)[0], alpha)
        agrees = (after <= before + 1) & (after < LOUD) & matching.is_small_and_smooth(left, alpha, drift)
        trust = (agrees & (alpha > 0.5)).astype(np.float32)
        affine = matching.fit_motion(better, field.box, trust, float(alpha.sum()), field.affine)
        corrected = Field.of(better, field.box, affine)
        corrected = Field(affine, field.box, matching.filled(corrected.correction, trust))
        warped, alpha = self._anchor.seen_through(corrected.on(field.box))
        error = matching.colour_error(here, warped, alpha)
        if self.visible <= 3 * LOST and float(((error < QUIET) * alpha).sum()) <= LOST * float(alpha.sum()):
            return field, before  # nothing is seen yet, and what little agrees does so by chance
        return corrected, error

    def _judge(self, error: Floats, weight: Floats, known: Floats | None) -> None:
        """What is visible of the object, and whether the anchor still serves."""
        warped, alpha = self._anchor.seen_through(self.field.on(self.box))
        if known is not None:
            alpha = np.minimum(alpha, known)
        followed = (weight > 0.5) & (alpha > 0.5)
        if self.visible > SEEN_WELL and followed.sum() > matching.FEWEST_VOTES:
            self._typical = float(np.median(error[followed]))
            self._anchor = self._anchor.in_light_of(self.image, warped, followed)
        limit = float(np.clip(4 * self._typical, QUIET, LOUD))
        like_anchor = (1 - matching.smooth_step(error, limit, 1.6 * limit)) * (alpha > 0.02)
        unlike = like_anchor < 0.5
        changed = matching.away_from(self.from_object & unlike, unlike & ~self.from_object & (alpha > 0.5))
        self.alpha = alpha
        self.confidence = np.where(changed, np.float32(alpha > 0.02), like_anchor)
        expected = float(alpha.sum())
        self.visible = float((self.confidence * alpha).sum()) / expected if expected > 1 else 0.0
        self._known = 2 * np.minimum(alpha, self.confidence) - 1
        outgrown = float((changed & (alpha > 0.5)).sum()) > CHANGED_SHARE * expected
        if (outgrown or self._typical > CHANGED) and self.visible > 0.5:
            self.adopt(self.full_mask())

    def see(self, mask: Floats, forgotten: float) -> None:
        """Correct what is visible of the object on the present frame: `mask` [h, w] in 0..1 on `box`.

        Of what is hidden the share `forgotten` is given up: what bends away doesn't come back where it was.
        """
        self._known = 2 * mask - 1
        before = np.minimum(self.alpha, self.confidence)
        change = float(np.abs(mask - before).sum())
        self.confidence = np.maximum(np.minimum(self.confidence, mask), (mask > 0.5).astype(np.float32))
        if change < ADOPTED_CHANGE * float(before.sum()) or self.visible < 0.5:
            return
        hidden = (1 - forgotten) * self.alpha * (1 - np.minimum(self.confidence, 1))
        self.adopt(self.changed(np.maximum(mask, hidden)))

    def changed(self, mask: Floats) -> Bytes:
        """The carried mask on `full_box` (0..255), made to agree with `mask` [h, w] in 0..1 on `box`.

        Where nothing is changed, the full-size outline stays as it was carried.
        """
        change = (255 * (mask - self.alpha)).astype(np.int16)
        more, less = (np.clip(side, 0, 255).astype(np.uint8) for side in (change, -change))
        return matching.added(self.full_mask(), self.size.enlarged(more, self.box), self.size.enlarged(less, self.box))

    def _speed_from(self, field: Field) -> None:
        """The object's shift from the last frame to this one, steadied while it is well seen."""
        if self.visible <= SEEN_WELL:
            return
        now, before = (apply_affine(inverse_affine(f.affine), self._anchor.middle)[0] for f in (field, self.field))
        self._speed = self._speed + 0.4 * (now - before - self._speed)

    def _shrunk(self, index: int) -> Bytes:
        return picture(self._frames[index], self.size.width, self.size.height)

    def _shrunk_mask(self, mask: NDArray) -> Floats:
        return resized(np.ascontiguousarray(mask, np.float32), self.size.width, self.size.height)


def _corner(box: Box) -> Floats:
    return np.array([box.left, box.top], np.float32)


def _shift(by: NDArray) -> NDArray[np.float64]:
    return np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float64)
