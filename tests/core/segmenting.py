"""The sam2 package's own video predictor on the tiny model's weights, and a segmenter whose logits are recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from harness import tiny_sam2
from harness.segmenters import FLAGS
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vivid_core.masks.prompts import Prompt
from vivid_core.masks.sam2_session import Sam2Segmenter, Sam2Session
from vivid_core.masks.segmenter import ObjectMemory, Seen
from vivid_core.runtime import Runtime


class Recording:
    """A segmenter whose logits are kept, the last of each object and frame; and how often each step was taken."""

    def __init__(self, module: nn.Module, identity: str = "tiny") -> None:
        self.inner = Sam2Segmenter(module, identity)
        self.identity = identity
        self.logits: dict[tuple[int, int], Tensor] = {}
        self.calls: list[tuple[str, int, int]] = []

    @contextmanager
    def session(self, frames_fhwc: Tensor, runtime: Runtime) -> Iterator[RecordingSession]:
        with self.inner.session(frames_fhwc, runtime) as session:
            yield RecordingSession(self, session)


class RecordingSession:
    """The session of a `Recording`."""

    def __init__(self, recording: Recording, session: Sam2Session) -> None:
        self._recording = recording
        self.session = session

    def mark(self, memory: ObjectMemory, prompt: Prompt) -> Seen:
        return self._kept("mark", prompt.frame, memory, self.session.mark(memory, prompt))

    def correct(self, memory: ObjectMemory, prompt: Prompt, backward: bool = False) -> Seen:
        return self._kept("correct", prompt.frame, memory, self.session.correct(memory, prompt, backward))

    def follow(self, memory: ObjectMemory, frame: int, backward: bool = False) -> Seen:
        return self._kept("follow", frame, memory, self.session.follow(memory, frame, backward))

    def _kept(self, call: str, frame: int, memory: ObjectMemory, seen: Seen) -> Seen:
        self._recording.logits[memory.object_id, frame] = seen.logits_hw
        self._recording.calls.append((call, memory.object_id, frame))
        return seen


class Reference:
    """The sam2 package's video predictor on the weights of `module`, given the same preprocessed frames."""

    def __init__(self, module: nn.Module, frames_fhwc: Tensor, monkeypatch: Any) -> None:
        from sam2 import sam2_video_predictor

        self.predictor: Any = tiny_sam2.build(predictor=True, add_all_frames_to_correct_as_cond=True, **FLAGS).eval()
        self.predictor.load_state_dict(module.state_dict())
        side = tiny_sam2.SIZE
        images = interpolate(
            frames_fhwc.permute(0, 3, 1, 2), size=(side, side), mode="bilinear", align_corners=False, antialias=True
        ).clamp(0, 1)
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        images = (images - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
        self.height, self.width = frames_fhwc.shape[1:3]
        monkeypatch.setattr(sam2_video_predictor, "load_video_frames", lambda **_: (images, self.height, self.width))
        self.state = self.predictor.init_state("none")
        self.logits: dict[tuple[int, int], Tensor] = {}

    def add(self, prompt: Prompt) -> None:
        """Give it a prompt, in pixels."""
        where = {"inference_state": self.state, "frame_idx": prompt.frame, "obj_id": prompt.object_id}
        if prompt.mask_hw is not None:
            self.predictor.add_new_mask(mask=prompt.mask_hw > 0.5, **where)
            return
        scale = torch.tensor([self.width, self.height])
        given: Mapping[str, Any] = {
            "points": torch.tensor([[x, y] for x, y, _ in prompt.points]).reshape(-1, 2) * scale,
            "labels": torch.tensor([label for *_, label in prompt.points], dtype=torch.int32),
            "box": None if prompt.box is None else torch.tensor(prompt.box) * scale.repeat(2),
        }
        self.predictor.add_new_points_or_box(**where, **given)

    def run(self, start: int, frames: int | None = None, reverse: bool = False) -> None:
        """Propagate, and keep the logits by object and frame."""
        for frame, ids, logits in self.predictor.propagate_in_video(
            self.state, start_frame_idx=start, max_frame_num_to_track=frames, reverse=reverse
        ):
            for row, object_id in enumerate(ids):
                self.logits[object_id, frame] = logits[row, 0].clone()
