"""Clips and masks of a dataset on the disk: video files, folders of frames, single images, safetensors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..video.reading import read_frames, read_info

VIDEOS = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"}
IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
FORMATS = ("PNG", "JPEG", "WEBP")
TENSORS = ".safetensors"
FRAMES, MASK = "frames", "mask"  # in a safetensors file: uint8 [F, H, W, 3] and [F, H, W], 255 = edit


@dataclass(frozen=True)
class MediaInfo:
    """How long and how large a clip or mask is."""

    frames: int
    height: int
    width: int


def media_info(path: Path, tensor: str = FRAMES) -> MediaInfo:
    """Length and size; `tensor` is the one that counts in a safetensors file.

    Raises ValueError, in one sentence with the file's name, when it is missing, damaged or of no known kind.
    """
    if path.suffix.lower() == TENSORS and path.is_file():
        shape = _tensor(path, tensor).shape
        return MediaInfo(*shape[:3])
    images = _images(path)
    if images:
        return MediaInfo(len(images), *_read_image(images[0]).shape[:2])
    if path.suffix.lower() in VIDEOS and path.is_file():
        info = read_info(path)
        return MediaInfo(info.frames, info.height, info.width)
    raise ValueError(
        f"{path}: there is no such clip; it must be a video file, an image, a folder of images, or a safetensors file "
        f'that holds "{tensor}".'
    )


def read_media(path: Path, tensor: str = FRAMES) -> Iterator[Tensor]:
    """The frames, one at a time: uint8 [H, W, 3]; of a mask, uint8 [H, W] or [H, W, 3], above 127 = edit.

    Raises ValueError as `media_info` does.
    """
    if path.suffix.lower() == TENSORS and path.is_file():
        yield from _tensor(path, tensor)
        return
    images = _images(path)
    if images:
        yield from (_read_image(image) for image in images)
        return
    media_info(path, tensor)
    yield from read_frames(path)


def _images(path: Path) -> list[Path]:
    """The images that a path means, in their order: frame 2 before frame 10."""
    if path.suffix.lower() in IMAGES and path.is_file():
        return [path]
    if not path.is_dir():
        return []
    found = [file for file in path.iterdir() if file.suffix.lower() in IMAGES]
    return sorted(
        found, key=lambda file: [int(part) if part.isdigit() else 0 for part in re.split(r"(\d+)", file.stem)]
    )


def _read_image(path: Path) -> Tensor:
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:  # its name says nothing, and some other kinds run programs
            return torch.from_numpy(np.array(image.convert("RGB")))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:  # what Pillow raises on damage
        raise ValueError(f"{path}: this can't be read as an image; export or download it again.") from fault


def _tensor(path: Path, name: str) -> Tensor:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            held: Any = file.get_tensor(name) if name in list(file.keys()) else None
    except (OSError, SafetensorError) as fault:
        raise ValueError(f"{path}: the file is damaged or cut short; save the sample again.") from fault
    if held is None or held.dtype != torch.uint8 or held.ndim not in (3, 4) or 0 in held.shape:
        raise ValueError(
            f'{path}: the file must hold "{name}" as uint8 [frames, height, width(, 3)]; save the sample again.'
        )
    return held
