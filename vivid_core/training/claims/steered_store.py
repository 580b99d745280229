"""Answers of finished trials, kept in a file of JSON lines, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

Answers = Mapping[str, float]


@dataclass(frozen=True)
class Key:
    """What an answer belongs to: the model (a hash of its file), the experiment, one of its arms, the trial's id, and
    the settings (a hash). Another of any of them is another answer."""

    model: str
    experiment: str
    arm: str
    trial: str
    settings: str


class AnswerStore:
    """Answers by key, read from `path` when it is opened and added to it line by line; `None` keeps them in memory.

    Half a line at the end, from a kill in the middle of writing, is cut off. Raises ValueError for a file that holds
    something else.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._answers: dict[Key, dict[str, float]] = {}
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: Key) -> dict[str, float] | None:
        """What was answered, or None."""
        return self._answers.get(key)

    def add(self, key: Key, answers: Answers) -> None:
        """Keep an answer; it is on the disk when this returns."""
        self._answers[key] = dict(answers)
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        told = {name: value if math.isfinite(value) else None for name, value in answers.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(key), "answers": told}, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        for number, line in enumerate(whole.decode("utf-8", "replace").splitlines(), 1):
            try:
                record = json.loads(line)
                answers = {name: math.nan if one is None else float(one) for name, one in record.pop("answers").items()}
                self._answers[Key(**record)] = answers
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(
                    f"Claims: line {number} of {path} is no answer of a trial; move the file away, and begin again."
                ) from error
        if len(whole) < len(text):
            os.truncate(path, len(whole))
