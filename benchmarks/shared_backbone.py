"""Host memory of two editors with LoRAs of their own on one backbone, over that of one editor."""

from __future__ import annotations

import tempfile
from typing import Any

from .timing import peak_extra_bytes

GOAL = 1.05

CODE = """
{preamble}
import torch
def editor(path, seed):
    model = bridge("loading").load_model(path, {{"cogvideox"}}, "fp32")
    torch.manual_seed(seed)
    weight = model.module.state_dict()["transformer_blocks.0.attn1.to_q.weight"]
    name = "transformer_blocks.0.attn1.to_q.lora_"
    lora = {{name + "A.weight": torch.randn(4, weight.shape[1]), name + "B.weight": torch.randn(weight.shape[0], 4)}}
    return bridge("lora").with_lora(model, lora)
def use(*editors):
    for model in (*editors, *editors):
        with bridge("memory").loaded(model):
            forward(model.module, 1, 16, 16)
use(editor({small!r}, 0))
baseline()
editors = [editor({path!r}, seed) for seed in range({count})]
use(*editors)
done()
"""
ABOUT = {
    "measures": "memory of two editors with LoRAs of their own on one file",
    "peer": "one editor on that file",
    "instead": "two loaders, which hold the file twice",
    "goal": "at most 1.05x",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    from ._models import PREAMBLE, saved_transformer

    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        path, warm = saved_transformer(large, layers=8), saved_transformer(small, layers=1, heads=2)
        one, two = (
            peak_extra_bytes(CODE.format(preamble=PREAMBLE, small=str(warm), path=str(path), count=count))
            for count in (1, 2)
        )
    return {
        "name": "shared_backbone",
        "ours": round(two / 1e9, 3),
        "peer": round(one / 1e9, 3),
        "ratio": round(two / one, 3),
        "interval": [round(two / one, 3)] * 2,
        "goal": GOAL,
        "met": two / one <= GOAL,
        "unit": "x",
        "what": "peak memory in GB of two editors with LoRAs of their own on one file, run twice; peer: one editor",
    }
