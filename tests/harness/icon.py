"""Draws icon.png, the pack's picture in the registry and in ComfyUI Manager: run it once after a change.

A frame of film; in it an object with its mask's rim, and below it the timeline with one keyframe.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

ICON = Path(__file__).resolve().parents[2] / "icon.png"
SIDE, FINE = 256, 4  # pixels of the icon, and how much larger it is drawn so that its edges are smooth
NIGHT, FILM, PAPER = (24, 26, 42), (46, 50, 78), (232, 236, 246)
OBJECT, RIM, KEY = (255, 107, 107), (255, 214, 102), (77, 208, 225)


def scaled(*numbers: float) -> tuple[float, ...]:
    return tuple(number * FINE for number in numbers)


def draw() -> Image.Image:
    """The icon, RGBA, SIDE x SIDE."""
    image = Image.new("RGBA", (SIDE * FINE, SIDE * FINE))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle(scaled(4, 4, 252, 252), 44 * FINE, fill=NIGHT)
    pen.rounded_rectangle(scaled(30, 34, 226, 176), 14 * FINE, fill=FILM)
    pen.ellipse(scaled(82, 50, 174, 160), outline=RIM, width=6 * FINE)
    pen.ellipse(scaled(97, 65, 159, 145), fill=OBJECT)
    pen.line(scaled(34, 212, 222, 212), fill=PAPER, width=6 * FINE)
    for x in (34, 81, 175, 222):
        pen.line(scaled(x, 203, x, 221), fill=PAPER, width=5 * FINE)
    pen.polygon([scaled(128, 188), scaled(150, 212), scaled(128, 236), scaled(106, 212)], fill=KEY)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(ICON, optimize=True)
