"""A flow model under ComfyUI's memory, as it travels from Load Optical Flow to the nodes that follow motion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...vivid_core.masks.flow import INVERSE_SEARCH, FlowEstimator
from ...vivid_core.models import raft
from ...vivid_core.models.raft_flow import RaftFlow, check_settings
from . import engine_files
from .host import ManagedBundle, ManagedModel
from .loading import load_model
from .memory import explained_out_of_memory, plan
from .progress import ComfyRuntime

FOLDER = "optical_flow"
INSTEAD = "put it there and reload the page, or leave the input flow unconnected: motion is then found without a model"
TO_LOWER = "longest_side in Load Optical Flow"


@dataclass(frozen=True)
class ManagedFlow(ManagedBundle):
    """A RAFT model, and how it is used; see RaftFlow."""

    model: ManagedModel
    name: str
    longest_side: int
    updates: int

    def estimator(self, runtime: ComfyRuntime) -> RaftFlow:
        """What vivid_core runs; `runtime` must have been made for this model."""
        model = self.model
        return RaftFlow(model.module, runtime, model.device, self.longest_side, self.updates)

    def report(self) -> str:
        """What was loaded, and what fits on the device."""
        side = self.longest_side
        size = raft.size_of(self.model.module)
        lines = [
            f"RAFT {size} ({self.name}): {self.updates} updates, pictures of at most {side} pixels, in fp32.",
            plan([self.model], raft.activation_bytes(size, 2, side, side)).sentence(),
        ]
        return "\n".join([*lines, *self.model.notes])

    def models(self) -> list[ManagedModel]:
        """The one model."""
        return [self.model]


def flow_files() -> list[str]:
    """What the input of Load Optical Flow lists."""
    return engine_files.listed(FOLDER)


def flow_path(name: str) -> Path:
    """Where a file of `flow_files` lies; errors as `listed_path`."""
    return engine_files.listed_path(name, FOLDER, "Load Optical Flow", f"{raft.FAMILY.get_it}, {INSTEAD}")


def load_flow(path: Path, longest_side: int, updates: int) -> ManagedFlow:
    """The RAFT model in a file, shared with whoever uses the same file.

    Raises ValueError, in one sentence with the file's name, when it is missing, damaged, or another model, and for
    numbers that no model takes.
    """
    check_settings(longest_side, updates)
    model = load_model(path, {raft.FAMILY.name}, "fp32")
    return ManagedFlow(model, path.name, longest_side, updates)


@contextmanager
def flow_runtime(flow: ManagedFlow | None) -> Iterator[tuple[ComfyRuntime, FlowEstimator]]:
    """A runtime and what finds motion, for a block that follows it: inverse search where no model is connected."""
    if flow is None:
        yield ComfyRuntime(), INVERSE_SEARCH
        return
    runtime = ComfyRuntime(flow.model)
    with explained_out_of_memory(TO_LOWER):
        yield runtime, flow.estimator(runtime)
