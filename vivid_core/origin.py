"""Where figures come from: the pack's commit, the day, and the machine in plain words. For documents that commands
write."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path

COMMIT = "VIVID_COMMIT"  # a variable of the environment: the pack itself calls no other program
UNKNOWN = "unknown"
MEMORY = Path("/proc/meminfo")
DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))  # of NVIDIA, of AMD, in WSL


def commit() -> str:
    """The commit of the pack as who calls the command has told it; "unknown" otherwise."""
    return os.environ.get(COMMIT, "").strip() or UNKNOWN


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
