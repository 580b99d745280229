"""Latents kept on the disk: while only a transformer learns, the VAE needs to see each clip and each hole once."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from ..editors.adapters.cogvideox import CogVideoXAdapter
from ..editors.contract import Place

KEPT = torch.float16
NAME = "latents"
UNFINISHED = "."  # how the names of unfinished files begin
ABANDONED = 3600.0  # seconds after which an unfinished file belongs to nobody
Hold = Callable[[int, int, int, int], AbstractContextManager[None]]


class LatentCache:
    """A VAE that remembers: call it with frames_bfhwc in 0..1, get scaled latents_bfchw, float32 on the CPU.

    Latents are known by what they were made from: the frames' content and `identity` (the VAE's). They are always
    rounded to 16 bits, so that a run is the same whatever was kept. `max_bytes` bounds the folder; beyond it nothing
    more is kept. Each of the `processes` that use the folder together fills its part of what is free.
    `hold(batch, frames, height, width)` has the VAE ready; it is asked only when something is missing.
    """

    def __init__(
        self,
        adapter: CogVideoXAdapter,
        vae: nn.Module,
        place: Place,
        identity: str,
        folder: str | Path,
        max_bytes: int = 20_000_000_000,
        hold: Hold = lambda *size: nullcontext(),
        processes: int = 1,
    ) -> None:
        """Raises ValueError when the folder can't be made."""
        self._adapter, self._vae, self._place, self._hold = adapter, vae, place, hold
        self._begin = f"{identity}/{adapter.scale}/"
        self._folder = made_folder(folder)
        _tidy(self._folder)
        used = sum(_size(file) for file in self._folder.iterdir())
        self._left = (max_bytes - used) // processes
        self.encoded = 0

    def __call__(self, frames_bfhwc: Tensor) -> Tensor:
        """Latents of every clip of a batch."""
        keys = [self._key(frames) for frames in frames_bfhwc]
        found = [self._kept(key) for key in keys]
        missing = [index for index, latents in enumerate(found) if latents is None]
        if missing:
            with self._hold(1, *frames_bfhwc.shape[1:4]):
                for index in missing:  # one by one: a VAE needs more room for a clip than a transformer
                    found[index] = self._made(frames_bfhwc[index], keys[index])
        return torch.stack([latents.float() for latents in found if latents is not None])

    def _made(self, frames_fhwc: Tensor, key: str) -> Tensor:
        latents = self._adapter.encode(frames_fhwc[None], self._vae, self._place)[0].to("cpu", KEPT)
        self.encoded += 1
        if bool(torch.isfinite(latents).all()):  # or a VAE that failed once would go on failing after it was mended
            self._keep(key, latents)
        return latents

    def _key(self, frames_fhwc: Tensor) -> str:
        content = hashlib.sha256(f"{self._begin}{tuple(frames_fhwc.shape)}".encode())
        content.update(memoryview(frames_fhwc.contiguous().numpy()).cast("B"))
        return content.hexdigest()

    def _kept(self, key: str) -> Tensor | None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load((self._folder / key).read_bytes())[NAME]
        except (OSError, SafetensorError, KeyError):  # not there, or half of it: it is made again
            return None

    def _keep(self, key: str, latents: Tensor) -> None:
        from safetensors.torch import save

        content = save({NAME: latents.contiguous()})
        if len(content) > self._left:
            return
        unfinished = self._folder / f"{UNFINISHED}{uuid.uuid4().hex}"
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, self._folder / key)
            self._left -= len(content)
        except OSError:  # a full disk: what can't be kept is made again
            unfinished.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Take away what runs that were killed have left."""
    for file in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # another process has just given it its name
        return 0


def made_folder(folder: str | Path) -> Path:
    """The folder, made if it was not there. Raises ValueError, in one sentence, when it can't be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ValueError(f"{folder}: the folder can't be made ({fault.strerror}); choose another one.") from fault
    return Path(folder)
