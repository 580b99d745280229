"""A blind comparison of engines by people, with the paper's questions (VIVID, section 5), as a page from the disk.

The page knows pairs of videos and no names; which engine stands on which side is in a file of its own, by which the
votes are read later.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..json_text import parsed_object
from ..training.tasks import DELETION
from .pages import page
from .run import Comparison
from .store import ON, Outcome

PAGE, KEY = "blind.html", "blind_key.json"
FORMAT_OF_KEY, FORMAT_OF_VOTES = "vivid blind key", "vivid blind votes"
QUESTIONS = {
    "BP": "Which one leaves more of the original as it was, where nothing was to be changed?",
    "TA": "Which one shows better what was asked for?",
    "TC": "Which one is steadier over time, without flicker or jumps?",
    "VQ": "Which one looks better and more real?",
}
SIDES = ("left", "right")
MOST_PAIRS = 100_000


@dataclass(frozen=True)
class Pair:
    """Two engines on one clip, and which side each is on. `questions` are keys of QUESTIONS: text alignment is not
    asked of a removal, which has no text of its own."""

    id: str
    case: str
    left: str
    right: str
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """All pairs in the order in which they are shown; `id` stands for all of it, `engines` are in the order of the
    run."""

    id: str
    engines: tuple[str, ...]
    pairs: tuple[Pair, ...]


def blind_study(found: Comparison, seed: int = 0, every_pair: bool = False, how: str = ON) -> tuple[Study, str]:
    """The study of a run and its page: the first engine against each other one (with `every_pair`: all against all),
    on each clip that both finished. `seed` draws order and sides; `how` is with or without the composite.

    Raises ValueError when there is no such pair.
    """
    outcomes: dict[tuple[str, str], Outcome] = {}
    for one in found.outcomes:
        if one.clips is not None:
            outcomes.setdefault((one.case, one.engine), one)
    labels = [engine.label for engine in found.plan.engines]
    chosen = [(first, other) for at, first in enumerate(labels) for other in labels[at + 1 :] if every_pair or not at]
    draw, pairs, shown = random.Random(seed), list[Pair](), dict[str, Any]()
    for case in found.shown:
        for two in chosen:
            made = [outcomes.get((case.case.name, label)) for label in two]
            if case.fault or made[0] is None or made[1] is None:
                continue
            left, right = draw.sample(two, 2)
            removes = case.case.task == DELETION
            asked = tuple(key for key in QUESTIONS if key != "TA" or not removes)
            name = hashlib.sha256(json.dumps([seed, how, case.original, left, right]).encode()).hexdigest()[:16]
            pairs.append(Pair(name, case.case.name, left, right, asked))
            files = {side: _clip(outcomes[case.case.name, label], how) for side, label in zip(SIDES, (left, right))}
            about = {"caption": case.case.caption, "removes": removes, "frames": case.frames, "width": case.width}
            shown[name] = {"id": name, "original": case.original, "questions": asked, **files, **about}
    if not pairs:
        raise ValueError("Blind page: there is no clip that two engines finished; mend what failed, and run again.")
    draw.shuffle(pairs)
    name = hashlib.sha256(json.dumps([asdict(one) for one in pairs]).encode()).hexdigest()[:16]
    study = Study(name, tuple(labels), tuple(pairs))
    told = {
        "format": FORMAT_OF_VOTES,
        "study": study.id,
        "questions": QUESTIONS,
        "pairs": [shown[one.id] for one in pairs],
    }
    return study, page("Which one is better?", BODY, ("common.css", "blind.css"), ("sync.js", "blind.js"), data=told)


def _clip(outcome: Outcome, how: str) -> str:
    return "" if outcome.clips is None else outcome.clips[how]


def key_text(study: Study) -> str:
    """The file that tells which engine was on which side."""
    return json.dumps({"format": FORMAT_OF_KEY, "version": 1, **asdict(study)}, indent=1, ensure_ascii=False) + "\n"


def read_key(path: str | Path) -> Study:
    """What `key_text` wrote. Raises ValueError, with the file's name, when it can't be read or holds something else."""
    told = read_object(path, FORMAT_OF_KEY, f"the {KEY} that a run of evaluate wrote")
    try:
        engines = tuple(_text(one) for one in _listed(told["engines"]))
        pairs = tuple(_pair(one) for one in _listed(told["pairs"]))
        if not {name for pair in pairs for name in (pair.left, pair.right)} <= set(engines):
            raise ValueError("an engine is not known")
        return Study(_text(told["id"]), engines, pairs)
    except (KeyError, TypeError, ValueError) as fault:
        raise ValueError(f"{path} is damaged ({fault}); run evaluate again, which writes it anew.") from fault


def read_object(path: str | Path, wanted: str, what: str) -> dict[str, Any]:
    """A JSON object of the format `wanted`. Raises ValueError, with the file's name, for anything else."""
    try:
        told = parsed_object(Path(path).read_bytes())
    except (OSError, ValueError) as fault:
        raise ValueError(f"{path} can't be read ({fault}); give {what}.") from fault
    if told.get("format") != wanted or told.get("version") != 1:
        raise ValueError(f"{path} holds something else; give {what}.")
    return told


def _pair(told: Any) -> Pair:
    if not isinstance(told, Mapping):
        raise TypeError("a pair is no object")
    questions = tuple(_text(one) for one in _listed(told["questions"]))
    if not set(questions) <= set(QUESTIONS):
        raise ValueError("a question is not known")
    name, case, left, right = (_text(told[name]) for name in ("id", "case", *SIDES))
    return Pair(name, case, left, right, questions)


def _text(told: Any) -> str:
    if not isinstance(told, str):
        raise TypeError("a name is no text")
    return told


def _listed(told: Any) -> Sequence[Any]:
    if not isinstance(told, list) or len(told) > MOST_PAIRS:
        raise TypeError("a list is missing")
    return told


def _video(side: str, name: str) -> str:
    video = f'<video id="video-{side}" muted playsinline></video>'
    return f'<figure><div class="stage">{video}</div><figcaption>{name}</figcaption></figure>'


BODY = (
    '<main><section id="begin" class="card"><h1>Which one is better?</h1>'
    "<p>You will see an original clip and two edits of it, A and B, and answer a few questions about each pair. The "
    "pink line in the original shows where something was to be changed. Who made which edit is not shown.</p>"
    "<p>Your answers stay in this browser. At the end, save them as a file and send that file back.</p>"
    '<p><label>Your name or a nickname (may stay empty): <input id="rater" maxlength="60"></label></p>'
    '<p><button id="start" class="main">Begin</button></p></section>'
    '<section id="pair" hidden><div class="top"><progress id="done"></progress>'
    '<span id="count" class="quiet"></span><button id="stop">Save and stop</button></div><p id="ask" class="ask"></p>'
    f'<div class="three">{_video("original", "original")}{_video("left", "A")}{_video("right", "B")}</div>'
    '<div id="questions" class="questions"></div><div class="bottom"><button id="back">Back</button>'
    '<span class="room"></span><button id="next" class="main">Next</button></div></section>'
    '<section id="end" class="card" hidden><h1>Thank you</h1><p id="result"></p>'
    "<p>Save your answers and send the file back to whoever gave you this page.</p>"
    '<p><button id="save" class="main">Save answers</button> <button id="on">Go on</button></p></section></main>'
)
