"""Results on the disk: one small file for each (clip, engine, seed), named by all that it was made from.

A run that was stopped goes on where it was; a result is there whole or not at all; a damaged one is made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..json_text import parsed_object
from ..metrics.definitions import MEASURES
from ..training.latent_cache import made_folder
from ..whole_files import whole_file
from .cases import LoadedCase
from .engine import Engine

VERSION = 1  # of what is measured; another one makes all results again
RESULTS, CLIPS = "results", "clips"
OFF, ON = "off", "on"
COMPOSITES = (OFF, ON)

log = logging.getLogger("vivid")


@dataclass(frozen=True)
class Outcome:
    """What came of one engine on one clip with one seed.

    `inputs` is the case's identity: engines with the same one were given the same. `measures` has the numbers of
    `definitions.MEASURES` without and with the composite, NaN where there is none. `clips` are the files to be looked
    at, from the output folder on. `fault` is the sentence that says why there is nothing else.
    """

    case: str
    engine: str
    seed: int
    task: str = ""
    caption: str = ""
    inputs: str = ""
    measures: Mapping[str, Mapping[str, float]] | None = None
    clips: Mapping[str, str] | None = None
    seconds: float = math.nan
    fault: str = ""


def key_of(case: LoadedCase, engine: Engine, seed: int, judge: str) -> str:
    """The name of a result: a SHA-256 of what the engine is given, of the engine, the seed and the measuring model."""
    made_of = [VERSION, case.identity, engine.identity, seed if engine.seeded else None, judge]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


class ResultStore:
    """The results in an output folder.

    Raises ValueError when the folder can't be made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = made_folder(folder)
        self._results = made_folder(self.folder / RESULTS)
        self.clips = made_folder(self.folder / CLIPS)

    def get(self, key: str) -> Outcome | None:
        """A finished result whose clips are still there, or None."""
        path = self._path(key)
        try:
            outcome = _read(parsed_object(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as fault:
            log.warning("%s is damaged (%s) and is made again.", path.name, fault)
            return None
        return outcome if all((self.folder / name).is_file() for name in (outcome.clips or {}).values()) else None

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep a result. Raises ValueError when it can't be written."""
        told = asdict(outcome)
        told["seconds"] = _told(outcome.seconds)
        told["measures"] = {
            how: {name: _told(value) for name, value in values.items()}
            for how, values in (outcome.measures or {}).items()
        }
        write_text(self._path(key), json.dumps(told, ensure_ascii=False, indent=1, allow_nan=False) + "\n")

    def _path(self, key: str) -> Path:
        return self._results / f"{key}.json"


def _read(told: Mapping[str, Any]) -> Outcome:
    keys = {measure.key for measure in MEASURES}
    measures = {
        how: {name: _value(value) for name, value in told["measures"][how].items() if name in keys}
        for how in COMPOSITES
    }
    clips = {how: told["clips"][how] for how in COMPOSITES}
    texts = {name: told[name] for name in ("case", "engine", "task", "caption", "inputs")}
    if not all(isinstance(one, str) for one in (*texts.values(), *clips.values())) or told["fault"]:
        raise ValueError("it holds something else than a result")
    return Outcome(**texts, seed=int(told["seed"]), measures=measures, clips=clips, seconds=_value(told["seconds"]))


def _told(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(told: Any) -> float:
    return math.nan if told is None else float(told)


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all. Raises ValueError when it can't be written."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
