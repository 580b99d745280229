"""A depth model under ComfyUI's memory, as it travels from Load Depth Model to Estimate Depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...vivid_core.checks import checked_frames
from ...vivid_core.models import depth_anything
from ...vivid_core.models.depth_frames import SIDE, DepthFrames, as_grey
from . import engine_files
from .attention import is_fused
from .host import ManagedBundle, ManagedModel
from .loading import load_model
from .memory import explained_out_of_memory, plan
from .progress import ComfyRuntime
from .tensors import to_core

FOLDER = "geometry_estimation"
INSTEAD = "put them into a folder there and reload the page, or use any other node that makes depth pictures"
TO_LOWER = "side in Estimate Depth"


@dataclass(frozen=True)
class ManagedDepth(ManagedBundle):
    """A Depth Anything."""

    model: ManagedModel
    name: str

    def estimator(self, side: int = SIDE) -> DepthFrames:
        """What vivid_core runs, with a runtime of its own."""
        model = self.model
        return DepthFrames(model.module, ComfyRuntime(model), model.device, model.compute_dtype, side, is_fused())

    def estimate(self, frames_fhwc: Tensor, side: int, notes: list[str]) -> tuple[Tensor, str]:
        """Grey pictures, near = white, and a sentence about them.

        Raises ValueError as `DepthFrames.nearness` does.
        """
        frames_fhwc = checked_frames(to_core(frames_fhwc), "Estimate Depth", notes)
        estimator = self.estimator(side)
        height, width = estimator.size_for(*frames_fhwc.shape[1:3])
        estimator.runtime.begin(len(frames_fhwc))
        with explained_out_of_memory(TO_LOWER):
            found = estimator.nearness(frames_fhwc)
        if float(found.min()) == float(found.max()):
            notes.append("Everything is equally far in this clip: the depth is black, and no editor can follow it.")
        return as_grey(found), f"Depth of {len(found)} frames by {self.name}, looked at as {width}x{height} pixels."

    def report(self) -> str:
        """What was loaded, and what fits on the device."""
        estimator = self.estimator()
        dtype = str(self.model.compute_dtype).removeprefix("torch.")
        return "\n".join(
            [
                f"Depth Anything ({self.name}): computes in {dtype}.",
                plan([self.model], estimator.activations(SIDE, SIDE)).sentence(),
                *self.model.notes,
            ]
        )

    def models(self) -> list[ManagedModel]:
        """The one model."""
        return [self.model]


def depth_files() -> list[str]:
    """What the input of Load Depth Model lists; folders end with a slash."""
    return engine_files.models((FOLDER,)) or [engine_files.NOTHING]


def depth_path(name: str) -> Path:
    """Where a file of `depth_files` lies; errors as `listed_path`."""
    return engine_files.listed_path(name, FOLDER, "Load Depth Model", f"{depth_anything.FAMILY.get_it}, {INSTEAD}")


def load_depth(path: Path, precision: str) -> ManagedDepth:
    """The Depth Anything in a folder, shared with whoever uses the same one.

    Raises ValueError, in one sentence with the file's name, when it is missing, damaged, or another model.
    """
    return ManagedDepth(load_model(path, {depth_anything.FAMILY.name}, precision), path.name)
