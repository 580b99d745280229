"""What UniEdit and Pix2Video claim about steering a frozen model: where, what should come out, and between which arms.

Frozen before anything was run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .line import mean
from .steered_arms import (
    ALL,
    ALONE,
    ALWAYS,
    ANCHOR,
    APPEARANCE,
    BOTH,
    ENCODER,
    FRAMES,
    LOOKS,
    MOTION,
    NO_CONTENT,
    NO_INJECTION,
    NO_UPDATE,
    PLAIN,
    PREVIOUS,
    QUERIES,
    RANDOM,
    SHARED,
    STRUCTURE,
    VALUES,
)

EXACT = 1e-10
Trials = Sequence[Mapping[str, Mapping[str, float]]]  # of each trial, the answers of each arm


@dataclass(frozen=True)
class Part:
    """A weighted sum of answers, (arm, measure) by (arm, measure), above 0 where it goes as expected; with a `margin`,
    above minus it: the one is not worse than the other by so much."""

    name: str
    weights: Mapping[tuple[str, str], float]
    margin: float = 0.0

    def differences(self, trials: Trials) -> np.ndarray:
        """Of each trial in which all that it needs is known."""
        sums = [
            sum(weight * one[arm][measure] for (arm, measure), weight in self.weights.items())
            for one in trials
            if all(arm in one for arm, _ in self.weights)
        ]
        values = np.asarray(sums, np.float64)
        return values[np.isfinite(values)]

    def means(self, trials: Trials) -> dict[str, float]:
        """What each of these answers is on average."""
        names = {f"{arm}: {measure}": (arm, measure) for arm, measure in self.weights}
        found = {name: [one[arm][of] for one in trials if arm in one] for name, (arm, of) in names.items()}
        return {name: mean(values) for name, values in found.items()}


@dataclass(frozen=True)
class Expectation:
    """A claim: where the paper makes it, what should come out, in which experiment. `rising` are (arm, measure) whose
    means must not fall from one to the next, for the claim to hold."""

    name: str
    paper: str
    expected: str
    experiment: str
    parts: tuple[Part, ...]
    rising: tuple[tuple[tuple[str, str], ...], ...] = ()
    beside: tuple[Part, ...] = ()


def above(measure: str, more: str, less: str, margin: float = 0.0) -> Part:
    """A measure is higher in one arm than in another, or not lower by `margin` or more."""
    name = f"{measure}: {more} > {less}" + (f" - {margin:g}" if margin else "")
    return Part(name, {(more, measure): 1.0, (less, measure): -1.0}, margin)


def slope(measure: str, arms: Mapping[str, float], way: int = 1) -> Part:
    """A measure rises (`way` 1) or falls (-1) with the numbers of the arms: its least-squares slope."""
    level = np.array(list(arms.values())) - np.mean(list(arms.values()))
    weights = way * level / (level @ level)
    direction = "rises" if way > 0 else "falls"
    return Part(f"{measure} {direction} with t1", {(arm, measure): float(one) for arm, one in zip(arms, weights)})


_T1 = tuple(STRUCTURE)
# UniEdit's numbers are those of its arXiv text (2402.13185); Pix2Video's parts are named as its paper (2303.12688) has
# them.
UNIEDIT_MOTION, UNIEDIT_APPEARANCE = "UniEdit, section 4.1", "UniEdit, section 4.2"
INJECTION, UPDATE = "Pix2Video, self-attention feature injection", "Pix2Video, guided latent update"
SLIGHT_DB = 2.0  # of the background, that a new motion may cost
SLIGHT_LEVELS = 0.5  # of flicker, that the encoder might save

CLAIMS: tuple[Expectation, ...] = (
    Expectation(
        "U1 content preservation",
        f"{UNIEDIT_MOTION} (content preservation: values of the source in layers from 10 on) "
        "and its table of components",
        "background PSNR is higher with the source's values than without",
        MOTION,
        (above("background", ALL, NO_CONTENT),),
    ),
    Expectation(
        "U2 motion injection",
        f"{UNIEDIT_MOTION} (motion injection: queries and keys over time of the motion reference) "
        "and its table of components",
        f"the object goes farther the prompted way, and the background loses less than {SLIGHT_DB:g} dB",
        MOTION,
        (above("forward", ALL, NO_INJECTION), above("background", ALL, NO_INJECTION, SLIGHT_DB)),
    ),
    Expectation(
        "U3 structure control",
        f"{UNIEDIT_APPEARANCE} (structure control: queries and keys of the source in the first t1 steps) "
        "and its ranges of t1",
        "with t1 the shape agrees more and more with the source's, and less of it has the prompted colour",
        APPEARANCE,
        (slope("shape", STRUCTURE), slope("prompted", STRUCTURE, -1)),
        (tuple((arm, "shape") for arm in _T1), tuple((arm, "prompted") for arm in reversed(_T1))),
        (slope("away", STRUCTURE, -1), slope("colour_error", STRUCTURE)),
    ),
    Expectation(
        "U4 queries and keys against values",
        f"{UNIEDIT_APPEARANCE} and its figure of what queries and keys, and what values carry",
        "queries and keys alone keep the layout and take the prompted colour, values alone keep the source's colour",
        APPEARANCE,
        (above("shape", QUERIES, PLAIN), above("prompted", QUERIES, VALUES), above("kept", VALUES, QUERIES)),
    ),
    Expectation(
        "U5 attention over time sees motion",
        f"{UNIEDIT_MOTION}, its key observation: attention over time is where motion is",
        "what attention over time tells apart moves more often than what spatial queries tell apart",
        LOOKS,
        (Part("temporal > spatial", {("source pass", "temporal"): 1.0, ("source pass", "spatial"): -1.0}),),
        beside=(Part("temporal > chance", {("source pass", "temporal"): 1.0, ("source pass", "chance"): -1.0}),),
    ),
    Expectation(
        "P1 attended frames",
        f"{INJECTION} and its ablation of attended frames",
        "flicker: itself > anchor or previous alone > both",
        FRAMES,
        (
            above("flicker", ALONE, ANCHOR),
            above("flicker", ALONE, PREVIOUS),
            above("flicker", ANCHOR, BOTH),
            above("flicker", PREVIOUS, BOTH),
        ),
        beside=(above("flicker", ALONE, BOTH), above("warp", ALONE, BOTH)),
    ),
    Expectation(
        "P1 the previous frame alone fades",
        f"{INJECTION} and its ablation of attended frames",
        "the colour leaves the prompted one more over the clip than with the anchor",
        FRAMES,
        (above("fade", PREVIOUS, BOTH),),
    ),
    Expectation(
        "P1 the anchor alone breaks under turning",
        f"{INJECTION} and its ablation of attended frames",
        "warp MSE is higher than with the previous frame, on objects that turn or change their size",
        FRAMES,
        (above("warp", ANCHOR, BOTH),),
    ),
    Expectation(
        "P2 guided update",
        UPDATE,
        "warp MSE is lower with the update than without",
        FRAMES,
        (above("warp", NO_UPDATE, BOTH),),
        beside=(above("flicker", NO_UPDATE, BOTH),),
    ),
    Expectation(
        "P3 update in the first half only",
        UPDATE,
        "updating in all steps is less sharp than in the first half",
        FRAMES,
        (above("sharpness", BOTH, ALWAYS),),
    ),
    Expectation(
        "P4 decoder only",
        f"{INJECTION} (layers of the decoder)",
        f"without the encoder's layers flicker is not higher by {SLIGHT_LEVELS:g} levels of 255",
        FRAMES,
        (above("flicker", ENCODER, BOTH, SLIGHT_LEVELS),),
        beside=(above("background", BOTH, ENCODER), above("prompted", BOTH, ENCODER)),
    ),
    Expectation(
        "P6 inverted noise",
        "Pix2Video, its method (the noise of the inversion)",
        "flicker and warp MSE are lower than from random noise",
        FRAMES,
        (above("flicker", RANDOM, BOTH), above("warp", RANDOM, BOTH)),
        beside=(above("flicker", SHARED, BOTH), above("warp", SHARED, BOTH)),
    ),
)
