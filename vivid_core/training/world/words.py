"""The words of the world: what there is in it, and the captions that name it.

Frozen: a model is trained on these words, and its results are reported for the pairs that it never saw.
"""

from __future__ import annotations

SHAPES = ("circle", "square", "triangle", "cross", "ring")
NEW_SHAPES = ("heart",)  # never in the world: for teaching a trained model something it has never seen
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 45, 45),
    "green": (45, 180, 65),
    "blue": (50, 80, 230),
    "yellow": (240, 220, 50),
    "purple": (165, 60, 205),
    "orange": (250, 140, 30),
    "cyan": (50, 210, 225),
    "white": (245, 245, 245),
}
SIZES: dict[str, tuple[float, float]] = {"small": (0.155, 0.185), "large": (0.20, 0.235)}  # half a side, of the frame
MOTIONS = ("drift", "bounce", "sway", "orbit")
TEXTURES = ("stripes", "checks", "waves", "dots")

# 10 % of all pairs: each shape and each colour is trained, but never these together.
UNSEEN_PAIRS = (("circle", "orange"), ("square", "cyan"), ("triangle", "blue"), ("ring", "red"))
SEEN_PAIRS = tuple((shape, colour) for shape in SHAPES for colour in COLOURS if (shape, colour) not in UNSEEN_PAIRS)

CAPTION_LENGTHS = ("short", "medium", "long")
DELETION_CAPTION = "Remove objects and generate areas that blend with the background."  # the paper's, to the letter
MOTION_WORDS = {
    "drift left": "drifting to the left",
    "drift right": "drifting to the right",
    "drift up": "drifting upwards",
    "drift down": "drifting downwards",
    "bounce": "bouncing up and down",
    "sway": "swaying from side to side",
    "orbit": "going round and round",
}


def caption(shape: str, colour: str, size: str, motion: str, length: str) -> str:
    """What the local caption of an object says: `motion` is a key of `MOTION_WORDS`.

    "red ring", "a small red ring", or "a small red ring bouncing up and down". Raises ValueError on another length.
    """
    if length == "short":
        return f"{colour} {shape}"
    if length == "medium":
        return f"a {size} {colour} {shape}"
    if length == "long":
        return f"a {size} {colour} {shape} {MOTION_WORDS[motion]}"
    raise ValueError(f'Captions: got the length "{length}"; choose one of {", ".join(CAPTION_LENGTHS)}.')


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold, in lower case and sorted, the new shapes and the deletion caption too."""
    texts = [*SHAPES, *NEW_SHAPES, *COLOURS, *SIZES, "a", *MOTION_WORDS.values(), DELETION_CAPTION]
    return tuple(sorted({word for text in texts for word in text.lower().replace(".", "").split()}))
