"""Edit a video of any length from file to file, a window at a time."""

from __future__ import annotations

from typing import Any

from comfy_api.input_impl import VideoFromFile
from comfy_api.latest import io, ui
from torch import Tensor

from ..vivid_core.checks import checked_mask
from ..vivid_core.clips import Clip, Computed, lazily
from ..vivid_core.cost import measured_rates
from ..vivid_core.editors.contract import EditRequest
from ..vivid_core.editors.engine import Engine
from ..vivid_core.editors.footage import Footage
from ..vivid_core.editors.kive import prepared
from ..vivid_core.editors.kive_plan import window_length
from ..vivid_core.editors.kive_run import KiveRun
from ..vivid_core.editors.long_video import room_for_windows, write_edited
from ..vivid_core.long_video_plan import plan_text
from ..vivid_core.masks.tracks import Track
from ..vivid_core.video.keyframes import Keyframes
from . import sockets
from .comfy_bridge.blocking import blocked
from .comfy_bridge.conditioning import Conditioning
from .comfy_bridge.engine import ManagedEngine
from .comfy_bridge.files import temp_file
from .comfy_bridge.footage import footage_of
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core
from .editing import options_of, settings_of, texts_of
from .editing_inputs import (
    blend_inputs,
    crop_inputs,
    joint_inputs,
    sampler_inputs,
    seed_input,
    strength_inputs,
    text_inputs,
    window_inputs,
)
from .schema import node_schema

NAME = "Edit Long Video"


class EditLongVideo(io.ComfyNode):
    """Propagate Edit for videos that don't fit into memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividEditLongVideo",
            display_name=NAME,
            search_aliases=["kive", "long video", "stream video", "edit video file", "propagate keyframe", "vfr"],
            description="Edits a whole video file, a window at a time: memory does not grow with its length. Timing, "
            "rotation and sound are kept; a run that was stopped goes on.",
            inputs=[
                sockets.Engine.Input("engine", tooltip="From Load Edit Engine."),
                io.Video.Input("video", tooltip="From Load Video. A file is read as it is needed; any length."),
                *text_inputs(),
                seed_input(
                    "Another seed gives another edit; the same one gives the same frames. Fix it to keep "
                    "finished windows."
                ),
                *strength_inputs(),
                *window_inputs(),
                *crop_inputs(),
                *joint_inputs(),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    tooltip="Keep finished windows in the output folder (vivid_windows): a run that was stopped goes "
                    "on, and a changed keyframe runs its own windows only.",
                ),
                *sampler_inputs(),
                io.Boolean.Input(
                    "plan_only",
                    default=False,
                    tooltip="Only say what a run would do: windows, tokens, memory, disk and time. No video is made.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the edit goes, on every frame. Not needed with track."
                ),
                sockets.Track.Input(
                    "track",
                    optional=True,
                    tooltip="From Track Mask, in place of mask: all objects together, in a thirtieth of the memory.",
                ),
                sockets.Keyframes.Input(
                    "keyframes",
                    optional=True,
                    tooltip="From Edit Keyframe or Set Keyframes. Without them the video is edited by the text alone.",
                ),
                *blend_inputs(),
            ],
            outputs=[
                io.Video.Output("edited_video", display_name="video", tooltip="A file, for Save Video."),
                io.String.Output(
                    "report", display_name="report", tooltip="The plan, the windows, and what could not be kept."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        engine: ManagedEngine,
        video: Any,
        positive: Conditioning,
        negative: Conditioning,
        window: int,
        overlap: int,
        crop: str,
        feather: int,
        colour_match: bool,
        resume: bool,
        plan_only: bool,
        mask: Tensor | None = None,
        track: Track | None = None,
        keyframes: Keyframes | None = None,
        blend_mask: Tensor | None = None,
        **sampling: Any,
    ) -> io.NodeOutput:
        masks, traits = _masks(mask, track), engine.adapter.traits
        texts, notes = texts_of(engine, positive, negative, NAME), list[str]()
        settings = {"keyframes": keyframes or Keyframes([]), **settings_of(traits, **sampling)}
        keep = window_length(traits, window or None)
        with engine.running() as (core, runtime), footage_of(video, keep, masks.shape[1:], runtime) as footage:
            room = room_for_windows(footage, traits)
            given = (window, overlap, crop, feather, colour_match, resume, blend_mask)
            options = options_of(*given, cuts=footage.cuts, room=room)
            run = prepared(core, EditRequest(footage.frames_fhwc, masks, *texts, **settings), options, notes)
            if plan_only:
                return _said([*notes, _plan(core, footage, run)], blocked())
            path, saved = temp_file("vivid_long_video", "mp4")
            report = write_edited(run, footage, path, runtime, notes)
        return _said([*notes, report], VideoFromFile(path), ui=ui.PreviewVideo([saved]))


def _masks(mask: Tensor | None, track: Track | None) -> Clip:
    if (mask is None) == (track is None):
        got = "neither a mask nor a track" if mask is None else "both a mask and a track"
        raise ValueError(f"{NAME}: got {got}, but it needs one of them; connect either mask or track.")
    if track is not None:
        return Computed((track.frame_count, *track.size), lambda at: track.mask(at).float())
    return lazily(checked_mask(to_core(mask), f"{NAME}, mask"))


def _plan(core: Engine, footage: Footage, run: KiveRun) -> str:
    rates = measured_rates(core.transformer.config, core.place)
    where = f"on {core.place.device} in {str(core.place.dtype).removeprefix('torch.')}"
    return plan_text(core, footage, run, rates, where)


def _said(lines: list[str], video: Any, **shown: Any) -> io.NodeOutput:
    report = "\n".join(lines)
    say([report])
    return io.NodeOutput(video, report, **shown)
