"""Small real clips for the tests of the server and the page: a textured square glides over a textured ground."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

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
