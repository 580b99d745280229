"""Mark objects in the page, and see how masks over time are doing."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io, ui
from torch import Tensor

from ..vivid_core.checks import checked_frames, checked_mask, checked_mask_for
from ..vivid_core.masks.interop import anchor_frame, bounding_boxes, painted_masks, points_json
from ..vivid_core.masks.marks_text import read_marks
from ..vivid_core.masks.shots import shot_cuts
from ..vivid_core.masks.tracks import Track
from ..vivid_core.metrics.health import Health, track_health
from ..vivid_core.metrics.health_strip import health_strip
from ..vivid_core.metrics.marked import marked_frames
from . import sockets
from .comfy_bridge.clip_files import clip_ui
from .comfy_bridge.page import show_now
from .comfy_bridge.progress import ComfyRuntime, Uncounted, say
from .comfy_bridge.tensors import to_core, to_graph
from .schema import node_schema

NAME = "Mask Health"  # in what its checks say


class MarkObject(io.ComfyNode):
    """The marks of the editor in the page, as prompts for Track Mask and as plain points, boxes and masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividPromptEditor",
            display_name="Mark Object (points, boxes, strokes)",
            search_aliases=["mark object", "points editor", "sam2 points", "click object", "paint mask", "rotoscope"],
            description="Opens an editor over the clip: click points, drag boxes and paint on any frame, for one or "
            "more objects. The marks go to Track Mask, or to other nodes as points, boxes and masks.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip."),
                io.String.Input(
                    "marks",
                    default="",
                    multiline=True,
                    tooltip="What was marked, as the editor writes it; saved with the workflow.",
                ),
            ],
            outputs=[
                sockets.Prompts.Output("prompts", display_name="prompts", tooltip="All marks, for Track Mask."),
                io.Image.Output("preview", display_name="preview", tooltip="The marked frames with their marks."),
                io.String.Output(
                    "positive",
                    display_name="positive",
                    tooltip="The first object's points in pixels as JSON, on one frame; see the report for which.",
                ),
                io.String.Output(
                    "negative",
                    display_name="negative",
                    tooltip="Its background points, in the same form and on the same frame.",
                ),
                io.Custom("BOUNDING_BOX").Output(
                    "boxes", display_name="boxes", tooltip="The boxes on that frame, in pixels."
                ),
                io.Mask.Output(
                    "painted", display_name="painted", tooltip="Finished painted masks; empty on all other frames."
                ),
                io.String.Output("report", display_name="report", tooltip="What is marked, and what may be wrong."),
                io.Int.Output(
                    "marked_frame", display_name="frame", tooltip="The frame of positive, negative and boxes."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, frames: Tensor, marks: str) -> io.NodeOutput:
        notes: list[str] = []
        frames = checked_frames(to_core(frames), "Mark Object", notes)
        count, height, width = frames.shape[:3]
        runtime = ComfyRuntime()
        runtime.begin(count)
        shown = clip_ui(frames, runtime)
        try:
            read = read_marks(marks)
            read.check_for(frames, shown["vivid_clip"][0]["digest"], notes)
            prompts = read.prompts(height, width)
        except ValueError:
            show_now(shown)  # the editor needs the frames to put right what is refused here
            raise
        anchor = anchor_frame(prompts)
        report = "\n".join([*notes, read.text()])
        say([report])
        return io.NodeOutput(
            prompts,
            to_graph(marked_frames(frames, read, Uncounted())),
            points_json(prompts, anchor, 1, width, height),
            points_json(prompts, anchor, 0, width, height),
            bounding_boxes(prompts, anchor, width, height),
            to_graph(painted_masks(read, count, height, width)),
            report,
            anchor,
            ui=shown,
        )


class MaskHealth(io.ComfyNode):
    """Where a mask over time is lost, leaps or changes at once, whoever made it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividMaskHealth",
            display_name="Mask Health",
            search_aliases=["check mask", "mask quality", "track health", "lost object", "mask report"],
            description="Looks over the masks of a clip, from any tracker or painted: where the object is lost, where "
            "its mask leaps or changes at once, and on which frame a correction would help.",
            inputs=[
                io.Mask.Input("mask", optional=True, tooltip="The masks of a clip, from anywhere."),
                sockets.Track.Input("track", optional=True, tooltip="From Track Mask; each object is judged alone."),
                io.Image.Input(
                    "frames",
                    optional=True,
                    tooltip="The clip. With it, a mask isn't expected to go on from one shot to the next.",
                ),
            ],
            outputs=[
                io.Image.Output("strip", display_name="strip", tooltip="The report as a picture over the frames."),
                io.String.Output("report", display_name="report", tooltip="The same in words, with what to do."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, mask: Tensor | None = None, track: Track | None = None, frames: Tensor | None = None
    ) -> io.NodeOutput:
        notes: list[str] = []
        health = _health(mask, track, frames, notes)
        strip = health_strip(health, track if mask is None else None)
        report = "\n".join([*notes, health.text()])
        say([report])
        return io.NodeOutput(to_graph(strip), report, ui=ui.PreviewImage(strip, cls=cls))


def _health(mask: Tensor | None, track: Track | None, frames: Tensor | None, notes: list[str]) -> Health:
    if (mask is None) == (track is None):
        got = "neither a mask nor a track" if mask is None else "both a mask and a track"
        raise ValueError(f"Mask Health: got {got}, but it looks at one of them; connect either mask or track.")
    clip = None if frames is None else checked_frames(to_core(frames), NAME, notes)
    return _health_of_mask(mask, clip, notes) if mask is not None else _health_of_track(track, clip)


def _health_of_mask(mask: Tensor, clip: Tensor | None, notes: list[str]) -> Health:
    if clip is None:
        return track_health(checked_mask(to_core(mask), NAME))
    masks = checked_mask_for(to_core(mask), clip, NAME, notes)
    return track_health(masks, cuts=_cuts(clip))


def _health_of_track(track: Track, clip: Tensor | None) -> Health:
    if clip is None:
        return track_health(track)
    if track.frame_count != clip.shape[0]:
        raise ValueError(
            f"Mask Health: the track has {track.frame_count} frames and the clip has {clip.shape[0]}; connect the clip "
            "that was tracked."
        )
    return track_health(replace(track, cuts=_cuts(clip)))


def _cuts(frames_fhwc: Tensor) -> tuple[int, ...]:
    runtime = ComfyRuntime()
    runtime.begin(len(frames_fhwc))
    return shot_cuts(frames_fhwc, runtime)
