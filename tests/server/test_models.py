"""Models in a running server: shared, cancelled, freed, and no memory lost over hundreds of runs."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import tiny
from harness.server import Run, Server
from safetensors.torch import save_file

MB = 1e6
COUNTER = itertools.count()
NODES = Path(__file__).resolve().parent.parent / "harness" / "model_nodes"
FIRST, LAST, GROWTH_PER_PROMPT = 20, 200, 0.1 * MB


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two models and two LoRAs on disk."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for seed, name in enumerate(("one", "two")):
        model = tiny.BY_NAME["cogvideox"].make(torch.float32, seed)
        made[name] = str(folder / f"{name}.safetensors")
        save_file(model.state_dict(), made[name])
        lora = {}
        for key, weight in model.state_dict().items():
            if key.endswith(("to_q.weight", "to_v.weight")):
                lora[key.replace(".weight", ".lora_A.weight")] = torch.randn(4, weight.shape[1]) * 0.1
                lora[key.replace(".weight", ".lora_B.weight")] = torch.randn(weight.shape[0], 4) * 0.1
        made[f"lora {name}"] = str(folder / f"lora_{name}.safetensors")
        save_file(lora, made[f"lora {name}"])
    return made


@pytest.fixture(scope="module")
def models_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import os

    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no COMFYUI_PATH: run these tests with make test")
    base = tmp_path_factory.mktemp("models_server")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "harness_models").symlink_to(NODES, target_is_directory=True)
    with Server(base) as running:
        yield running


def graph(path: str, precision: str = "fp32", lora: tuple[str, float] | None = None, **settings: int) -> dict[str, Any]:
    load = {"class_type": "HarnessLoadModel", "inputs": {"path": path, "family": "cogvideox", "precision": precision}}
    prompt: dict[str, Any] = {"load": load}
    source = "load"
    if lora is not None:
        named = {"model": ["load", 0], "path": lora[0], "strength": lora[1]}
        prompt["lora"] = {"class_type": "HarnessLora", "inputs": named}
        source = "lora"
    chosen = {"seed": 0, "steps": 2, "width": 8, "height": 8, "frames": 2} | settings
    prompt["run"] = {"class_type": "HarnessDenoise", "inputs": {"model": [source, 0], **chosen}}
    return prompt


def report(server: Server) -> dict[str, int]:
    run = server.run({"look": {"class_type": "HarnessMemory", "inputs": {"turn": next(COUNTER)}}})
    assert run.ending == "execution_success", run.error
    return {name: int(value[0]) for name, value in run.outputs["look"].items()}


def free(server: Server) -> None:
    """The page's "Free model and node cache"."""
    server.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(0.3)


def digest(run: Run) -> str:
    assert run.ending == "execution_success", run.error
    return str(run.outputs["run"]["digest"][0])


def test_two_kinds_of_loader_share_one_model(models_server: Server, files: dict[str, str]) -> None:
    free(models_server)
    prompt = graph(files["one"])
    too = graph(files["one"], seed=1)
    prompt["load too"] = {**too["load"], "class_type": "HarnessLoadModelToo"}
    prompt["run too"] = {"class_type": "HarnessDenoise", "inputs": {**too["run"]["inputs"], "model": ["load too", 0]}}
    run = models_server.run(prompt)
    assert run.ending == "execution_success", run.error
    assert run.outputs["run"]["digest"] != run.outputs["run too"]["digest"]
    prompt["look"] = {"class_type": "HarnessMemory", "inputs": {"turn": next(COUNTER)}}
    looked = models_server.run(prompt).outputs["look"]
    assert looked["alive"] == [1] and looked["shelf"] == [1]


def test_freeing_really_frees_and_the_next_run_gives_the_same(models_server: Server, files: dict[str, str]) -> None:
    first = digest(models_server.run(graph(files["one"], seed=3)))
    free(models_server)
    assert report(models_server)["alive"] == 0
    assert digest(models_server.run(graph(files["one"], seed=3))) == first


def test_a_lora_comes_and_goes_without_trace(models_server: Server, files: dict[str, str]) -> None:
    plain = digest(models_server.run(graph(files["one"])))
    patched = digest(models_server.run(graph(files["one"], lora=(files["lora one"], 1.0))))
    assert patched != plain
    free(models_server)
    assert digest(models_server.run(graph(files["one"]))) == plain


def test_a_cancel_inside_the_loop_ends_the_run_and_the_next_one_works(
    models_server: Server, files: dict[str, str]
) -> None:
    def stop(name: str, data: dict[str, Any]) -> None:
        if name in ("progress", "progress_state") and "value" in json.dumps(data):
            models_server.post("/interrupt", {})

    run = models_server.run(graph(files["one"], steps=5000, seed=9), on_event=stop)
    assert run.ending == "execution_interrupted"
    assert digest(models_server.run(graph(files["one"], steps=2, seed=9)))


def test_the_report_names_bytes_and_updates(models_server: Server, files: dict[str, str]) -> None:
    run = models_server.run(graph(files["one"], lora=(files["lora one"], 0.5)))
    text = "\n".join(run.outputs["run"]["notes"])
    assert "updates in use at strength 0.5" in text and "GB of weights" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "missing.safetensors"),
        ("truncated", "truncated.safetensors"),
        ("lora one", "LoRA"),
    ],
)
def test_a_wrong_file_gets_one_sentence(models_server: Server, files: dict[str, str], name: str, words: str) -> None:
    folder = Path(files["one"]).parent
    (folder / "truncated.safetensors").write_bytes(Path(files["one"]).read_bytes()[:-100_000])
    path = files.get(name, str(folder / f"{name}.safetensors"))
    run = models_server.run(graph(path))
    assert run.ending == "execution_error" and words in run.error
    assert len(run.error.strip().splitlines()) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_two_hundred_runs_lose_no_memory(models_server: Server, files: dict[str, str]) -> None:
    def one(turn: int) -> None:
        name = ("one", "two")[turn % 2]
        lora = (files[f"lora {name}"], 0.5 + turn % 3) if turn % 3 == 0 else None
        size = 8 + 4 * (turn % 4)
        prompt = graph(
            files[name], ("fp32", "bf16")[turn // 5 % 2], lora, width=size, height=size, seed=turn, frames=1 + turn % 3
        )
        if turn % 7 == 6:
            prompt["run"]["inputs"]["steps"] = 5000
            run = models_server.run(prompt, on_event=lambda *_: models_server.post("/interrupt", {}))
            assert run.ending == "execution_interrupted"
        else:
            digest(models_server.run(prompt))
        if turn % 10 == 9:
            free(models_server)

    for turn in range(FIRST):
        one(turn)
    free(models_server)
    before = report(models_server)
    for turn in range(FIRST, LAST):
        one(turn)
    free(models_server)
    after = report(models_server)
    assert before["alive"] == after["alive"] == after["shelf"] == 0
    assert after["anonymous"] - before["anonymous"] <= GROWTH_PER_PROMPT * (LAST - FIRST)
