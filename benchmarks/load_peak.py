"""Host memory while a model is loaded and every weight was read once, over the size of its file."""

from __future__ import annotations

import statistics
import tempfile
from typing import Any

from .timing import peak_extra_bytes

GOAL = 1.15

CODE = """
{preamble}
import torch
def touch(module):
    return sum(float(parameter.sum()) for parameter in module.parameters())
def ours(path):
    return bridge("loading").load_model(path, {{"cogvideox"}}, "fp32").module
touch({how}({small!r}))
baseline()
module = {how}({path!r})
touch(module)
done()
"""
ABOUT = {
    "measures": "memory while a file is loaded and all of it is read, over the size of the file",
    "peer": "making the module, reading the file, load_state_dict",
    "instead": "diffusers' from_pretrained in a pack's own loader",
    "goal": "at most 1.15x",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    from ._models import PREAMBLE, saved_transformer

    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        path, warm = saved_transformer(large, layers=8), saved_transformer(small, layers=1, heads=2)
        size = path.stat().st_size

        def peak(how: str) -> float:
            code = CODE.format(preamble=PREAMBLE, how=how, small=str(warm), path=str(path))
            return peak_extra_bytes(code) / size

        ours = [peak("ours") for _ in range(5 if full else 2)]
        peer = peak("plain_load")
    return {
        "name": "load_peak",
        "ours": round(statistics.median(ours), 3),
        "peer": round(peer, 3),
        "ratio": round(statistics.median(ours), 3),
        "interval": [round(min(ours), 3), round(max(ours), 3)],
        "goal": GOAL,
        "met": max(ours) <= GOAL,
        "unit": "x",
        "what": f"peak memory while loading a file of {size / 1e9:.2f} GB and reading all of it once, over its size; "
        "peer: make the module, read the file, load_state_dict",
    }
