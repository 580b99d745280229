"""Saved workflows are a contract: ids, order and types of inputs and outputs only ever grow at the end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "schema.json"


def inputs_of(node_class: Any) -> list[list[str]]:
    """[id, type, required or optional] in the order in which widgets are saved."""
    rows = []
    for kind, entries in node_class.INPUT_TYPES().items():
        if kind == "hidden":
            continue
        for name, spec in entries.items():
            is_combo = isinstance(spec[0], list) or spec[0] == "COMBO"
            rows.append([name, "COMBO" if is_combo else spec[0], kind])
    return rows


@pytest.fixture(scope="session")
def current(comfy_base: Path) -> dict[str, Any]:
    import nodes

    return {
        name: {
            "inputs": inputs_of(node_class),
            "outputs": [[output.id, output.io_type] for output in node_class.GET_SCHEMA().outputs],
        }
        for name, node_class in sorted(nodes.NODE_CLASS_MAPPINGS.items())
        if name.startswith("Vivid")
    }


def test_saved_workflows_still_fit(current: dict[str, Any]) -> None:
    """`VIVID_UPDATE_GOLDEN=1 make test` records what was appended, and still refuses anything else."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for node_id, promised in golden.items():
        assert node_id in current, f"{node_id} is gone, and every saved workflow with it"
        for side in ("inputs", "outputs"):
            kept = current[node_id][side][: len(promised[side])]
            if side == "inputs":  # a new required input goes after the required ones: their own order must hold
                for kind in ("required", "optional"):
                    before = [row for row in promised[side] if row[2] == kind]
                    now = [row for row in current[node_id][side] if row[2] == kind]
                    assert now[: len(before)] == before, f"{node_id}: {kind} inputs may only be appended"
            else:
                assert kept == promised[side], f"{node_id}: outputs may only be appended"
    if os.environ.get("VIVID_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(current, indent=1) + "\n")
        golden = current
    assert current == golden, "the schema grew: record it with VIVID_UPDATE_GOLDEN=1 make test"


def test_every_node_is_described(comfy_base: Path) -> None:
    import nodes

    for node_id, node_class in nodes.NODE_CLASS_MAPPINGS.items():
        if not node_id.startswith("Vivid"):
            continue
        schema = node_class.GET_SCHEMA()
        assert schema.display_name, node_id
        assert schema.category == "video/vivid", node_id
        assert len(schema.description) > 40, f"{node_id}: the description says too little"
        for entry in schema.inputs:
            assert entry.tooltip, f"{node_id}.{entry.id} has no tooltip"


def test_loading_the_pack_imports_nothing_heavy(comfy_base: Path) -> None:
    """In a process of its own, since other tests of this one use OpenCV."""
    import subprocess
    import sys

    code = (
        "import sys, tempfile, pathlib\n"
        f"sys.path.insert(0, {str(Path(__file__).resolve().parent.parent)!r})\n"
        "from harness import inprocess\n"
        "base = pathlib.Path(tempfile.mkdtemp())\n"
        "inprocess.boot(base)\n"
        "before = set(sys.modules)\n"
        "inprocess.load_pack(base)\n"
        "print('LOADED', *({'cv2', 'diffusers', 'sam2', 'peft'} & (set(sys.modules) - before)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "LOADED\n" in done.stdout, done.stdout[-500:]
