"""The short form of the sweep over all numbers: a few of them, and that none is left out."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from torture import children
from torture.schemas import Taken, our_nodes
from torture.sweep import LENIENT, LONG, NUMBERS, edges, inputs

PLACES = ("VividPropagate.steps", "VividVaceControl.window_index", "VividPix2Video.first_layer", "VividTrainLora.batch")


def test_a_node_that_runs_well_takes_the_edges_of_a_number_or_says_one_helpful_sentence() -> None:
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no COMFYUI_PATH: run these tests with make test")
    lines = list(children.results("sweep", PLACES))
    assert [(line["seed"], line["faults"]) for line in lines] == [(place, []) for place in PLACES]
    assert all(line["ends"]["ok"] >= 1 and line["ends"]["refused"] >= 2 for line in lines)


def test_every_number_of_every_node_is_swept(comfy_base: Path) -> None:
    numbers = {
        f"{name}.{taken.name}" for name, node in our_nodes().items() for taken in node.inputs if taken.kind in NUMBERS
    }
    assert set(inputs()) == numbers
    known = numbers | {place.split(".")[1] for place in numbers}
    assert known >= {*LONG, *LENIENT}, "an input that takes long is no more there"


def test_the_edges_are_the_ends_the_next_outside_and_what_no_widget_has() -> None:
    whole, share = Taken("window", "INT", False, 0, 0, 9), Taken("strength", "FLOAT", False, 1.0, 0.0, 1.0)
    assert {0, 9, -1, 10, 2**63} <= set(edges("VividPropagate", whole))
    found = edges("VividKeyframes", share)
    assert {0.0, 1.0, -0.5, 1.5} <= set(found) and any(map(math.isnan, found)) and math.inf in found
    steps = Taken("steps", "INT", False, 20, 1, 1000)
    assert 1000 not in edges("VividPropagate", steps) and {1, 0, 1001} <= set(edges("VividPropagate", steps))
