"""Outputs behind which nothing runs."""

from __future__ import annotations

from typing import Any

from comfy_execution.graph_utils import ExecutionBlocker


def blocked() -> Any:
    """A value for an output: nodes that need it don't run, and the run ends well all the same."""
    return ExecutionBlocker(None)
