"""What adapter mode starts from, without ComfyUI: the embedded model, or a folder of diffusers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..editors.adapters.choice import adapter_for
from ..editors.adapters.cogvideox import FAMILY, vivid
from ..editors.contract import Place
from ..editors.engine import Engine, embedded_engine
from ..editors.texts import T5Text
from ..models.families import empty, fill, open_family
from ..models.files import read_tensors
from ..models.text_tokens import folder_tokenizer
from ..models.widening import TEXT_TO_VIDEO, WIDTHS
from ..runtime import Runtime

PARTS = {"transformer": FAMILY, "vae": "cogvideox_vae", "text_encoder": "t5_encoder"}  # folders and their families
TOKENIZER = "tokenizer"


class DeviceRuntime(Runtime):
    """Brings modules to a device while they are held, and takes them back to host memory: the text encoder and the VAE
    are seldom needed, and large."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    @contextmanager
    def hold(self, *modules: nn.Module, activations: int = 0) -> Iterator[None]:
        """Have `modules` on the device in this block."""
        for module in modules:
            module.to(self._device)
        try:
            yield
        finally:
            for module in modules:
                module.to("cpu")


def load_base(model: str | Path | None, device: torch.device, mask_encoding: str = "resize") -> Engine:
    """The engine to train on, for a `DeviceRuntime` of `device`: of the embedded model (None), of a file of it, or of a
    diffusers folder of CogVideoX (with transformer, vae, text_encoder and tokenizer in it), whose weights are in bf16,
    on the CPU in fp32.

    A text-to-video model sees masks in `mask_encoding` from then on. Raises ValueError, in one sentence, when a part
    is missing or of another family.
    """
    if model is None or Path(model).is_file():
        there = Place(device)
        return replace(embedded_engine(model), place=there, vae_place=there, text_place=there)
    folder = Path(model)
    missing = [part for part in (*PARTS, TOKENIZER) if not (folder / part).is_dir()]
    if missing:
        raise ValueError(
            f"{folder} has no folder {' or '.join(missing)}; give the diffusers folder of a CogVideoX model, or leave "
            "the model out for the embedded one."
        )
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    parts = {part: _loaded(folder / part, family, dtype) for part, family in PARTS.items()}
    config: Any = parts["transformer"].config
    if config["in_channels"] == TEXT_TO_VIDEO:
        adapter: Any = vivid({**config, "in_channels": WIDTHS[mask_encoding]}, mask_encoding)
    else:
        adapter = adapter_for(FAMILY, config, what=folder.name)
    text = T5Text(parts["text_encoder"], folder_tokenizer(folder / TOKENIZER), int(config["max_text_seq_length"]))
    place, identity = Place(device, dtype), f"diffusers/{folder.name}/{adapter.mask_encoding}"
    return Engine(adapter, parts["transformer"], parts["vae"], text, identity, place, place, place)


def _loaded(path: Path, wanted: str, dtype: torch.dtype) -> nn.Module:
    files, family = open_family(path, {wanted})
    module = empty(family, family.config(files))
    weights = family.convert(read_tensors(files))
    fill(module, {name: one.to(dtype) if one.is_floating_point() else one for name, one in weights.items()}, path.name)
    return module
