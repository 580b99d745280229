"""Answers of finished trials, kept in a file of JSON lines, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ...json_text import parsed_object

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

    Answers of other models and settings stay in the file. Each is kept with the `commit` of the code that gave it; of
    two answers to one key the later counts. With `anew`, what is in the file is not taken, and asked again. Half a line
    at the end, from a kill in the middle of writing, is cut off. Raises ValueError for a file that holds something
    else.
    """

    def __init__(self, path: str | Path | None = None, commit: str = "", anew: bool = False) -> None:
        self.path = None if path is None else Path(path)
        self.commit = commit
        self._answers: dict[Key, dict[str, float]] = {}
        self._commits: dict[Key, str] = {}
        self._used: set[Key] = set()
        if self.path is not None and self.path.exists():
            self._read(self.path)
        if anew:
            self._answers.clear()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: Key) -> dict[str, float] | None:
        """What was answered, or None."""
        found = self._answers.get(key)
        if found is not None:
            self._used.add(key)
        return found

    def answered(self, key: Key, ask: Callable[[], Answers]) -> dict[str, float]:
        """What was answered; where nothing was, `ask` is asked, and its answer kept."""
        found = self.get(key)
        if found is None:
            self.add(key, ask())
            found = self.get(key)
        assert found is not None
        return found

    def add(self, key: Key, answers: Answers) -> None:
        """Keep an answer; it is on the disk when this returns."""
        self._answers[key] = dict(answers)
        self._commits[key] = self.commit
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        told = {name: value if math.isfinite(value) else None for name, value in answers.items()}
        line = {**asdict(key), "commit": self.commit, "answers": told}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def commits(self) -> dict[str, int]:
        """Of the answers that were asked for since the store was opened: how many each commit gave."""
        return dict(Counter(self._commits[key] for key in self._used))

    def _read(self, path: Path) -> None:
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        for number, line in enumerate(whole.decode("utf-8", "replace").splitlines(), 1):
            try:
                record = parsed_object(line)
                answers = {name: math.nan if one is None else float(one) for name, one in record.pop("answers").items()}
                commit = str(record.pop("commit"))
                key = Key(**record)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(
                    f"Claims: line {number} of {path} is no answer of a trial; move the file away, and begin again."
                ) from error
            self._answers[key], self._commits[key] = answers, commit
        if len(whole) < len(text):
            os.truncate(path, len(whole))
