"""Edits kept as they were made, so that another measure or another CLIP needs no engine."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from torch import Tensor

from ..models.files import open_weights, read_tensors
from ..training.latent_cache import made_folder
from ..video.keyframes import Keyframe, Keyframes
from ..whole_files import whole_file
from .cases import LoadedCase
from .engine import Engine, Made

EDITS, FRAMES, KEY, SECONDS = "edits", "frames_fhwc", "key", "seconds"

log = logging.getLogger("vivid")


class KeptEdits:
    """The edits in an output folder: every frame in full precision, 12 bytes a pixel.

    Raises ValueError when the folder can't be made.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = made_folder(Path(folder) / EDITS)

    def get(self, case: LoadedCase, engine: Engine, seed: int) -> tuple[Made, float] | None:
        """A kept edit, and how many seconds it took; None where there is none, or a damaged one."""
        path = self._path(case, engine, seed)
        if not path.exists():
            return None
        try:
            files = open_weights(path)
            tensors = {name: tensor.clone() for name, tensor in read_tensors(files).items()}
            frames = tensors.pop(FRAMES)
            keys = Keyframes(Keyframe(int(name.removeprefix(KEY)), image) for name, image in tensors.items())
            if frames.shape != case.frames_fhwc.shape:
                raise ValueError(f"it holds frames of shape {tuple(frames.shape)}")
            return Made(frames, keys), float(files.metadata[SECONDS])
        except (ValueError, KeyError, TypeError) as fault:
            log.warning("%s is damaged (%s) and is made again.", path.name, fault)
            return None

    def put(self, case: LoadedCase, engine: Engine, seed: int, made: Made, seconds: float) -> None:
        """Keep an edit. Raises ValueError when it can't be written."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        images: dict[str, Tensor] = {f"{KEY}{key.index}": key.image_hwc for key in made.keyframes}
        tensors = {name: one.float().contiguous().clone() for name, one in {FRAMES: made.frames_fhwc, **images}.items()}
        with whole_file(self._path(case, engine, seed), SafetensorError) as unfinished:
            save_file(tensors, unfinished, {SECONDS: repr(seconds)})

    def _path(self, case: LoadedCase, engine: Engine, seed: int) -> Path:
        made_of = json.dumps([case.identity, engine.identity, seed if engine.seeded else None])
        return self._folder / f"{hashlib.sha256(made_of.encode()).hexdigest()}.safetensors"
