"""Captions of whole scenes: what is there, how it moves, and over what.

Frozen: a model is trained on these words.
"""

from __future__ import annotations

from ..world.words import COLOURS, SHAPES, SIZES, TEXTURES

MOTIONS = {
    "still": "standing still",
    "left": "moving left",
    "right": "moving right",
    "up": "moving up",
    "down": "moving down",
    "spin": "spinning",
    "grow": "growing",
    "shrink": "shrinking",
}
ROUND = ("circle", "ring")  # nobody sees these spin


def thing_words(colour: str, shape: str, size: str = "", motion: str = "") -> str:
    """What a caption says of one thing: `size` of `SIZES` and `motion` of `MOTIONS` may be left out.

    "a red ring", "a small red ring moving left". Raises ValueError on a motion that is not known.
    """
    if motion and motion not in MOTIONS:
        raise ValueError(f'World: got the motion "{motion}"; choose one of {", ".join(MOTIONS)}.')
    words = ("a", size, colour, shape, MOTIONS[motion] if motion else "")
    return " ".join(word for word in words if word)


def scene_words(things: list[str], texture: str = "") -> str:
    """The caption of a scene of these things, with the backdrop's texture if it is to be said."""
    said = " and ".join(things)
    return f"{said} over {texture}" if texture else said


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold, sorted."""
    texts = [*SHAPES, *COLOURS, *SIZES, *TEXTURES, *MOTIONS.values(), "a and over"]
    return tuple(sorted({word for text in texts for word in text.split()}))
