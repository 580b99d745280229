"""Files that a run left behind: none half-written, none that can't be opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def faults_of(folder: Path, unfinished: int = 0) -> Iterator[str]:
    """One sentence for each file below `folder` that is damaged; and one if more than so many are unfinished."""
    parts = [path for path in folder.rglob("*") if path.name.endswith(".part")]
    if len(parts) > unfinished:
        yield f"unfinished: {', '.join(path.name for path in parts[:4])} ({len(parts)} in all)"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in OPENERS:
            try:
                OPENERS[path.suffix](path)
            except Exception as fault:  # noqa: BLE001  (whatever the reader says, the file is damaged)
                yield f"{path.name} can't be opened: {fault}"[:200]


def _open_weights(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118  (it is no dictionary)
            file.get_tensor(name)


def _open_picture(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()


def _open_film(path: Path) -> None:
    import av

    with av.open(str(path)) as container:
        if not sum(1 for _ in container.decode(video=0)):
            raise ValueError("it has no frames")


def _open_checkpoint(path: Path) -> None:
    import torch

    torch.load(path, weights_only=True)


def _open_lines(path: Path) -> None:
    for line in path.read_text().splitlines():
        json.loads(line)


OPENERS = {
    ".safetensors": _open_weights,
    ".png": _open_picture,
    ".jpg": _open_picture,
    ".mp4": _open_film,
    ".mkv": _open_film,
    ".pt": _open_checkpoint,
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": _open_lines,
}
