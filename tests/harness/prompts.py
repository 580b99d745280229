"""Reading and changing workflows in API form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Prompt = dict[str, Any]

API_FORMS = Path(__file__).resolve().parents[2] / "workflows" / "api"


def shipped(name: str) -> Prompt:
    """The API form of a shipped workflow."""
    return json.loads((API_FORMS / f"{name}.json").read_text())


def ids_of(prompt: Prompt, class_type: str) -> list[str]:
    return [key for key, node in prompt.items() if node["class_type"] == class_type]


def set_inputs(prompt: Prompt, class_type: str, **inputs: Any) -> None:
    """Set these inputs on every node of this class."""
    for key in ids_of(prompt, class_type):
        prompt[key]["inputs"].update(inputs)


def marks_text(width: int, height: int, box: str = "", frame: int = 0, points: Sequence[Mapping[str, int]] = ()) -> str:
    """What the editor of Mark Object writes for one object: a box "x, y, w, h" on `frame`, and points, in pixels."""
    marks: dict[int, dict[str, Any]] = {}
    if box:
        x, y, across, down = (int(value) for value in box.split(","))
        sides = [x / width, y / height, (x + across) / width, (y + down) / height]
        marks[frame] = {"frame": frame, "object": 1, "points": [], "box": sides}
    for point in points:
        mark = marks.setdefault(point["frame"], {"frame": point["frame"], "object": 1, "points": [], "box": None})
        mark["points"].append([point["x"] / width, point["y"] / height, point["label"]])
    return json.dumps({"version": 1, "clip": None, "objects": [{"id": 1, "name": ""}], "marks": list(marks.values())})


def source_of(prompt: Prompt, key: str, name: str) -> str:
    """The class of the node that feeds an input."""
    return prompt[prompt[key]["inputs"][name][0]]["class_type"]


def upstream(prompt: Prompt, key: str) -> Prompt:
    """A node and all that it needs."""
    wanted: Prompt = {}
    waiting = [key]
    while waiting:
        key = waiting.pop()
        if key not in wanted:
            wanted[key] = prompt[key]
            waiting += [value[0] for value in prompt[key]["inputs"].values() if isinstance(value, list)]
    return wanted


def handing_out_the_keyframe(prompt: Prompt) -> Prompt:
    """The part of a workflow that saves the frame which an external editor is to change."""
    (key,) = (key for key in ids_of(prompt, "SaveImage") if source_of(prompt, key, "images") == "ImageFromBatch")
    return upstream(prompt, key)


def with_json_of_measures(prompt: Prompt) -> tuple[Prompt, str]:
    """The workflow with Measure Edit's JSON among its outputs, and the id of the node that shows it."""
    (measure,) = ids_of(prompt, "VividMeasureEdit")
    shown = "json of measures"
    return {**prompt, shown: {"class_type": "PreviewAny", "inputs": {"source": [measure, 1]}}}, shown


def with_tiny_native_models(prompt: Prompt) -> Prompt:
    """The workflow with tiny models (harness/native_nodes) where it loads files of ComfyUI's own ones."""
    tiny = {
        "UNETLoader": ("HarnessNativeModel", ("unet_name",)),
        "VAELoader": ("HarnessNativeVae", ()),
        "CLIPTextEncode": ("HarnessNativeText", ("text",)),
    }
    changed = {key: node for key, node in prompt.items() if node["class_type"] != "CLIPLoader"}
    for key, node in changed.items():
        if node["class_type"] in tiny:
            class_type, names = tiny[node["class_type"]]
            changed[key] = {"class_type": class_type, "inputs": {name: node["inputs"][name] for name in names}}
    return changed
