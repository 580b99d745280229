"""Where figures come from: the pack's commit, the day, and the machine in plain words. For documents that commands
write."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNKNOWN = "unknown"
CHANGED = " with changes"
WRITTEN = "docs"  # by the commands themselves: not a change of the code
MEMORY = Path("/proc/meminfo")
DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))  # of NVIDIA, of AMD, in WSL


def commit(root: Path = ROOT) -> str:
    """The commit of the pack in `root`, 7 digits or more, with "with changes" after it where files of it were changed
    since or are new (those in `docs/` don't count); "unknown" without git, or where the pack is only a part of another
    repository."""
    top, head = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "--short", "HEAD")
    if top is None or head is None or Path(top).resolve() != root.resolve():
        return UNKNOWN
    changed = _git(root, "status", "--porcelain", "--", ".", f":!{WRITTEN}")
    return head + (CHANGED if changed != "" else "")


def today() -> str:
    """The day in UTC, as 2026-01-31."""
    return datetime.now(timezone.utc).date().isoformat()


def machine() -> str:
    """What it has, without its name: cores that this process may use, memory, and which GPU."""
    parts = [f"{cores()} CPU cores ({platform.machine() or 'unknown kind'})"]
    memory = _memory_gb()
    if memory is not None:
        parts.append(f"{memory:.0f} GB of memory")
    return ", ".join([*parts, gpu() or "no GPU"])


def gpu() -> str | None:
    """How many GPUs of which kind torch has by CUDA or ROCm; None without one. On Linux torch is only asked where a
    driver is there, since importing it takes seconds."""
    if sys.platform == "linux" and not any(driver.exists() for driver in DRIVERS):
        return None
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"{count} x {torch.cuda.get_device_name(0)}" if count else None


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float | None:
    if not MEMORY.exists():
        return None
    line = next((one for one in MEMORY.read_text().splitlines() if one.startswith("MemTotal:")), None)
    return None if line is None else int(line.split()[1]) * 1024 / 1e9


def _git(root: Path, *command: str) -> str | None:
    """What git says; None where there is none, or it fails."""
    try:
        said = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() if said.returncode == 0 else None
