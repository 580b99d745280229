"""Mark an object, follow it through the clip, take its masks out again."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames
from ..vivid_core.masks.prompts import Prompts, mask_prompts, parse_box, parse_ids, parse_indices, parse_points
from ..vivid_core.masks.track import DIRECTIONS, track_by_flow
from ..vivid_core.masks.tracks import Track
from ..vivid_core.metrics.health import track_health
from ..vivid_core.metrics.health_strip import health_strip
from . import sockets
from .comfy_bridge.clip_files import track_ui
from .comfy_bridge.flow import ManagedFlow, flow_runtime
from .comfy_bridge.progress import say
from .comfy_bridge.segmenter import ManagedSegmenter
from .comfy_bridge.tensors import to_core, to_graph
from .schema import node_schema

FROM_THE_CHANGE, EVERYTHING = "from the changed mark", "everything"


class TrackMask(io.ComfyNode):
    """From marks on any frames to a mask on every frame, by a segmenter or by optical flow."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividTrackMask",
            display_name="Track Mask",
            search_aliases=["track object", "video mask", "segment video", "optical flow mask", "rotoscope", "sam2"],
            description="Follows objects through a clip. Mark them with Mark Object, a box, points or painted masks on "
            "any frames; mark more frames to correct the track. With a segmenter (SAM 2), or without any model.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip."),
                io.Int.Input(
                    "frame",
                    default=0,
                    min=-99999,
                    max=99999,
                    tooltip="The frame that the box and points are drawn on; -1 is the last one. Take one that shows "
                    "the object large and whole.",
                ),
                io.String.Input("box", default="", tooltip="A box around the object, in pixels: x, y, width, height."),
                io.String.Input(
                    "points",
                    default="",
                    multiline=True,
                    tooltip="Points on the object, in pixels: [[120, 80], [200, 95]], or the text of a points editor. "
                    'A point written as a JSON object with x and y may also have "label" (0 marks background), '
                    '"frame" and "object".',
                ),
                io.Combo.Input(
                    "direction",
                    options=list(DIRECTIONS),
                    default="both",
                    tooltip="Which way to follow the object from the marked frames. both covers the whole clip; "
                    "forward and backward leave the frames on the other side without a mask.",
                ),
                io.String.Input(
                    "mask_frames",
                    default="",
                    tooltip="The frame of each connected mask: 0, 40, 90. Empty: they begin at `frame`.",
                ),
                # Newer pages would draw a widget for this type, and its default would be taken for a mark.
                io.Custom("BOUNDING_BOX").Input(
                    "boxes",
                    optional=True,
                    tooltip="A box from another node, on `frame`.",
                    extra_dict={"forceInput": True},
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Painted masks: the first marks the object, the others correct it. They come back exactly.",
                ),
                sockets.Prompts.Input(
                    "prompts",
                    optional=True,
                    tooltip="From Mark Object. Box, points and masks given here are added to it.",
                ),
                sockets.Segmenter.Input(
                    "segmenter",
                    optional=True,
                    tooltip="From Load Segmenter. Without one the object is followed by optical flow, with no model.",
                ),
                io.Combo.Input(
                    "rerun",
                    options=[FROM_THE_CHANGE, EVERYTHING],
                    default=FROM_THE_CHANGE,
                    optional=True,
                    tooltip="With a segmenter, after a mark was added, changed or removed: keep the frames up to the "
                    "mark before it and run the rest from memory, or run the whole clip.",
                ),
                sockets.Flow.Input(
                    "flow",
                    optional=True,
                    tooltip="From Load Optical Flow: motion by a RAFT model instead of DIS. Not used with a segmenter.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    "tracked_mask", display_name="mask", tooltip="The object on every frame; all objects together."
                ),
                sockets.Track.Output(
                    "track", display_name="track", tooltip="Each object's masks, packed; see Track to Mask."
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="Where the track is good, and where it needs a click."
                ),
                io.Image.Output(
                    "health", display_name="health", tooltip="The report as a picture: one band for each object."
                ),
            ],
            is_output_node=True,  # so that the editor of Mark Object can have this much of a workflow run
        )

    @classmethod
    def execute(
        cls,
        frames: Tensor,
        frame: int,
        box: str,
        points: str,
        direction: str,
        mask_frames: str,
        boxes: Any = None,
        mask: Tensor | None = None,
        prompts: Prompts | None = None,
        segmenter: ManagedSegmenter | None = None,
        rerun: str = FROM_THE_CHANGE,
        flow: ManagedFlow | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        frames = checked_frames(to_core(frames), "Track Mask", notes)
        marks = _prompts(frames, frame, box, points, mask_frames, boxes, mask).merged(prompts or ())
        if segmenter is None:
            with flow_runtime(flow) as (runtime, estimator):
                track = track_by_flow(frames, marks, direction, runtime, notes, estimator)
        else:
            track = segmenter.track(frames, marks, direction, rerun == EVERYTHING, notes)
            if flow is not None:
                notes.append("Track Mask: flow is not used, as the segmenter follows objects by itself.")
        health = track_health(track)
        report = "\n".join([*notes, health.text()])
        say([report])
        strip = to_graph(health_strip(health, track))
        return io.NodeOutput(to_graph(track.masks()), track, report, strip, ui=track_ui(track, frames, health))


def _prompts(
    frames: Tensor, frame: int, box: str, points: str, mask_frames: str, boxes: Any, mask: Tensor | None
) -> Prompts:
    count, height, width = frames.shape[:3]
    prompts = [*parse_box(box, width, height, frame), *parse_points(points, width, height, frame)]
    if boxes is not None:
        prompts += parse_box(boxes, width, height, frame)
    if mask is not None:
        masks = to_core(mask)
        indices = parse_indices(mask_frames, count) if mask_frames.strip() else None
        prompts += mask_prompts(masks, indices, frame)
    return Prompts(prompts)


class TrackToMask(io.ComfyNode):
    """Some objects and some frames of a track, as a MASK."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividTrackToMask",
            display_name="Track to Mask",
            search_aliases=["unpack track", "select object"],
            description="Takes the masks of chosen objects, or of a part of the clip, out of a track.",
            inputs=[
                sockets.Track.Input("track", tooltip="From Track Mask."),
                io.String.Input("objects", default="all", tooltip="Numbers of the objects, as in 1, 3; or all."),
                io.Int.Input("start", default=0, min=0, max=99999, tooltip="First frame."),
                io.Int.Input("length", default=0, min=0, max=99999, tooltip="How many frames; 0 goes to the end."),
            ],
            outputs=[io.Mask.Output("object_mask", display_name="mask")],
        )

    @classmethod
    def execute(cls, track: Track, objects: str, start: int, length: int) -> io.NodeOutput:
        stop = start + length if length else None
        return io.NodeOutput(to_graph(track.masks(parse_ids(objects), start, stop)))
