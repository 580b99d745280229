"""Blueprints: what lies in subgraphs/, and one of them as the nodes that ComfyUI runs in its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .prompts import Prompt

FOLDER = Path(__file__).resolve().parents[2] / "subgraphs"
INSIDE, OUTSIDE = -10, -20  # the nodes that stand for a subgraph's own inputs and outputs
SEEDS = ("seed", "noise_seed")  # the page keeps what to do after a run behind them


def definition(flow: Mapping[str, Any]) -> dict[str, Any]:
    """The one subgraph of a blueprint."""
    (found,) = flow["definitions"]["subgraphs"]
    return found


def widgets(node: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets by their names."""
    values = iter(node["widgets_values"])
    found = {}
    for entry in node["inputs"]:
        if "widget" in entry:
            found[entry["name"]] = next(values)
            if entry["name"] in SEEDS:
                next(values)
    assert next(values, None) is None, f"{node['type']} has more values than widgets"
    return found


def expanded(flow: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[Prompt, dict[str, list[Any]]]:
    """The nodes inside a blueprint in API form, with `inputs` on its ports; and where each output comes from."""
    graph = definition(flow)
    ports = {port["name"]: number for number, port in enumerate(graph["inputs"])}
    given = {ports[name]: value for name, value in inputs.items()}
    prompt: Prompt = {str(node["id"]): {"class_type": node["type"], "inputs": widgets(node)} for node in graph["nodes"]}
    nodes = {node["id"]: node for node in graph["nodes"]}
    outputs = {}
    for link in graph["links"]:
        source = [str(link["origin_id"]), link["origin_slot"]]
        if link["target_id"] == OUTSIDE:
            outputs[graph["outputs"][link["target_slot"]]["name"]] = source
            continue
        name = nodes[link["target_id"]]["inputs"][link["target_slot"]]["name"]
        taken = prompt[str(link["target_id"])]["inputs"]
        if link["origin_id"] != INSIDE:
            taken[name] = source
        elif link["origin_slot"] in given:
            taken[name] = given[link["origin_slot"]]
    return prompt, outputs
