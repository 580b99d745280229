"""SAM 2 as a segmenter: its tracking step by step, with a bounded cache of features and memory outside the session.

Frame by frame it computes what the sam2 package's own video predictor computes for the same marks, when that takes
every corrected frame as a conditioning frame.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, interpolate

from ..runtime import Runtime
from .prompts import Prompt
from .segmenter import FrameMemory, ObjectMemory, Reach, Seen

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pictures that the model was trained with
CACHED_FRAMES = 4  # whose features are kept: 17 MB each at 1024 pixels
MOST_MARKED = 16  # marked frames that a step looks at, the nearest: each adds as much work as a frame of memory
LIMIT = 32.0  # of the followed mask's logits when it goes with the points of a correction


@dataclass(frozen=True)
class Sam2Segmenter:
    """A SAM2Base `module` (see models/sam2). `identity` names its weights and settings; `device` is where it computes;
    `activations` are the bytes that a step needs beside the weights. `autocast` is a narrower dtype to compute in where
    torch thinks it safe: the model's tables are fp32, so its weights stay so too."""

    module: nn.Module
    identity: str
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    activations: int = 0
    autocast: torch.dtype | None = None

    @contextmanager
    def session(self, frames_fhwc: Tensor, runtime: Runtime) -> Iterator[Sam2Session]:
        """A session over `frames_fhwc` (float32 [F, H, W, 3] in 0..1); the module is held while it is open."""
        narrower = nullcontext() if self.autocast is None else torch.autocast(self.device.type, self.autocast)
        with runtime.hold(self.module, activations=self.activations), torch.no_grad(), narrower:
            yield Sam2Session(self.module, frames_fhwc, self.device)


@dataclass(frozen=True)
class _Features:
    """What the image encoder says of a frame: each level flattened [h * w, 1, C] and its (h, w)."""

    levels: list[Tensor]
    sizes: list[tuple[int, int]]


