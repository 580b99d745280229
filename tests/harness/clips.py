"""Small real clips for the tests of the server and the page: a textured square glides over a textured ground."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

FRAMES, WIDTH, HEIGHT, SIDE = 16, 192, 128, 48
START, STEP = (30, 36), (5, 2)  # where the square's corner is, and how far it goes each frame, in pixels
BOX = f"{START[0] - 4}, {START[1] - 4}, {SIDE + 8}, {SIDE + 8}"


def texture(height: int, width: int, seed: int, tint: tuple[float, float, float]) -> np.ndarray:
    """Blocky noise that optical flow can hold on to, uint8 [height, width, 3]."""
    generator = np.random.default_rng(seed)
    coarse = generator.random((height // 4 + 1, width // 4 + 1, 1))
    noise = np.kron(coarse, np.ones((4, 4, 1)))[:height, :width]
    return (noise * 140 * np.asarray(tint) + 40).clip(0, 255).astype(np.uint8)


def moving_square() -> list[np.ndarray]:
    """The clip's frames, uint8 [HEIGHT, WIDTH, 3]."""
    ground, square = texture(HEIGHT, WIDTH, 1, (0.6, 1.0, 0.7)), texture(SIDE, SIDE, 2, (1.4, 0.7, 0.3))
    frames = []
    for index in range(FRAMES):
        frame = ground.copy()
        x, y = START[0] + STEP[0] * index, START[1] + STEP[1] * index
        frame[y : y + SIDE, x : x + SIDE] = square
        frames.append(frame)
    return frames


def write_clip(path: Path, sound: bool = True) -> Path:
    """Write the moving square as a real mp4 with a tone, 12 frames a second."""
    import av

    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=Fraction(12))
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture.options = {"crf": "12"}
        tone = container.add_stream("aac", rate=44100) if sound else None
        for frame in moving_square():
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode())
        if tone is not None:
            samples = np.sin(np.arange(44100 * FRAMES // 12) * 0.06).astype(np.float32)[None] * 0.2
            audio = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            audio.sample_rate = 44100
            container.mux(tone.encode(audio))
            container.mux(tone.encode())
    return path


def write_film(
    path: Path,
    count: int,
    size: tuple[int, int] = (64, 48),
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 24),
    last: int = 1,
    rotation: int = 0,
    sound: str | None = None,
    sound_seconds: float | None = None,
    tracks: int = 1,
    transfer: int = 2,
    pix_fmt: str = "yuv420p",
    keys_every: int = 6,
    seed: int = 3,
) -> Path:
    """A film of (width, height) with B-frames whose picture glides: `pts` in `time_base` (evenly by default), the last
    frame shown for `last` of it, turned by `rotation` degrees, with a tone in the codec `sound`, on as many `tracks`.
    `transfer` is H.264's number of how light becomes numbers; 2 says nothing."""
    import av

    width, height = size
    times = list(range(count)) if pts is None else list(pts)
    ground = texture(height, width + 2 * count, seed, (0.6, 1.0, 0.7))
    with av.open(str(path), "w") as container:
        options = {"crf": "8", "g": str(keys_every), "bf": "0" if pts else "2"}
        picture = container.add_stream("libx264", rate=Fraction(24), options=options)
        picture.width, picture.height, picture.pix_fmt = width, height, pix_fmt
        picture.codec_context.time_base, picture.codec_context.color_trc = time_base, transfer
        if rotation:
            picture.set_display_rotation(rotation)
        if sound is not None:
            length = float((times[-1] + last) * time_base) if sound_seconds is None else sound_seconds
            for tone in [_add_tone(container, sound) for _ in range(tracks)]:
                _write_tone(container, tone, length)
        for index, at in enumerate(times):
            pixels = np.ascontiguousarray(ground[:, 2 * index : 2 * index + width])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = at, time_base
            container.mux(_lasting(picture.encode(frame), times, last))
        container.mux(_lasting(picture.encode(None), times, last))
    return path


def _lasting(packets: list, times: list[int], last: int) -> list:
    following = dict(zip(times, [*times[1:], times[-1] + last]))
    for packet in packets:
        packet.duration = following[packet.pts] - packet.pts
    return packets


def _add_tone(container: Any, codec: str) -> Any:
    return container.add_stream(codec, rate=48000, layout="mono")


def _write_tone(container: Any, stream: Any, seconds: float) -> None:
    import av

    samples = np.sin(np.arange(int(stream.rate * seconds)) * 0.06) * 0.2
    whole = stream.codec_context.name == "pcm_s16le"
    values = (samples * 32767).astype(np.int16) if whole else samples.astype(np.float32)
    audio = av.AudioFrame.from_ndarray(values[None], format="s16" if whole else "fltp", layout="mono")
    audio.sample_rate, audio.pts = stream.rate, 0
    container.mux(stream.encode(audio))
    container.mux(stream.encode(None))
