"""Clips and tracks as files in ComfyUI's temp folder, for the editor in the page.

A clip is written once, as JPEG pictures, and known again by its content. Few are kept: a browser that still wants an
older one has it written again by the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from PIL import Image
from torch import Tensor

from ...vivid_core.masks.runs import to_runs
from ...vivid_core.masks.track_plan import clip_digest
from ...vivid_core.masks.tracks import Track
from ...vivid_core.metrics import drawing
from ...vivid_core.metrics.health import Health
from ...vivid_core.optional import opencv
from ...vivid_core.runtime import Runtime
from .progress import Uncounted

CLIPS, TRACKS = "vivid_clips", "vivid_tracks"
SIDE = 1280  # the longest side of what the page is shown
QUALITY = 85
MOST_CLIPS, MOST_CLIP_BYTES = 4, 1_000_000_000
MOST_TRACKS, MOST_TRACK_BYTES = 16, 256_000_000
NAMES = "%06d.jpg"
UNFINISHED = ".part"
EDITOR = "Showing a clip in the editor"  # what OpenCV is needed for


def clip_ui(frames_fhwc: Tensor, runtime: Runtime) -> dict[str, Any]:
    """Have the clip written, and say where the page finds it. `runtime` counts one step for each frame.

    A cancelled run leaves no half clip. Raises ValueError when the temp folder can't be written.
    """
    count, height, width = frames_fhwc.shape[:3]
    digest = clip_digest(frames_fhwc)
    shown = shown_size(width, height)
    folder = _folder(CLIPS) / digest
    if len(list(folder.glob("*.jpg"))) == count:
        os.utime(folder)
        for _ in range(count):
            runtime.advance()
    else:
        _write_clip(frames_fhwc, folder, shown, runtime)
    _keep_newest(folder.parent, folder, MOST_CLIPS, MOST_CLIP_BYTES)
    place = {"subfolder": f"{CLIPS}/{digest}", "type": "temp", "names": NAMES}
    size = {"frames": count, "width": width, "height": height, "shown_width": shown[0], "shown_height": shown[1]}
    return {"vivid_clip": [{"digest": digest, **size, **place}]}


def track_ui(track: Track, frames_fhwc: Tensor, health: Health) -> dict[str, Any]:
    """Have the track written for the page, and say where it is. The masks are shrunk as the clip's pictures are.

    Raises ValueError when the temp folder can't be written.
    """
    digest = clip_digest(frames_fhwc)
    height, width = track.size
    shown = shown_size(width, height)
    content = {
        "version": 1,
        "frames": track.frame_count,
        "width": shown[0],
        "height": shown[1],
        "objects": [{"id": number, "runs": _runs(track, number, shown)} for number in track.object_ids],
        "health": health.as_dict(),
    }
    text = json.dumps(content, separators=(",", ":"))
    # The clip alone is no name: two nodes may follow different objects of one clip.
    name = f"track_{digest[:16]}_{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    path = _folder(TRACKS) / name
    unfinished = path.with_name(f"{name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        unfinished.write_text(text)
        os.replace(unfinished, path)
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    _keep_newest(path.parent, path, MOST_TRACKS, MOST_TRACK_BYTES)
    return {"vivid_track": [{"digest": digest, "subfolder": TRACKS, "type": "temp", "filename": name}]}


def shown_size(width: int, height: int) -> tuple[int, int]:
    """The size in which the page is shown frames of width x height: never larger than they are."""
    return (width, height) if max(width, height) <= SIDE else drawing.fitted(width, height, SIDE, SIDE)


def _write_clip(frames_fhwc: Tensor, folder: Path, size: tuple[int, int], runtime: Runtime) -> None:
    cv2 = opencv(EDITOR)
    unfinished = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        unfinished.mkdir()
        for index, frame_hwc in enumerate(frames_fhwc):
            shown = cv2.convertScaleAbs(_shrunk(frame_hwc.numpy(), size), alpha=255.0)
            Image.fromarray(shown).save(unfinished / (NAMES % index), "JPEG", quality=QUALITY)
            runtime.advance()
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except OSError as fault:
        raise _unwritable(folder, fault) from fault
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _runs(track: Track, object_id: int, size: tuple[int, int]) -> list[list[int] | None]:
    """The runs of one object on each frame at (width, height); None where it isn't seen."""
    found: list[list[int] | None] = []
    may_stop = Uncounted()
    for frame in range(track.frame_count):
        may_stop.advance()
        inside = track.mask(frame, [object_id])
        seen = bool(inside.any())
        found.append(to_runs(_shrunk(inside.numpy().view(np.uint8) * 255, size) > 127) if seen else None)
    return found


def _shrunk(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at (width, height), each pixel the mean of what it covers; as it is if it has that size."""
    if picture.shape[1::-1] == size:
        return np.ascontiguousarray(picture)
    cv2 = opencv(EDITOR)
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)


def _folder(name: str) -> Path:
    folder = Path(folder_paths.get_temp_directory()) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise _unwritable(folder, fault) from fault
    return folder


def _unwritable(path: Path, fault: OSError) -> ValueError:
    return ValueError(
        f"The pictures for the page can't be written to {path.parent} ({fault.strerror or fault}); make room there or "
        "start ComfyUI with another temp folder."
    )


def _keep_newest(folder: Path, current: Path, most: int, most_bytes: int) -> None:
    """Take away what was used longest ago, until so many and so much are left; never `current`."""
    found = sorted((entry for entry in folder.iterdir() if entry != current), key=_age)
    kept, room = 1, most_bytes - _size(current)
    for entry in found:
        room -= _size(entry)
        kept += 1
        if kept <= most and room >= 0:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _age(entry: Path) -> float:
    """For sorting, the newest first."""
    return -entry.stat().st_mtime


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.iterdir()) if entry.is_dir() else entry.stat().st_size
