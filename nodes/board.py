"""Collect tries of keyframes over several runs, and go on with the picked ones."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor, stack

from ..vivid_core.checks import checked_frames
from ..vivid_core.editors.candidates import derived_id, read_board, spared_in, spared_in_workflow
from ..vivid_core.editors.origin import Origin, origin_of
from ..vivid_core.video.keyframes import Keyframes
from . import sockets
from .comfy_bridge.blocking import blocked
from .comfy_bridge.board_files import Board
from .comfy_bridge.board_run import run_board, state_of_picks, tries_in
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core, to_graph
from .schema import node_schema

NODE_ID, NAME = "VividKeyframeBoard", "Keyframe Board"


class KeyframeBoard(io.ComfyNode):
    """The place in the graph where tries collect, a choice holds, and what follows waits for it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id=NODE_ID,
            display_name=NAME,
            search_aliases=["keyframe gallery", "pick keyframe", "choose image", "compare tries", "pause workflow"],
            description="Collects every try of a keyframe, from Edit Keyframe or any image editor, and shows them on "
            "the node. Pick the one to use for each frame. Until one is picked, nothing after the board runs.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip before the edit."),
                io.String.Input(
                    "board",
                    default="",
                    tooltip="What is picked and pinned, as the gallery writes it; saved with the workflow.",
                ),
                io.Boolean.Input(
                    "hold",
                    default=False,
                    tooltip="Only collect: what follows the board does not run, whatever is picked.",
                ),
                io.Image.Input(
                    "candidate",
                    optional=True,
                    tooltip="A try from any editor, or several of the same frame. Not needed with keyframe.",
                ),
                io.Int.Input(
                    "candidate_frame",
                    default=0,
                    min=-99999,
                    max=99999,
                    optional=True,
                    tooltip="The frame that candidate belongs to; -1 is the last one. Not used with keyframe, which "
                    "knows its frame.",
                ),
                sockets.Keyframes.Input(
                    "keyframe", optional=True, tooltip="A try from Edit Keyframe: the picture and its frame in one."
                ),
                io.String.Input(
                    "note",
                    default="",
                    optional=True,
                    tooltip="Shown with the new candidates in place of the prompt that is found in the graph.",
                ),
            ],
            outputs=[
                sockets.Keyframes.Output(
                    "keyframes", display_name="keyframes", tooltip="One for each frame with a pick."
                ),
                io.Image.Output("images", display_name="images", tooltip="The picked pictures, in order of frames."),
                io.String.Output(
                    "report", display_name="report", tooltip="What was added, what is picked, why nothing runs."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
            not_idempotent=True,  # two boards with the same inputs are still two boards
        )

    @classmethod
    def fingerprint_inputs(cls, board: str = "", **_: Any) -> str:
        return state_of_picks(board)

    @classmethod
    def execute(
        cls,
        frames: Tensor,
        board: str,
        hold: bool,
        candidate: Tensor | None = None,
        candidate_frame: int = 0,
        keyframe: Keyframes | None = None,
        note: str = "",
    ) -> io.NodeOutput:
        notes: list[str] = []
        frames = checked_frames(to_core(frames), NAME, notes)
        state, node_id, graph = read_board(board), str(cls.hidden.unique_id), cls.hidden.prompt or {}
        tries = tries_in(candidate, candidate_frame, keyframe, frames, notes)
        origin = origin_of(graph, node_id, "candidate" if keyframe is None else "keyframe")
        kept = Board(state.board_id or derived_id(node_id))
        saved = (cls.hidden.extra_pnginfo or {}).get("workflow")
        spared = state.spared | spared_in(graph, NODE_ID, kept.id) | spared_in_workflow(saved, NODE_ID, kept.id)
        run = run_board(
            kept, state.picks, hold, frames, tries, Origin(note.strip() or origin.prompt, origin.seed), spared, notes
        )
        say([run.report])
        if not run.keyframes:
            return io.NodeOutput(blocked(), blocked(), run.report, ui=run.ui)
        images = stack([key.image_hwc for key in run.keyframes])
        return io.NodeOutput(run.keyframes, to_graph(images), run.report, ui=run.ui)
