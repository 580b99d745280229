"""SAM 2's own tracking step over a clip, with gradients, and what is wrong with its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import (
    adaptive_avg_pool2d,
    binary_cross_entropy_with_logits,
    interpolate,
    l1_loss,
)

from ..masks.sam2_session import DEVIATION, LIMIT, MEAN
from .draws import Draws
from .segmenter_clips import FollowedClips, correction

CORRECTED = 0.3  # of the clips with enough frames: one later frame gets a click where it is wrong
LONG = 64  # frames: distances are told to the model as parts of 15 frames or more, as in a clip of this length
DISC, NOISE = 0.16, 0.5  # of the side, the radius of what answers a click on noise; the deviation of that noise
DETAIL = 2  # pixels to a side in which an answer is compared with the truth
MASK_WEIGHT, OVERLAP_WEIGHT, SCORE_WEIGHT, PRESENCE_WEIGHT = 5.0, 1.0, 0.5, 0.5


@dataclass(frozen=True)
class Answer:
    """What the model says of one frame: `logits` [B, M, h, w] of M guesses, the IoU [B, M] that it expects of each,
    the logits [B, 1] of the object being there at all; `index` is the frame's place in the clip."""

    index: int
    logits: Tensor
    scores: Tensor
    presence: Tensor


def follow_with_gradients(module: Any, clips: FollowedClips, draws: Draws) -> list[Answer]:
    """What a SAM2Base says of each frame, asked as a session would ask it; a mask as prompt has no answer."""
    images = clips.images.float() / 255
    mean, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    encoded = module.forward_image((images - mean) / deviation)
    _, levels, places, sizes = module._prepare_backbone_features(encoded)
    run = _Run(module, clips, levels, places, sizes)
    frames = len(clips.times)
    corrected = 1 + draws.below(frames - 1) if frames > 2 and draws.chance(CORRECTED) else 0
    for index in range(frames):
        run.step(index, draws if index == corrected and index else None)
    return run.answers


