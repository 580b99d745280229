"""The pack as people get it: the registry's archive, installed as Manager does, into Pythons that are not ours."""

from __future__ import annotations

import json
import os
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib
from harness import installs, tiny
from harness.clips import BOX, write_clip
from harness.installs import Installed
from harness.prompts import Prompt, set_inputs, shipped
from harness.server import PACK, Run, Server
from safetensors.torch import save_file

NEEDED = ("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md", "js/vivid.js", "icon.png")
NOT_WANTED = ("tests/", "benchmarks/", ".ci/", ".github/", "Makefile", ".gitignore")
MOST_BYTES = 30_000_000
# What the registry's scanner takes for a danger, whatever it is used for.
SUSPECT = re.compile(rb"\bsubprocess\b|os\.system|\bpopen\b|__import__|pickle\.loads?\(|base64|urlopen|new Function\(")
COMMAND = re.compile(r'run "([^"]+)" (-m pip install .+?) (?:for a newer one )?and restart ComfyUI')

pytestmark = pytest.mark.skipif(not os.environ.get("COMFYUI_PATH"), reason="no COMFYUI_PATH: run these with make test")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = installs.checkout(tmp_path_factory.mktemp("checkout"))
    if made is None:
        pytest.skip("not a git checkout")
    return made


@pytest.fixture(scope="module")
def archive(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = installs.registry("pack", folder=checkout, home=tmp_path_factory.mktemp("home"))
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout / "node.zip"


def installed(base: Path, archive: Path) -> Path:
    """The pack in a ComfyUI's base folder, under the name that Manager gives it."""
    with zipfile.ZipFile(archive) as zipped:
        name = tomllib.loads(zipped.read("pyproject.toml").decode())["project"]["name"]
        zipped.extractall(base / "custom_nodes" / name)
    return base


def as_manager_does(environment: Installed, archive: Path, folder: Path) -> Installed:
    """The environment after every requirement of the pack was installed by itself, in the order of the file."""
    with zipfile.ZipFile(archive) as zipped:
        requirements = Path(zipped.extract("requirements.txt", folder))
    for line in installs.lines_of(requirements):
        environment = installs.with_installed(environment, [line])
    return environment


@pytest.fixture(scope="module")
def older() -> Installed:
    return installs.with_installed(installs.older(), installs.OF_OTHERS)


@pytest.fixture(scope="module")
def served(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """ComfyUI with the pack in a Python that has nothing of what the pack uses beyond ComfyUI."""
    yield from serve(installs.bare(), archive, tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def served_with_older(older: Installed, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from serve(older, archive, tmp_path_factory.mktemp("older"))


def serve(environment: Installed, archive: Path, base: Path) -> Iterator[Server]:
    with Server(installed(base, archive), python=environment.python) as running:
        write_clip(base / "input" / "clip.mp4")
        yield running


def edit_with_a_model() -> Prompt:
    prompt = shipped("Modify an object (embedded model)")
    set_inputs(prompt, "VividEditVideo", steps=2)
    return prompt


def track_by_flow() -> Prompt:
    tracked = {"frames": ["parts", 0], "frame": 0, "box": BOX, "points": "", "direction": "both", "mask_frames": ""}
    return {
        "load": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}},
        "parts": {"class_type": "GetVideoComponents", "inputs": {"video": ["load", 0]}},
        "track": {"class_type": "VividTrackMask", "inputs": tracked},
        "show": {"class_type": "MaskPreview", "inputs": {"mask": ["track", 0]}},
    }


def load_wan_vace(server: Server) -> Prompt:
    folder = server.base / "models" / "diffusers" / "wan" / "transformer"
    folder.mkdir(parents=True)
    module: Any = tiny.BY_NAME["wan_vace"].make()
    save_file(module.state_dict(), folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps({**module.config, "_class_name": "WanVACETransformer3DModel"}))
    prompt = {key: node for key, node in edit_with_a_model().items() if node["class_type"] == "VividLoadEngine"}
    set_inputs(prompt, "VividLoadEngine", model="wan/")
    (load,) = prompt
    prompt["show"] = {"class_type": "PreviewAny", "inputs": {"source": [load, 1]}}
    return prompt


def pip_arguments(run: Run) -> list[str]:
    """What the command in a node's sentence gives pip."""
    assert run.ending == "execution_error"
    found = COMMAND.search(run.error)
    assert found and run.error.strip().count("\n") == 0, run.error
    return shlex.split(found[2])[3:]


def nodes_of(archive: Path) -> set[str]:
    """The ids of the nodes in the archive, all of which have texts."""
    with zipfile.ZipFile(archive) as zipped:
        return set(json.loads(zipped.read("locales/en/nodeDefs.json")))


def test_the_pack_passes_the_registrys_own_checks_offline(checkout: Path, tmp_path: Path) -> None:
    done = installs.registry("validate", folder=checkout, home=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "All validation checks passed" in said, said
    assert "warning" not in said.lower(), said


def test_the_registrys_checks_find_what_they_look_for(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "pyproject.toml").write_text((checkout / "pyproject.toml").read_text().replace("0.3.75", "newest"))
    (folder / "bad.py").write_text("ev" + "al(input())\n")
    done = installs.registry("validate", folder=folder, home=tmp_path)
    said = done.stdout + done.stderr
    assert "Invalid requires-comfyui" in said and "S307" in said


def test_the_archive_holds_what_runs_and_nothing_else(archive: Path, checkout: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        names = set(zipped.namelist())
        assert set(NEEDED) <= names
        assert not [name for name in names if name.startswith(NOT_WANTED)]
        for room in ("nodes", "vivid_core", "js", "locales", "workflows", "subgraphs"):
            there = {str(path.relative_to(checkout)) for path in (checkout / room).rglob("*") if path.is_file()}
            assert there - names <= {name for name in there if name.endswith(".log.jsonl")}, room
        code = [name for name in names if name.endswith((".py", ".js"))]
        assert not {name: found[0] for name in code if (found := SUSPECT.search(zipped.read(name)))}
    assert archive.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("which", ["bare", "never updated", "with packages of others"])
def test_installing_as_manager_does_moves_nothing_that_was_there(
    which: str, archive: Path, tmp_path: Path, older: Installed
) -> None:
    before = {"bare": installs.bare, "never updated": installs.older, "with packages of others": lambda: older}[which]()
    there = before.versions()
    assert not {"peft", "opencv-python-headless"} & set(there)
    assert there["transformers"].startswith("4.5") == (which != "bare")
    assert ("diffusers" in there) == ("opencv-python" in there) == (which == "with packages of others")
    after = as_manager_does(before, archive, tmp_path)
    assert there.items() <= after.versions().items()
    after.pip("check")


def test_a_bare_comfyui_starts_with_every_node_and_all_that_the_page_gets(served: Server, archive: Path) -> None:
    ours = {name for name in served.get("/object_info") if name.startswith("Vivid")}
    assert ours == nodes_of(archive) and len(ours) > 20
    log = served.log.read_text()
    assert "IMPORT FAILED" not in log and "VIVID: diffusers, peft, cv2 not installed." in log
    assert any(path.startswith(f"/extensions/{PACK}/") for path in served.get("/extensions"))
    assert PACK in served.get("/workflow_templates")


def test_a_node_that_lacks_something_says_one_command_and_that_command_is_enough(
    served: Server, archive: Path, tmp_path: Path
) -> None:
    arguments = pip_arguments(served.run(track_by_flow()))
    assert set(pip_arguments(served.run(edit_with_a_model()))) == set(arguments)
    before, after = installs.bare(), installs.with_installed(installs.bare(), arguments)
    assert before.versions().items() <= after.versions().items(), "something that was there has moved"
    after.pip("check")
    for server in serve(after, archive, tmp_path):
        for prompt in (track_by_flow(), edit_with_a_model()):
            run = server.run(prompt)
            assert run.ending == "execution_success", run.error


def test_with_older_packages_of_others_all_nodes_are_there_and_the_embedded_model_edits(
    served_with_older: Server, archive: Path
) -> None:
    assert nodes_of(archive) <= set(served_with_older.get("/object_info"))
    for prompt in (track_by_flow(), edit_with_a_model()):
        run = served_with_older.run(prompt)
        assert run.ending == "execution_success", run.error


def test_what_older_packages_cannot_do_is_said_in_one_sentence(served_with_older: Server) -> None:
    run = served_with_older.run(load_wan_vace(served_with_older))
    assert "diffusers 0.33.1 has no WanVACETransformer3DModel" in run.error
    assert "diffusers>=0.35" in pip_arguments(run)


def test_the_command_keeps_an_older_transformers(served: Server) -> None:
    before = installs.older()
    after = installs.with_installed(before, pip_arguments(served.run(track_by_flow())))
    there, now = before.versions(), after.versions()
    moved = {name for name, version in there.items() if now[name] != version}
    assert moved <= {"huggingface-hub"}, "it may rise as far as transformers allows"
    after.pip("check")
    done = after.run("import transformers, peft, cv2; from diffusers import WanVACETransformer3DModel")
    assert done.returncode == 0, done.stderr
