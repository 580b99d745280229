"""Schemas that load on every supported ComfyUI: what an older core does not know is left out, by feature."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from comfy_api.latest import io

CATEGORY = "video/vivid"
_SCHEMA_FIELDS = {field.name for field in dataclasses.fields(io.Schema)}
_CAN_BE_ADVANCED = "advanced" in inspect.signature(io.Int.Input.__init__).parameters


def node_schema(**fields: Any) -> io.Schema:
    """`io.Schema` in the pack's category, with the fields that the running core has."""
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in _SCHEMA_FIELDS})


def expert() -> dict[str, bool]:
    """`advanced=True` for an input that most users never touch, where the core can fold it away."""
    return {"advanced": True} if _CAN_BE_ADVANCED else {}
