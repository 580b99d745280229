"""Trials, edited by an engine through the code that users run, beside the codec's limit and trivial answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from torch import Tensor

from ...diffusion.guidance import Guidance
from ...editors.contract import EditRequest
from ...editors.engine import Engine
from ...editors.kive import EditOptions, edit_keyframe, edit_video, propagate
from ...runtime import Runtime
from ...video.keyframes import Keyframe, Keyframes
from ..measures import Score, Truth, mean_score, references, score, static_copy
from ..world.trials import Trial

DIRECT, ORACLE_KEY, OWN_KEY = "direct", "keyframe given", "keyframe by the model"
WAYS = (DIRECT, ORACLE_KEY, OWN_KEY)
COPY = "static copy"
SEEDS = 1_000  # trials have lower numbers
AS_IT_IS = EditOptions(crop="off", feather=0)


@dataclass(frozen=True)
class Attempt:
    """What an engine made of a trial: `edited_fhwc`, and `key_hwc`, the keyframe that it was given, if any.

    `references` are the codec's limit and the trivial answers, by name.
    """

    trial: Trial
    way: str
    edited_fhwc: Tensor
    key_hwc: Tensor | None
    truth: Truth
    references: dict[str, Tensor]

    @property
    def first(self) -> int:
        """The first frame that the model had to make."""
        return 0 if self.key_hwc is None else 1

    @cached_property
    def own(self) -> Score:
        """How good it is, on the frames that the model had to make."""
        return self.scored(self.edited_fhwc)

    def beside(self, name: str) -> Score:
        """How good a reference is, on the same frames."""
        return self.scored(self.references[name])

    def scored(self, answer_fhwc: Tensor, first: int | None = None) -> Score:
        """How good another answer is."""
        return score(answer_fhwc, self.truth, self.first if first is None else first)

    @property
    def outside(self) -> float:
        """The largest change of any channel outside the edit mask, frame 0 of a keyframe included."""
        kept = self.truth.edit_mask_fhw < 0.5
        return float((self.edited_fhwc - self.trial.source_fhwc()).abs()[kept].max())

    @property
    def key_difference(self) -> float:
        """The largest difference of any channel of frame 0 from the keyframe; 0 where none was given."""
        return 0.0 if self.key_hwc is None else float((self.edited_fhwc[0] - self.key_hwc).abs().max())


class Editor:
    """An engine at the trials. Everything is as users get it but for two things: clips are not cropped, as they have
    the model's size already, and the mask has no soft rim, so that keyframe and background can be compared to the bit.

    `seed` draws the noise, other noise for each trial; `steps` and `guidance` None are the engine's own.
    """

    def __init__(self, engine: Engine, seed: int = 0, steps: int | None = None, guidance: float | None = None) -> None:
        self.engine, self.seed, self.steps = engine, seed, steps
        self.guidance = None if guidance is None else Guidance(guidance)
        self._encode = lru_cache(maxsize=256)(lambda text: engine.encoded(text, Runtime()))

    def attempts(self, trials: Iterable[Trial], way: str, colour_match: bool = True) -> Iterator[Attempt]:
        """Each trial edited in one of `WAYS`."""
        for one in trials:
            yield self.attempt(one, way, colour_match)

    def attempt(self, trial: Trial, way: str, colour_match: bool = True) -> Attempt:
        """The trial edited in one of `WAYS`, with or without the colour match from window to window.

        Raises ValueError on another way.
        """
        if way not in WAYS:
            raise ValueError(f"Claims: got the way {way!r}; choose one of {', '.join(WAYS)}.")
        source, truth = trial.source_fhwc(), trial.truth()
        key_hwc = self._key(trial, source, truth, way)
        keys = Keyframes([] if key_hwc is None else [Keyframe(0, key_hwc)])
        request = EditRequest(source, truth.edit_mask_fhw, **self._text(trial), keyframes=keys, **self._noise(trial))
        run = edit_video if key_hwc is None else propagate
        edited = run(self.engine, request, replace(AS_IT_IS, colour_match=colour_match)).frames_fhwc
        return Attempt(trial, way, edited, key_hwc, truth, self._references(source, truth, key_hwc))

    def _references(self, source: Tensor, truth: Truth, key_hwc: Tensor | None) -> dict[str, Tensor]:
        codec: Any = self.engine.vae
        beside = references(source, truth, codec.there_and_back)
        beside.pop(COPY, None)  # of the oracle's frame, which only a model that got it too may be compared with
        if key_hwc is not None:
            beside[COPY] = static_copy(source, truth.edit_mask_fhw, key_hwc)
        return beside

    def _key(self, trial: Trial, source: Tensor, truth: Truth, way: str) -> Tensor | None:
        if way == DIRECT:
            return None
        if way == ORACLE_KEY:
            return truth.oracle_fhwc[0]
        mask = truth.edit_mask_fhw[:1]
        request = EditRequest(source[:1], mask, **self._text(trial), **self._noise(trial))
        return edit_keyframe(self.engine, request, AS_IT_IS).image_hwc

    def _text(self, trial: Trial) -> dict[str, Tensor]:
        return {"prompt_bld": self._encode(trial.caption), "negative_bld": self._encode("")}

    def _noise(self, trial: Trial) -> dict[str, Any]:
        return {"seed": self.seed * SEEDS + trial.number, "steps": self.steps, "guidance": self.guidance}


def mean_of(attempts: Iterable[Attempt], name: str | None = None) -> Score:
    """The mean score of attempts, or of one of their references."""
    return mean_score([one.own if name is None else one.beside(name) for one in attempts])
