"""What an engine is here: its name, its settings, and a function from a case and a seed to edited frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..runtime import Runtime
from ..video.composite import composite
from ..video.keyframes import Keyframes
from .cases import LoadedCase

WHOLE_FILE = 200_000_000  # bytes up to which a file is read as a whole to tell it from another one
SAMPLE = 1_000_000  # bytes of its begin and its end that tell a larger one


@dataclass(frozen=True)
class Made:
    """An engine's frames [F, H, W, 3] in 0..1, outside the mask as it left them, and the keyframes that it kept."""

    frames_fhwc: Tensor
    keyframes: Keyframes = field(default_factory=lambda: Keyframes(()))

    def composited(self, case: LoadedCase) -> Tensor:
        """The same inside the blend mask, the original outside it. Keyframes come back as they are."""
        done = composite(case.frames_fhwc, self.frames_fhwc, case.blend_mask_fhw)
        for key in self.keyframes:
            done[key.index] = key.image_hwc
        return done


Make = Callable[[LoadedCase, int, Runtime], Made]


@dataclass(frozen=True)
class Engine:
    """One engine with its settings. `label` names it in tables; `identity` tells it from any that would give other
    results; `seeded` is False where the seed makes no difference."""

    label: str
    name: str
    settings: Mapping[str, Any]
    make: Make = field(repr=False)
    weights: str = ""
    seeded: bool = True

    @property
    def identity(self) -> str:
        """Name, settings and weights, in one line."""
        return json.dumps([self.name, dict(sorted(self.settings.items())), self.weights], ensure_ascii=False)


def weights_identity(path: str | Path) -> str:
    """A SHA-256 that tells a model's file or folder from another one: of all bytes of small files, of size, begin and
    end of large ones.

    Raises ValueError when it is not there or can't be read.
    """
    path = Path(path)
    digest = hashlib.sha256()
    try:
        files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
        for file in files:
            digest.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
            _update(digest, file)
    except OSError as fault:
        raise ValueError(f"{path} can't be read ({fault.strerror}); choose another model.") from fault
    if not files:
        raise ValueError(f"{path}: there is no such model; give a file or a folder that holds one.")
    return digest.hexdigest()


def _update(digest: Any, file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= WHOLE_FILE:
            while piece := opened.read(SAMPLE):
                digest.update(piece)
            return
        digest.update(opened.read(SAMPLE))
        opened.seek(size - SAMPLE)
        digest.update(opened.read(SAMPLE))
