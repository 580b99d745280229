"""Which commit this clone is, for the documents that commands write: `python tests/harness/commit.py`."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "unknown"
CHANGED = " with changes"
WRITTEN = "docs"  # by the commands themselves: not a change of the code


def commit(root: Path = ROOT) -> str:
    """The commit of the pack in `root`, 7 digits or more, with "with changes" after it where files of it were changed
    since or are new (those in `docs/` don't count); "unknown" without git, or where the pack is only a part of another
    repository."""
    top, head = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "--short", "HEAD")
    if top is None or head is None or Path(top).resolve() != root.resolve():
        return UNKNOWN
    changed = _git(root, "status", "--porcelain", "--", ".", f":!{WRITTEN}")
    return head + (CHANGED if changed != "" else "")


def _git(root: Path, *command: str) -> str | None:
    """What git says; None where there is none, or it fails."""
    try:
        said = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() if said.returncode == 0 else None


if __name__ == "__main__":
    print(commit())