def places_missed(module: Any, seed: int, number: int, count: int) -> Tensor:
    """The loss of answering `count` clicks with a disc around each, in pictures of noise.

    To find the place of a click takes most of the way to learning what it marks, and here it costs no image encoder.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    side, width = module.image_size, module.hidden_dim
    sides = [side // 4, side // 8, side // 16]
    noise = [
        NOISE * torch.randn(count, channels, at, at, generator=generator)
        for channels, at in zip((width // 8, width // 4, width), sides)
    ]
    points = torch.rand(count, 1, 2, generator=generator) * side
    along = torch.arange(side) + 0.5
    squares = (along - points[..., :1]) ** 2, (along - points[..., 1:]) ** 2
    discs = (squares[0][:, :, None] + squares[1][..., None] < (DISC * side) ** 2).float()
    clicks = {"point_coords": points, "point_labels": torch.ones(count, 1, dtype=torch.int32)}
    found = module._forward_sam_heads(noise[-1], clicks, None, noise[:-1], True)
    clips = FollowedClips(torch.zeros(0), torch.zeros(0), discs, (0,), None, None)
    return wrongness([Answer(0, found[0], found[2], found[6])], clips)


class _Run:
    """One clip after the other frame by frame; `_memory` is what the model looks back at."""

    def __init__(self, module: Any, clips: FollowedClips, levels: Any, places: Any, sizes: Any) -> None:
        self._module, self._clips, self._sizes = module, clips, sizes
        self._levels, self._places = levels, [each[:, :1] for each in places]
        self._memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        self.answers: list[Answer] = []

    def step(self, index: int, correcting: Draws | None) -> None:
        """Frame `index`, by the prompt if it is the first, else by memory; and again with a click to put it right."""
        clips = self._clips
        given: dict[str, Any] = {}
        if index == 0:
            given["mask_inputs"] = (clips.masks[:, 0] > 0.5).float()[:, None] if clips.points is None else None
            if clips.points is not None:
                given["point_inputs"] = {"point_coords": clips.points, "point_labels": clips.labels}
        found = self._asked(index, **given)
        if correcting is not None:
            low = found[3]
            shown = interpolate(low, size=clips.masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
            points, labels = correction(correcting, shown, clips.masks[:, index] > 0.5)
            given = {"point_inputs": {"point_coords": points, "point_labels": labels}}
            found = self._asked(index, **given, prev_sam_mask_logits=low.detach().clamp(-LIMIT, LIMIT))
        self._remember(index, found, "point_inputs" in given, marked=index == 0 or correcting is not None)

    def _asked(self, index: int, **given: Any) -> Any:
        features = [level[:, self._clips.rows[:, index]] for level in self._levels]
        usual = {"point_inputs": None, "mask_inputs": None, "prev_sam_mask_logits": None, "track_in_reverse": False}
        _, found, _, _ = self._module._track_step(
            self._clips.times[index],
            index == 0,
            features,
            [place.expand(-1, features[-1].shape[1], -1) for place in self._places],
            self._sizes,
            output_dict=self._memory,
            num_frames=LONG,
            **{**usual, **given},
        )
        if given.get("mask_inputs") is None:
            self.answers.append(Answer(index, found[0], found[2], found[6]))
        return found

    def _remember(self, index: int, found: Any, by_hand: bool, marked: bool) -> None:
        side = self._module.image_size
        high = interpolate(found[3], size=(side, side), mode="bilinear", align_corners=False)
        features, places = self._module._encode_new_memory(
            current_vision_feats=[level[:, self._clips.rows[:, index]] for level in self._levels],
            feat_sizes=self._sizes,
            pred_masks_high_res=high,
            object_score_logits=found[6],
            is_mask_from_pts=marked or by_hand,
        )
        kind = "cond_frame_outputs" if marked else "non_cond_frame_outputs"
        self._memory[kind][self._clips.times[index]] = {
            "maskmem_features": features,
            "maskmem_pos_enc": places,
            "obj_ptr": found[5],
        }


def wrongness(answers: list[Answer], clips: FollowedClips) -> Tensor:
    """The loss: what the guesses of each frame miss, how wrong the expected IoUs are, and the presence.

    All guesses count. SAM moves only the best one, so that they can mean different things by one click; in the world a
    click means one object, and guesses that may differ learn to name every object and to ignore the click.
    """
    present = clips.present
    total = clips.masks.new_zeros(())
    for answer in answers:
        here = present[:, answer.index].float()
        presence = binary_cross_entropy_with_logits(answer.presence[:, 0], here)
        missed, overlap = _missed(answer.logits, clips.masks[:, answer.index])
        score = l1_loss(answer.scores, overlap, reduction="none").mean(1)
        seen = here / here.sum().clamp_min(1)
        total = total + ((missed.mean(1) + SCORE_WEIGHT * score) * seen).sum() + PRESENCE_WEIGHT * presence
    return total / len(answers)


def _missed(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """What each guess [B, M, h, w] is wrong by, and its IoU with the truth [B, side, side]: both [B, M]."""
    side = masks.shape[-1] // DETAIL
    guess = interpolate(logits.clamp(-LIMIT, LIMIT), size=(side, side), mode="bilinear", align_corners=False)
    truth = adaptive_avg_pool2d(masks[:, None], side).expand_as(guess)
    pixels = binary_cross_entropy_with_logits(guess, truth, reduction="none").mean((2, 3))
    shares = guess.sigmoid()
    both = (shares * truth).sum((2, 3))
    dice = 1 - (2 * both + 1) / (shares.sum((2, 3)) + truth.sum((2, 3)) + 1)
    with torch.no_grad():
        inside, true = guess > 0, truth > 0.5
        union = (inside | true).sum((2, 3))
        overlap = (inside & true).sum((2, 3)) / union.clamp_min(1)
    return MASK_WEIGHT * pixels + OVERLAP_WEIGHT * dice, overlap
