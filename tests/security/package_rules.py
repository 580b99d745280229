"""What the packages of the development environment must be: their licences, and versions without known holes.

Nothing of this is installed with the pack; it is what CI runs with, and what many users have beside ComfyUI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "harness" / "environment.lock"
BESIDE_THE_LOCK = ("sam2",)  # installed by tests/harness/environment.py
LICENCE_FILE_LINES = 15

# Free licences under which we may use, change and pass on what we install, and one that lets us use alone.
ALLOWED = {
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "BSD", "0BSD", "ISC", "PSF-2.0", "MPL-2.0", "Zlib", "CC0-1.0",
    "MIT-CMU", "CNRI-Python",
}  # fmt: skip
# As packages write them where they don't use SPDX's words.
SPELLINGS = {
    "apache": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0", "mit license": "MIT", "bsd license": "BSD", "isc license": "ISC",
    "isc license (iscl)": "ISC", "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "mit licensed, as found in the license file": "MIT",
}  # fmt: skip
# Not free, or silent about it: each with why it may be here.
EXCEPTIONS = {
    **dict.fromkeys(
        ("cublas", "cuda-cupti", "cuda-nvrtc", "cuda-runtime", "cudnn-cu13", "cufft", "cufile", "curand", "cusolver")
        + ("cusparse", "cusparselt-cu13", "nccl-cu13", "nvjitlink", "nvshmem-cu13", "nvtx"),
        "NVIDIA's own licence; comes with PyTorch and is never passed on",
    ),
    "cuda-toolkit": "an empty package that names NVIDIA's; comes with PyTorch",
    "comfyui-embedded-docs": "GPL-3.0, as ComfyUI itself, whose help pages it holds; never imported by the pack",
    "comfyui_frontend_package": "says nothing; GPL-3.0, as ComfyUI, whose page it is; never imported by the pack",
}


@dataclass(frozen=True)
class Hole:
    """Versions before `fixed` have the hole `name`."""

    fixed: str
    name: str


# Read in public advisories on DATE. `make audit` asks the databases of today, for all packages; this table needs none.
DATE = "2026-11-21"
HOLES: Mapping[str, tuple[Hole, ...]] = {
    "torch": (Hole("2.6.0", "CVE-2025-32434"), Hole("2.10.0", "CVE-2026-24747")),
    "transformers": (Hole("5.3.0", "CVE-2026-4372"),),
    "aiohttp": (Hole("3.13.4", "CVE-2026-34525"), Hole("3.13.4", "CVE-2026-22815")),
    "h11": (Hole("0.16.0", "CVE-2025-43859"),),
    "urllib3": (Hole("2.6.3", "CVE-2026-21441"), Hole("2.7.0", "CVE-2026-44432")),
    "pillow": (Hole("12.2.0", "CVE-2026-42308"),),
    "sentencepiece": (Hole("0.2.1", "CVE-2026-1260"),),
    "filelock": (Hole("3.20.3", "CVE-2026-22701"),),
}


def locked() -> dict[str, str]:
    """The pinned packages and their versions."""
    lines = [line.strip() for line in LOCK.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def licences(found: Distribution) -> list[str]:
    """What a package says its licence is, in SPDX's words where they are known; empty where it says nothing."""
    told = found.metadata
    if expression := told.get("License-Expression"):
        return [one for one in re.split(r"\s+(?:AND|OR)\s+|[()]", expression) if one]
    written = (told.get("License") or "").strip()
    if written and len(written) < 60 and "\n" not in written:
        return [spelled(one) for one in re.split(r"\s+AND\s+", written)]
    classes = [one.split(" :: ")[-1] for one in told.get_all("Classifier", []) if one.startswith("License ::")]
    return [spelled(one) for one in classes if one != "DFSG approved"]


def spelled(licence: str) -> str:
    """A licence in SPDX's words, if they are known."""
    return SPELLINGS.get(licence.lower(), licence)


def licence_fault(name: str) -> str | None:
    """Why a package may not be here, as a sentence; None when it may."""
    if name.removeprefix("nvidia-") in EXCEPTIONS:
        return None
    try:
        told = licences(distribution(name))
    except PackageNotFoundError:
        return f"{name} is not installed, so its licence can't be read; build the environment of this lock file."
    wrong = [one for one in told if one not in ALLOWED]
    if told and not wrong:
        return None
    said = ", ".join(wrong) if wrong else "nothing"
    return f"{name} says {said} of its licence; look at it, and add it to ALLOWED, SPELLINGS or EXCEPTIONS, or drop it."


def holes_in(name: str, version: str) -> list[str]:
    """The known holes of one version of a package."""
    return [one.name for one in HOLES.get(name, ()) if numbers(version) < numbers(one.fixed)]


def numbers(version: str) -> tuple[int, ...]:
    """A version for comparing, without what stands behind its numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0]))
