"""A node that lets everything pass, and remembers what it looked like: a tensor that changes later is found out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from harness.probes import ANY
from torch import Tensor

PASS = "TorturePass"


@dataclass(frozen=True)
class Passed:
    """What went over one link."""

    place: str
    value: Any
    looks: str


class Passing:
    """What went over the links of the run that is under way; one for each process, as ComfyUI's registry is."""

    seen: list[Passed] = []


class TorturePass:
    RETURN_TYPES = (ANY,)
    FUNCTION = "let_pass"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": (ANY, {}), "place": ("STRING", {})}}

    def let_pass(self, value: Any, place: str) -> tuple[Any]:
        Passing.seen.append(Passed(place, value, looks_of(value)))
        return (value,)


def install() -> None:
    """Add the node to ComfyUI's."""
    import nodes

    nodes.NODE_CLASS_MAPPINGS[PASS] = TorturePass


def changed() -> list[str]:
    """The places whose values look different now."""
    return [one.place for one in Passing.seen if looks_of(one.value) != one.looks]


def looks_of(value: Any) -> str:
    """What tells whether a tensor, or any of those inside plain lists, was changed; of other values their kind."""
    digest = hashlib.sha256()
    _take(value, digest)
    return digest.hexdigest()


def _take(value: Any, digest: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        kept = value.detach().cpu().contiguous()
        digest.update(kept.flatten().view(torch.uint8).numpy().tobytes() if kept.numel() else b"")
    elif isinstance(value, list | tuple):
        digest.update(str(len(value)).encode())
        for one in value:
            _take(one, digest)
    elif isinstance(value, dict):
        for name in sorted(value, key=str):
            digest.update(str(name).encode())
            _take(value[name], digest)
    elif isinstance(value, int | float | str | bool) or value is None:
        digest.update(repr(value).encode())
    else:
        digest.update(type(value).__name__.encode())
