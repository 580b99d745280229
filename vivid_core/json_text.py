"""JSON that others wrote: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from typing import Any


def parsed(text: str | bytes) -> Any:
    """The content of a JSON text.

    Raises ValueError, whose text says why, for what is no JSON; also where Python itself gives up: for brackets deep
    inside each other (RecursionError otherwise) and for numbers of thousands of digits.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except RecursionError as deep:
        raise ValueError("too many brackets inside each other") from deep
    except ValueError as long:
        raise ValueError("a number with thousands of digits") from long


def parsed_object(text: str | bytes) -> dict[str, Any]:
    """The same for an object. Raises ValueError for everything else."""
    content = parsed(text)
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content
