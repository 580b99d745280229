"""What was run before: lines of JSON in a file, which grows by each run as soon as it has ended."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any


class Record:
    """The results of one part, by the seeds of its runs."""

    def __init__(self, path: Path, again: bool = False) -> None:
        """With `again` what was run before doesn't count. A last line that was cut off by a crash is left out."""
        self._path = path
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lines: dict[Any, dict[str, Any]] = {}
        if not again:
            for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
                self._keep(line)

    def has(self, seed: int | str) -> bool:
        """Whether the run of this seed is there."""
        return seed in self._lines

    def add(self, line: dict[str, Any]) -> None:
        """Keep a result, in the file too."""
        self._lines[line["seed"]] = line
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=True) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def wrong(self) -> int:
        """How many runs have faults."""
        return sum(bool(line["faults"]) for line in self._lines.values())

    def summary(self) -> str:
        """How the runs ended, and each that has faults."""
        kinds = Counter(str(line.get("kind", line.get("work", ""))) for line in self._lines.values())
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        faults = [f"  {line['seed']}: {line['faults']}" for line in self._lines.values() if line["faults"]]
        return "\n".join([f"{len(self._lines)} runs ({told}), {len(faults)} with faults.", *faults])

    def _keep(self, text: str) -> None:
        try:
            line = json.loads(text)
            self._lines[line["seed"]] = line
        except (ValueError, KeyError):
            return  # it is run again
