"""The blueprints: ComfyUI offers them, they name only what exists, and they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.blueprints import FOLDER, INSIDE, OUTSIDE, definition, expanded, widgets
from harness.clips import BOX
from harness.prompts import Prompt, ids_of, shipped
from harness.server import PACK, Server

BLUEPRINTS = sorted(FOLDER.glob("*.json"))
EDIT = "Edit an object in a video"
each_blueprint = pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def offered(server: Server) -> dict[str, str]:
    """The ids of this pack's blueprints by their names."""
    found = server.get("/global_subgraphs")
    return {one["name"]: key for key, one in found.items() if one["info"]["node_pack"] == f"custom_nodes.{PACK}"}


def test_there_is_a_blueprint_of_the_whole_loop() -> None:
    assert EDIT in [path.stem for path in BLUEPRINTS]


@each_blueprint
def test_comfyui_offers_it_as_it_lies_in_the_pack(server: Server, path: Path) -> None:
    served = server.get(f"/global_subgraphs/{offered(server)[path.stem]}")
    assert json.loads(served["data"]) == read(path)


@each_blueprint
def test_its_nodes_and_their_inputs_and_outputs_exist(server: Server, path: Path) -> None:
    info = server.get("/object_info")
    for node in definition(read(path))["nodes"]:
        known = info[node["type"]]
        declared = {**known["input"].get("required", {}), **known["input"].get("optional", {})}
        assert {entry["name"] for entry in node["inputs"]} == set(declared), node["type"]
        assert [entry["name"] for entry in node["outputs"]] == known["output_name"], node["type"]
        assert [entry["type"] for entry in node["outputs"]] == known["output"], node["type"]
        for name, value in widgets(node).items():
            kind, settings = declared[name][0], declared[name][1]
            choices = kind if isinstance(kind, list) else settings.get("options")
            assert choices is None or value in choices, f"{node['type']}.{name}"
            if "default" in settings and not choices:
                assert type(value) is type(settings["default"]) or value == settings["default"], name


@each_blueprint
def test_its_links_join_sockets_of_one_type_and_are_told_at_both_ends(path: Path) -> None:
    flow = read(path)
    graph = definition(flow)
    (instance,) = flow["nodes"]
    assert instance["type"] == graph["id"] and instance["title"] == graph["name"] == path.stem
    for side in ("inputs", "outputs"):
        assert [(one["name"], one["type"]) for one in instance[side]] == [(o["name"], o["type"]) for o in graph[side]]
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link in graph["links"]:
        if link["origin_id"] == INSIDE:
            source, told = graph["inputs"][link["origin_slot"]], "linkIds"
        else:
            source, told = nodes[link["origin_id"]]["outputs"][link["origin_slot"]], "links"
        assert link["id"] in source[told] and source["type"] == link["type"]
        if link["target_id"] == OUTSIDE:
            target = graph["outputs"][link["target_slot"]]
            assert target["linkIds"] == [link["id"]]
        else:
            target = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert target["link"] == link["id"]
        assert target["type"] == link["type"]
    assert {one["id"] for one in graph["links"]} == set(range(1, len(graph["links"]) + 1))


def edited(server: Server, **ports: Any) -> Prompt:
    """A real clip through the blueprint with the embedded model, measured."""
    engine: Prompt = {"load": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}}}
    engine["parts"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["load", 0]}}
    template = shipped("Modify an object (embedded model)")
    (key,) = ids_of(template, "VividLoadEngine")
    engine["engine"] = template[key]
    flow = read(FOLDER / f"{EDIT}.json")
    inner, outputs = expanded(flow, {"frames": ["parts", 0], "engine": ["engine", 0], "text": "a red ball", **ports})
    measure = {
        "original": ["parts", 0],
        "edited": outputs["frames"],
        "edit_mask": outputs["mask"],
        "blend_mask": outputs["blend_mask"],
    }
    return {
        **engine,
        **inner,
        "measure": {"class_type": "VividMeasureEdit", "inputs": measure},
        "json": {"class_type": "PreviewAny", "inputs": {"source": ["measure", 1]}},
    }


def test_it_edits_a_clip_from_a_box_and_a_text_and_keeps_the_rest(server: Server) -> None:
    run = server.run(edited(server, box=BOX))
    assert run.ending == "execution_success", run.error
    measures = json.loads(run.outputs["json"]["text"][0])
    assert measures["bit_exact_outside"]


def test_without_a_mark_it_says_what_is_needed(server: Server) -> None:
    run = server.run(edited(server))
    assert run.ending == "execution_error" and "Track Mask" in run.error
