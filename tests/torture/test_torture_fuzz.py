"""The short form of the random graphs: a few of them, in a process of their own, and what judges them."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from harness.inprocess import Result
from harness.server import ROOT

from torture import children, clips, promises
from torture.graphs import Drawer
from torture.judge import judged, sentence_faults
from torture.schemas import Node, Taken, our_nodes
from torture.watch import looks_of

SEEDS = range(7000, 7020)
NODE = Node("VividAugmentMask", "Augment Mask", (Taken("mask", "MASK", False),), ("MASK",))
GOOD = "Augment Mask: the mask is empty on all 4 frames; mark the object first."


def test_random_graphs_end_well_or_with_one_helpful_sentence() -> None:
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no COMFYUI_PATH: run these tests with make test")
    lines = list(children.results("fuzz", SEEDS))
    assert sorted(line["seed"] for line in lines) == list(SEEDS)
    assert [(line["seed"], line["said"], line["faults"]) for line in lines if line["faults"]] == []
    assert sum(line["kind"] == "ok" for line in lines) >= 4, "too few graphs ran to the end to prove anything"


def test_the_seed_decides_the_graph(comfy_base: Any) -> None:
    known = our_nodes()
    for seed in range(12):
        first, again, other = (Drawer(number, known, comfy_base).draw() for number in (seed, seed, seed + 1000))
        assert first.prompt == again.prompt and first.wrong == again.wrong and first.prompt != other.prompt
        assert [looks_of(make()) for make in first.given.values()] == [
            looks_of(make()) for make in again.given.values()
        ]


def test_in_turn_each_input_of_each_node_is_spoilt(comfy_base: Any) -> None:
    known = our_nodes()
    inputs = {f"{name}.{taken.name}" for name, node in known.items() for taken in node.inputs if not taken.optional}
    spoilt = {wrong.split(":")[0] for seed in range(2000) for wrong in Drawer(seed, known, comfy_base).draw().wrong}
    assert inputs - spoilt == {"VividInpaintConditioning.vae"}, "a wrong VAE can't be made here"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("TypeError", GOOD),
        ("ValueError", "Augment Mask: no."),
        ("ValueError", "Augment Mask: the mask is empty" + " on all frames" * 40 + "."),
        ("ValueError", "Augment Mask: the mask is empty on all 4 frames\nmark the object first."),
        ("ValueError", "Augment Mask: 'NoneType' object is not subscriptable, so give it a mask."),
        ("ValueError", "The mask must match the size of tensor a (3) at dimension 1; The size of tensor(3) differs."),
        ("ValueError", "cannot convert float NaN to integer, whatever that may mean to anybody."),
    ],
)
def test_what_helps_nobody_is_a_fault(kind: str, text: str) -> None:
    assert sentence_faults(kind, text, NODE)
    assert not sentence_faults("ValueError", GOOD, NODE)


def failed(path: str) -> Result:
    told = {"exception_type": "ValueError", "exception_message": GOOD, "node_type": NODE.node_id}
    return Result(False, {**told, "traceback": [f'  File "{path}", line 3, in checked\n']})


def test_a_sentence_from_somewhere_else_than_the_pack_is_a_fault() -> None:
    nodes = {NODE.node_id: NODE}
    assert judged(failed(str(ROOT / "vivid_core" / "checks.py")), nodes, {}).faults == []
    assert judged(failed("/usr/lib/python3/fractions.py"), nodes, {}).faults


def test_a_broken_promise_is_found() -> None:
    shape = clips.Shape(3, 32, 40, 1)
    frames, mask, edited = clips.frames(shape), clips.mask(shape), clips.edited(shape)
    kept = {0: edited, 1: mask}
    given = {"frames": frames}
    assert list(promises.broken("VividEditVideo", given, kept)) == []
    leaked = edited.clone()
    leaked[1, 0, 0, 0] += 1e-6
    for wrong in ({**kept, 0: leaked}, {**kept, 0: edited * float("nan")}, {**kept, 1: mask[:2]}, {0: edited.half()}):
        assert list(promises.broken("VividEditVideo", given, wrong))


def test_a_lost_keyframe_is_found() -> None:
    from vivid_core.video.keyframes import Keyframe, Keyframes

    shape = clips.Shape(3, 32, 40, 1)
    frames, mask, edited = clips.frames(shape), clips.mask(shape), clips.edited(shape)
    given = {"frames": frames, "keyframes": Keyframes([Keyframe(-2, edited[1])])}
    assert list(promises.broken("VividPropagate", given, {0: edited, 1: mask})) == []
    softened = edited.clone()
    softened[1][mask[1] == 1] += 1e-6
    assert list(promises.broken("VividPropagate", given, {0: softened, 1: mask}))


def test_a_changed_tensor_looks_different() -> None:
    value = {"x": [torch.zeros(3), 1]}
    before = looks_of(value)
    assert before == looks_of({"x": [torch.zeros(3), 1]})
    value["x"][0][1] = 1e-9
    assert before != looks_of(value)
