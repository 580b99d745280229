"""Nodes of the pack, called through the real executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness import inprocess, probes


@pytest.fixture
def call(executor: inprocess.Executor) -> Callable[..., inprocess.Result]:
    """`call("VividAugmentMask", mask=..., mode="hull")`: one node through the real executor."""

    def run(node_id: str, **inputs: Any) -> inprocess.Result:
        return probes.call(executor, node_id, **inputs)

    return run