class Sam2Session:
    """One clip under one SAM 2; see `Session` in segmenter.py."""

    def __init__(self, module: Any, frames_fhwc: Tensor, device: torch.device) -> None:
        self._module = module
        self._frames = frames_fhwc
        self._device = device
        self._cache: OrderedDict[int, _Features] = OrderedDict()
        self._reach = Reach(module.num_maskmem - 1, module.max_obj_ptrs_in_encoder - 1)
        self._positions: list[Tensor] | None = None  # of what is remembered
        self._places: list[Tensor] = []  # of the smallest level, which alone needs them; the same on every frame

    def mark(self, memory: ObjectMemory, prompt: Prompt) -> Seen:
        """What the prompt's mask alone says, or else its box and points."""
        if prompt.mask_hw is not None:
            found = self._step(memory, prompt.frame, masks=self._mask_input(prompt.mask_hw))
        else:
            found = self._step(memory, prompt.frame, points=self._point_input(prompt))
        return self._marked(memory, prompt.frame, found)

    def correct(self, memory: ObjectMemory, prompt: Prompt, backward: bool = False) -> Seen:
        """The object as followed to the prompt's frame, put right by the prompt's points and box."""
        followed = self._step(memory, prompt.frame, recalled=True, backward=backward)
        found = self._step(
            memory,
            prompt.frame,
            points=self._point_input(prompt),
            followed=followed["pred_masks"].clamp(-LIMIT, LIMIT),
            recalled=True,
            backward=backward,
        )
        return self._marked(memory, prompt.frame, found)

    def follow(self, memory: ObjectMemory, frame: int, backward: bool = False) -> Seen:
        """The object on `frame`, found by memory."""
        found = self._step(memory, frame, recalled=True, backward=backward)
        features = self._encoded(frame, found["pred_masks_high_res"], found["object_score_logits"], False)
        memory.remember(frame, _frame_memory(features, found), backward, self._reach)
        return self._seen(found)

    def _marked(self, memory: ObjectMemory, frame: int, found: dict[str, Any]) -> Seen:
        side = self._module.image_size
        # from the small logits also for a mask, whose full-size ones are at hand: so does the video predictor
        high = interpolate(found["pred_masks"], size=(side, side), mode="bilinear", align_corners=False)
        features = self._encoded(frame, high, found["object_score_logits"], True)
        memory.marked[frame] = _frame_memory(features, found)
        memory.passed.pop(frame, None)
        return self._seen(found)

    def _step(
        self,
        memory: ObjectMemory,
        frame: int,
        *,
        points: dict[str, Tensor] | None = None,
        masks: Tensor | None = None,
        followed: Tensor | None = None,
        recalled: bool = False,
        backward: bool = False,
    ) -> dict[str, Any]:
        """One step of the model: from the prompt alone, or with what is `recalled` from memory."""
        features = self._features(frame)
        found = self._module.track_step(
            frame_idx=frame,
            is_init_cond_frame=not recalled,
            current_vision_feats=features.levels,
            current_vision_pos_embeds=self._places,
            feat_sizes=features.sizes,
            point_inputs=points,
            mask_inputs=masks,
            output_dict=self._recalled(memory, frame, backward) if recalled else {},
            num_frames=len(self._frames),
            track_in_reverse=backward,
            run_mem_encoder=False,
            prev_sam_mask_logits=followed,
        )
        assert isinstance(found, dict)
        return found

    def _recalled(self, memory: ObjectMemory, frame: int, backward: bool) -> dict[str, dict[int, Any]]:
        nearest = sorted(memory.marked, key=lambda other: abs(other - frame))[:MOST_MARKED]
        # in the order of the frames, so that sums come out the same whenever the marks were made
        marked = {place: self._output(memory.marked[place]) for place in sorted(nearest) if place != frame}
        before = memory.before(frame, backward, self._reach)
        passed = {place: self._output(each) for place, each in before.items() if place not in memory.marked}
        return {"cond_frame_outputs": marked, "non_cond_frame_outputs": passed}

    def _output(self, memory: FrameMemory) -> dict[str, Any]:
        """A frame's memory as the model wants it."""
        pointer = memory.pointer.to(self._device)
        if memory.features is None:
            return {"obj_ptr": pointer}
        features = memory.features.to(self._device).to(pointer.dtype)
        if self._positions is None:
            self._positions = [self._module.memory_encoder.position_encoding(features).to(pointer.dtype)]
        return {"maskmem_features": features, "maskmem_pos_enc": self._positions, "obj_ptr": pointer}

    def _encoded(self, frame: int, logits: Tensor, presence: Tensor, by_hand: bool) -> Tensor:
        """Where the object is, for later frames: bfloat16, as the video predictor keeps it."""
        features = self._features(frame)
        encoded, _ = self._module._encode_new_memory(
            current_vision_feats=features.levels,
            feat_sizes=features.sizes,
            pred_masks_high_res=logits,
            object_score_logits=presence,
            is_mask_from_pts=by_hand,
        )
        assert isinstance(encoded, Tensor)
        return encoded.to(torch.bfloat16)

    def _features(self, frame: int) -> _Features:
        if frame in self._cache:
            self._cache.move_to_end(frame)
            return self._cache[frame]
        side = self._module.image_size
        image = self._frames[frame].to(self._device, torch.float32).permute(2, 0, 1)[None]
        image = interpolate(image, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        encoded = self._module.forward_image((image.clamp(0, 1) - mean) / deviation)
        _, levels, positions, sizes = self._module._prepare_backbone_features(encoded)
        self._places = self._places or positions[-1:]
        self._cache[frame] = _Features(levels, sizes)
        if len(self._cache) > CACHED_FRAMES:
            self._cache.popitem(last=False)
        return self._cache[frame]

    def _point_input(self, prompt: Prompt) -> dict[str, Tensor]:
        """A box is two points, its corners, before the others."""
        points: list[tuple[float, float, int]] = list(prompt.points)
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            points = [(x0, y0, 2), (x1, y1, 3), *points]
        places = torch.tensor([[[x, y] for x, y, _ in points]], dtype=torch.float32) * self._module.image_size
        labels = torch.tensor([[label for _, _, label in points]], dtype=torch.int32)
        return {"point_coords": places.to(self._device), "point_labels": labels.to(self._device)}

    def _mask_input(self, mask_hw: Tensor) -> Tensor:
        side = self._module.image_size
        mask = (mask_hw > 0.5).float().to(self._device)[None, None]
        if mask.shape[-2:] == (side, side):
            return mask
        fitted = interpolate(mask, size=(side, side), mode="bilinear", align_corners=False, antialias=True) >= 0.5
        if bool(mask.any()) and not bool(fitted.any()):
            # too small for the model's picture: an empty mask would say that the object is not there
            return interpolate(adaptive_max_pool2d(mask, (side // 4, side // 4)), size=(side, side), mode="nearest")
        return fitted.float()

    def _seen(self, found: dict[str, Any]) -> Seen:
        logits = found["pred_masks"].float()
        inside = logits > 0
        sure = logits.sigmoid()[inside].mean() if bool(inside.any()) else logits.new_zeros(())
        score = float(sure * found["object_score_logits"].sigmoid().max())
        size = tuple(self._frames.shape[1:3])
        if logits.shape[-2:] != size:
            logits = interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return Seen(logits[0, 0].cpu(), score)


def _frame_memory(features: Tensor, found: dict[str, Any]) -> FrameMemory:
    return FrameMemory(features.cpu(), found["obj_ptr"].cpu())
