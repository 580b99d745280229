"""How the benchmarks measure: seconds in interleaved pairs, and peak memory in a fresh process."""

from __future__ import annotations

import ctypes
import gc
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 4000
SAMPLE_EVERY_S = 0.002
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
# glibc then gives freed memory back at once, so that the peak is what the code holds, not what lies about.
GIVES_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


class Paired(NamedTuple):
    """Medians in seconds, and the median of the pairs' ratios ours / peer (below 1: ours is faster) with its
    95 % interval."""

    ours_s: float
    peer_s: float
    ratio: float
    interval: tuple[float, float]

    @property
    def times_faster(self) -> tuple[float, tuple[float, float]]:
        """The same the other way round: peer / ours and its interval."""
        low, high = self.interval
        return 1 / self.ratio, (1 / high, 1 / low)


def paired(
    ours: Callable[[], object],
    peer: Callable[[], object],
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
    warm: bool = False,
) -> Paired:
    """Time `ours` and `peer` in interleaved pairs, after one call of each that does not count; not where both are
    `warm`, since their results were compared before.

    Who goes first alternates, so that a machine that slows down or speeds up favours neither.
    """
    if pairs < 1:
        raise ValueError(f"Got {pairs} pairs to time, but at least 1 is needed.")
    if not warm:
        ours(), peer()
    times = np.empty((pairs, 2))
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            gc.collect()
            start = clock()
            (ours, peer)[which]()
            times[pair, which] = clock() - start
    ratios = times[:, 0] / times[:, 1]
    ours_s, peer_s = (float(median) for median in np.median(times, 0))
    return Paired(ours_s, peer_s, float(np.median(ratios)), median_interval(ratios))


def clock_of(device: str) -> Callable[[], float]:
    """Seconds, once all that was given to a device is done."""
    if device == "cpu":
        return time.perf_counter
    import torch

    def after_all() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return after_all


def median_interval(values: Any, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median of `values`."""
    values = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[drawn], 1), (2.5, 97.5))
    return float(low), float(high)


def peak_extra_bytes(code: str) -> int:
    """How many bytes the peak of resident memory lies above the state at `baseline()`, measured in a fresh Python.

    `code` can import `vivid_core`. It calls `baseline()` when its inputs are ready, and `done(*outputs)` at the end;
    the bytes of the tensors given to `done` are not counted.

    Raises RuntimeError when the code fails or does not call both.
    """
    with tempfile.TemporaryDirectory() as folder:
        script, answer = Path(folder, "code.py"), Path(folder, "bytes")
        script.write_text(code, encoding="utf-8")
        child = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), str(script), str(answer)],
            env=os.environ | GIVES_BACK,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if child.returncode:
            raise RuntimeError(f"The measured code failed with exit status {child.returncode}:\n{child.stderr}")
        if not answer.exists():
            raise RuntimeError("The measured code did not call baseline() and then done().")
        return int(answer.read_text())


def memory_beside(name: str, what: str, ours: str, peer: str, goal: float, runs: int) -> dict[str, Any]:
    """The line of a benchmark on memory: `ours` and `peer` as `peak_extra_bytes` measures them, `runs` times, in GB,
    and ours against the `goal`. The interval is from the smallest to the largest run."""
    own, other = ([peak_extra_bytes(code) / 1e9 for _ in range(runs)] for code in (ours, peer))
    middle, plain = statistics.median(own), statistics.median(other)
    return {
        "name": name,
        "ours": round(middle, 3),
        "peer": round(plain, 3),
        "ratio": round(middle / plain, 3),
        "interval": [round(min(own), 3), round(max(own), 3)],
        "goal": goal,
        "met": max(own) <= goal,
        "unit": "GB",
        "what": f"{what}; interval: smallest and largest run",
    }


def memory_growth(
    name: str, what: str, code_for: Callable[[int], str], sizes: tuple[int, int], goal: float, runs: int, unit: float
) -> dict[str, Any]:
    """The line of a benchmark on how memory grows: `code_for` gives the code for each of `sizes` (long, short), which
    `peak_extra_bytes` measures `runs` times, in `unit` bytes. The interval is from the smallest to the largest run.
    """
    pairs = [[peak_extra_bytes(code_for(size)) / unit for size in sizes] for _ in range(runs)]
    ours, peer = (round(float(np.median([pair[which] for pair in pairs])), 3) for which in (0, 1))
    ratios = [long / short for long, short in pairs]
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "ratio": round(float(np.median(ratios)), 3),
        "interval": [round(min(ratios), 3), round(max(ratios), 3)],
        "also": f"{ours * unit / 1e6:.3g} MB over {peer * unit / 1e6:.3g} MB",
        "goal": goal,
        "met": max(ratios) <= goal,
        "unit": "x",
        "what": what,
    }


class PeakMeter:
    """The peak of this process's resident memory since `baseline`, by the kernel's own mark where it can be reset."""

    def __init__(self, answer: Path) -> None:
        self.answer = answer
        self.start: int | None = None
        self.sampler: _Sampler | None = None

    def baseline(self) -> None:
        """Everything from here on counts."""
        _release_free_memory()
        if not _reset_peak():
            self.sampler = _Sampler()
            self.sampler.start()
        self.start = resident_bytes()

    def done(self, *outputs: Any) -> None:
        """Write the peak down, less the bytes of `outputs`."""
        if self.start is None:
            raise RuntimeError("done() was called before baseline().")
        peak = _status_bytes("VmHWM") if self.sampler is None else self.sampler.stop()
        kept = sum(output.numel() * output.element_size() for output in outputs)
        self.answer.write_text(str(max(0, peak - self.start - kept)))


def resident_bytes() -> int:
    """The resident memory of this process."""
    if STATUS.exists():
        return _status_bytes("VmRSS")
    import psutil

    return int(psutil.Process().memory_info().rss)


class _Sampler(threading.Thread):
    """Looks at the resident memory again and again; misses peaks shorter than its interval."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_EVERY_S):
            self.peak = max(self.peak, resident_bytes())

    def stop(self) -> int:
        self._stopped.set()
        self.join()
        return max(self.peak, resident_bytes())


def _reset_peak() -> bool:
    """Set the kernel's high-water mark to the memory in use now; False where that does not work."""
    try:
        CLEAR_REFS.write_text("5")
        return _status_bytes("VmHWM") <= _status_bytes("VmRSS") + 2**22
    except OSError:
        return False


def _status_bytes(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return 1024 * int(line.split()[1])


def _release_free_memory() -> None:
    """Memory that was freed but is still held would hide what the measured code needs."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)


def _measure(script: str, answer: str) -> None:
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (here, here.parent)]
    sys.path.append(str(here.parent / "tests"))
    from harness.packages import import_from_root

    import_from_root("vivid_core")
    meter = PeakMeter(Path(answer))
    runpy.run_path(script, {"baseline": meter.baseline, "done": meter.done})


if __name__ == "__main__":
    _measure(*sys.argv[1:])
