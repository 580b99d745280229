"""A segmenter under ComfyUI's memory, as it travels from Load Segmenter to Track Mask, and the tracks that it made."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...vivid_core.masks.prompts import Prompts
from ...vivid_core.masks.sam2_session import CACHED_FRAMES, MOST_MARKED, Sam2Segmenter
from ...vivid_core.masks.shots import shot_cuts
from ...vivid_core.masks.track_plan import TrackMemory, clip_digest
from ...vivid_core.masks.track_sam2 import track_by_segmenter
from ...vivid_core.masks.tracks import Track
from ...vivid_core.models import activations, sam2
from ...vivid_core.models.families import open_family
from . import engine_files
from .attention import is_fused
from .host import ManagedBundle, ManagedModel
from .loading import load_family
from .memory import explained_out_of_memory, plan
from .progress import ComfyRuntime, Uncounted, running_node
from .shared import file_identity

FOLDER = "sam2"
EMBEDDED = "embedded (comes with the pack, for plain shapes)"
PLAIN_SHAPES = "It knows the plain shapes of Demo Clip and little else: for films choose a released model."
INSTEAD = (
    "(or the base plus, small or tiny one), put it there and reload the page, or remove this node: Track Mask then "
    "follows objects by optical flow"
)
PRECISIONS = ("fp32", "bf16")
REMEMBERED_TRACKS = 4
SMALLER = "the size of the model in Load Segmenter (tiny needs the least)"


@dataclass(frozen=True)
class ManagedSegmenter(ManagedBundle):
    """A SAM 2 with the settings of its family's config, `identity` for all that can change a result, and the dtype of
    its `autocast`, if any. `notes` are sentences for the report of its user.

    It keeps the last track of each of a few Track Mask nodes, by their ids, so that one more mark need not cost a whole
    run; they live as long as ComfyUI keeps what the loader gave. ComfyUI's caches ask the methods at the end.
    """

    model: ManagedModel
    config: dict[str, Any]
    identity: str
    autocast: torch.dtype | None = None
    notes: list[str] = field(default_factory=list)
    _tracks: OrderedDict[str, Track] = field(default_factory=OrderedDict)

    def segmenter(self, marked: int = 1) -> Sam2Segmenter:
        """What vivid_core runs, with a runtime of `runtime`, for objects marked on up to `marked` frames."""
        return Sam2Segmenter(
            self.model.module, self.identity, self.model.device, self._activations(marked), self.autocast
        )

    def runtime(self) -> ComfyRuntime:
        """For one run: it holds this model and no other."""
        return ComfyRuntime(self.model)

    def track(
        self, frames_fhwc: Tensor, prompts: Prompts, direction: str, anew: bool, notes: list[str] | None = None
    ) -> Track:
        """Follow the marked objects, from what the running node tracked before where that helps and unless `anew`.

        Raises ValueError as `track_by_segmenter` does.
        """
        node = running_node()
        previous = None if anew else self._tracks.get(node)
        marked = max((len(prompts.of_object(number)) for number in prompts.object_ids), default=1)
        with explained_out_of_memory(SMALLER):
            track = track_by_segmenter(
                frames_fhwc,
                prompts,
                self.segmenter(marked),
                direction,
                self.runtime(),
                notes,
                previous=previous,
                cuts=_cuts(frames_fhwc, previous),
            )
        self._tracks[node] = track
        self._tracks.move_to_end(node)
        while len(self._tracks) > REMEMBERED_TRACKS:
            self._tracks.popitem(last=False)
        return track

    def report(self) -> str:
        """Which model it is, how it computes, and what fits on the device."""
        side = self.config["image_size"]
        computing = "fp32" if self.autocast is None else "bf16 where that is safe, else in fp32"
        lines = [
            f"{sam2.title(self.config)}: computes in {computing}, sees each frame as {side}x{side} pixels.",
            plan([self.model], self._activations(1)).sentence(),
        ]
        return "\n".join([*lines, *self.notes])

    def models(self) -> list[ManagedModel]:
        """The one model."""
        return [self.model]

    def get_ram_usage(self) -> int:
        """Bytes in host memory, those of the tracks too."""
        return super().get_ram_usage() + sum(_bytes(track) for track in self._tracks.values())

    def _activations(self, marked: int) -> int:
        module: Any = self.model.module
        return activations.sam2_step(
            self.config["image_size"],
            remembered=min(marked, MOST_MARKED) + module.num_maskmem - 1,
            cached=CACHED_FRAMES,
            embed_width=self.config["trunk"]["embed_dim"],
            element_bytes=self.model.compute_dtype.itemsize,
            attention_is_fused=is_fused(),
        )


def segmenter_files() -> list[str]:
    """What the input of Load Segmenter lists. The embedded one comes last: on films it would disappoint."""
    return [*engine_files.listed(FOLDER), EMBEDDED]


def segmenter_path(name: str) -> Path:
    """Where a file of `segmenter_files` lies; errors as `listed_path`."""
    if name == EMBEDDED:
        return sam2.EMBEDDED
    return engine_files.listed_path(name, FOLDER, "Load Segmenter", f"{sam2.FAMILY.get_it} {INSTEAD}")


def load_segmenter(path: Path, precision: str) -> ManagedSegmenter:
    """The SAM 2 in a file, shared with whoever uses the same file; `precision` is one of PRECISIONS.

    Raises ValueError, in one sentence that names the file, when it is missing, damaged or something else, and
    ModuleNotFoundError, with the install command, without the sam2 package.
    """
    files, family = open_family(path, {sam2.FAMILY.name})
    config = family.config(files)
    model = load_family(files, family, "fp32")
    autocast, notes = None, list(model.notes)
    if path == sam2.EMBEDDED:
        notes.append(PLAIN_SHAPES)
    if precision == "bf16":
        if comfy.model_management.should_use_bf16(model.device):
            autocast = torch.bfloat16
        else:
            notes.append("This device does not compute in bf16: the model computes in fp32.")
    identity = json.dumps([file_identity(files.parts), config, str(autocast), model.device.type])
    return ManagedSegmenter(model, config, identity, autocast, notes)


def _cuts(frames_fhwc: Tensor, previous: Track | None) -> tuple[int, ...]:
    """Where new shots begin; known already where the earlier track is of this clip."""
    if previous is not None:
        memory = previous.memory
        if isinstance(memory, TrackMemory) and memory.clip == clip_digest(frames_fhwc):
            return previous.cuts
    return shot_cuts(frames_fhwc, Uncounted())


def _bytes(track: Track) -> int:
    remembered = track.memory.objects.values() if isinstance(track.memory, TrackMemory) else ()
    frames = [frame for each in remembered for frame in (*each.marked.values(), *each.passed.values())]
    tensors = [one for frame in frames for one in (frame.features, frame.pointer) if one is not None]
    return track.packed.nbytes + sum(one.nbytes for one in tensors)
