"""A ComfyUI in this process for random graphs: a base folder with a name of all alphabets, models, and no models."""

from __future__ import annotations

import json
import shutil
import struct
from functools import cache
from pathlib import Path
from typing import Any

import torch
from harness import engines, inprocess, probes, sd, tiny
from harness.clips import write_film
from safetensors.torch import save_file

from vivid_core.models import embedded
from vivid_core.training.world.words import vocabulary

from . import watch
from .widgets import WRONG

NAME = "Vidéo 視頻 🎬"
FILMS = {"film.mp4": 9, "名前 ünï 🎬.mp4": 5, "one.mp4": 1}
SIZE = (64, 48)  # of the films: width, height
KEPT = ("input", "models", "custom_nodes", "user")  # all else is made anew for each run


def boot(folder: Path) -> Path:
    """Start ComfyUI in a base folder below `folder`, with the pack, small models and wrong ones; gives the base."""
    base = folder / NAME
    base.mkdir(parents=True)
    _bring_models(base / "models")
    _bring_films(base / "input")
    inprocess.boot(base)
    inprocess.load_pack(base)
    probes.install()
    watch.install()
    return base


def emptied(base: Path) -> None:
    """Take away what a run has left in the folders that it may write to."""
    for name in ("output", "temp"):
        shutil.rmtree(base / name, ignore_errors=True)
        (base / name).mkdir()
    for path in (base / "models" / "vivid").glob("*"):
        if not path.name.startswith(WRONG):
            path.unlink()


def film(base: Path, name: str) -> Any:
    """VIDEO, as Load Video gives it."""
    from comfy_api.input_impl import VideoFromFile

    return VideoFromFile(str(base / "input" / name))


@cache
def native(kind: str) -> Any:
    """Tiny models of ComfyUI's own, by the type of their socket."""
    from harness import native_models

    makers = {"VAE": native_models.wan_vae, "MODEL": lambda: native_models.wan_model("vace")}
    return makers[kind]()


def _bring_models(models: Path) -> None:
    folders = ("checkpoints", "vivid", "controlnet", "animatediff_models", "geometry_estimation", "sam2", "vae")
    for name in folders:
        (models / name).mkdir(parents=True, exist_ok=True)
    sd.save_checkpoint(models / "checkpoints" / "tiny.safetensors")
    sd.motion().save_pretrained(models / "animatediff_models" / "tiny")
    sd.controlnet().save_pretrained(models / "controlnet" / "tiny")
    tiny.BY_NAME["depth_anything"].make().save_pretrained(models / "geometry_estimation" / "tiny")
    _save_lora(models / "loras" / "tiny.safetensors")
    flow = models / "optical_flow"
    flow.mkdir(exist_ok=True)
    torch.save(_raft().state_dict(), flow / "raft_small.pth")
    for folder in ("checkpoints", "vivid", "controlnet", "animatediff_models", "sam2", "vae", "diffusion_models"):
        _bring_wrong_files(models / folder)
    for folder in ("optical_flow", "sam2"):
        (models / folder / f"{WRONG} torn.pth").write_bytes(b"PK\x03\x04 no archive")
        torch.save({"weights": "none", "step": 3}, models / folder / f"{WRONG} kind.pth")


def _save_lora(path: Path) -> None:
    """A LoRA with random weights for the embedded model."""
    transformer = embedded.build(vocabulary(), 0).transformer
    drawn = torch.Generator().manual_seed(7)
    tensors = {}
    for name, layer in transformer.named_modules():
        if name.endswith("to_q"):
            tensors[f"transformer.{name}.lora_A.weight"] = torch.randn(2, layer.in_features, generator=drawn)
            tensors[f"transformer.{name}.lora_B.weight"] = torch.randn(layer.out_features, 2, generator=drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def _raft() -> Any:
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    return raft_small()


def _bring_wrong_files(folder: Path) -> None:
    """Files with the right ending in the right folder, which are something else."""
    folder.mkdir(exist_ok=True)

    def file(what: str) -> Path:
        return folder / f"{WRONG} {what}.safetensors"

    file("empty").write_bytes(b"")
    file("page").write_text("<!DOCTYPE html><title>404</title>" * 9)
    file("length").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    whole = engines.save_single(torch.nn.Linear(4, 4), file("family")).read_bytes()
    file("torn 壊れた").write_bytes(whole[:-20])
    lying = json.dumps({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}).encode()
    file("promise").write_bytes(struct.pack("<Q", len(lying)) + lying + b"\0" * 4)
    header = whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]]
    file("depth").write_bytes(struct.pack("<Q", 60000) + b"[" * 60000 + header)


def _bring_films(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in FILMS.items():
        write_film(folder / name, count, SIZE, sound="aac" if count > 1 else None)
    whole = (folder / "film.mp4").read_bytes()
    (folder / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("no film " * 100)
    (folder / "empty.mp4").write_bytes(b"")
