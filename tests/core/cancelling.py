"""A run that its user cancels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vivid_core.runtime import Runtime


class CancelledError(Exception):
    """What a user's cancel looks like to the core."""


class CancelAfter(Runtime):
    """Cancels at the step after so many."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def advance(self, steps: int = 1, preview: Callable[[], Any] | None = None, **named: Any) -> None:
        self.left -= steps
        if self.left < 0:
            raise CancelledError
        super().advance(steps, preview, **named)
