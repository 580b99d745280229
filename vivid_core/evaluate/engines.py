"""The list of engines that a run compares: from the command line, or from a file of JSON or TOML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..json_text import parsed
from ..models import embedded, embedded_sd
from . import model_engines, plain_engines
from .engine import Engine, Make, weights_identity
from .model_engines import Models

LABEL = "label"
LONGEST_LABEL = 60
TEXT, WHOLE, NUMBER = "a text", "a whole number", "a number"


@dataclass(frozen=True)
class Kind:
    """One way to edit: what it is, its settings (what each must be, and its default; None is the model's own), whether
    the seed makes a difference, and the weights it has where `model` names none."""

    meaning: str
    settings: Mapping[str, tuple[str, Any]]
    make: Callable[[Mapping[str, Any], Models], Make]
    seeded: bool = True
    weights: Path = embedded.WEIGHTS


def _plain(make: Callable[[Mapping[str, Any]], Make]) -> Callable[[Mapping[str, Any], Models], Make]:
    return lambda settings, models: make(settings)


EDITING: dict[str, tuple[str, Any]] = {
    "model": (TEXT, ""),
    "steps": (WHOLE, None),
    "guidance": (NUMBER, None),
    "crop": (TEXT, "auto"),
}
FROZEN: dict[str, tuple[str, Any]] = {"model": (TEXT, ""), "steps": (WHOLE, 50), "guidance": (NUMBER, 7.5)}
KINDS: dict[str, Kind] = {
    "unchanged": Kind("the clip as it is", {}, _plain(plain_engines.unchanged), seeded=False),
    "mean": Kind("the mean colour around the mask", {}, _plain(plain_engines.mean_fill), seeded=False),
    "background": Kind(
        "removal by optical flow, without weights",
        {"feather": (NUMBER, 8.0)},
        _plain(plain_engines.background),
        seeded=False,
    ),
    "patch": Kind("removal frame by frame, without weights", {}, _plain(plain_engines.patch), seeded=False),
    "vivid": Kind("a VIVID model from the text alone", EDITING, model_engines.direct),
    "kive": Kind("one frame by a VIVID model, carried by the model", EDITING, model_engines.kive),
    "flow": Kind("one frame by a VIVID model, carried by optical flow", EDITING, model_engines.flow),
    "pix2video": Kind("Pix2Video", FROZEN, model_engines.pix2video, seeded=False, weights=embedded_sd.WEIGHTS),
    "uniedit": Kind("UniEdit, appearance", FROZEN, model_engines.uniedit, seeded=False, weights=embedded_sd.WEIGHTS),
}
USUAL = ("vivid", "kive", "flow", "background", "mean", "unchanged")


def engines_of(given: Iterable[str | Mapping[str, Any]], models: Models) -> list[Engine]:
    """Engines in their order, from texts such as "vivid:steps=20,label=ours" or from objects with "engine" and
    settings. Nothing is loaded yet.

    Raises ValueError, in one sentence, for another name or setting, a model that is not there, and a label twice.
    """
    engines = [_engine(_parsed(one) if isinstance(one, str) else _checked(one), models) for one in given]
    if not engines:
        raise ValueError(f"Evaluate: no engine is named; choose from {', '.join(KINDS)}.")
    for field in ("label", "identity"):
        values = [getattr(engine, field) for engine in engines]
        twice = next((engine for engine in engines if values.count(getattr(engine, field)) > 1), None)
        if twice is not None:
            raise ValueError(
                f'Evaluate: "{twice.label}" is named twice; give each engine other settings, and a label of its own.'
            )
    return engines


def read_run(path: str | Path) -> list[Mapping[str, Any]]:
    """The engines of a file: JSON with a list, or with {"engines": [...]}; TOML with tables [[engines]].

    Raises ValueError when it can't be read or holds something else.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        told = _toml(text) if path.suffix.lower() == ".toml" else parsed(text)
    except (OSError, ValueError, RecursionError) as fault:
        raise ValueError(f"{path} can't be read as a list of engines ({fault}); write JSON or TOML.") from fault
    listed = told.get("engines") if isinstance(told, dict) else told
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ValueError(f'{path} must hold a list of objects under "engines", such as {{"engine": "vivid"}}.')
    return listed


def _toml(text: str) -> Any:
    try:
        import tomllib
    except ModuleNotFoundError as missing:  # Python 3.10
        raise ValueError("TOML needs Python 3.11; write the same as JSON") from missing
    return tomllib.loads(text)


def _parsed(text: str) -> dict[str, Any]:
    name, _, rest = text.partition(":")
    told: dict[str, Any] = {"engine": name.strip()}
    for pair in filter(None, re.split(r",(?=\s*\w+=)", rest)):
        key, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"Evaluate: got {text!r}; write NAME:key=value,key=value.")
        told[key.strip()] = value.strip()
    return _checked(told)


def _checked(told: Mapping[str, Any]) -> dict[str, Any]:
    name = told.get("engine")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"Evaluate: got the engine {str(name)[:60]!r}; choose one of {', '.join(KINDS)}.")
    unknown = [key for key in told if key not in {"engine", LABEL, *kind.settings}]
    if unknown:
        able = ", ".join(kind.settings) or "no settings"
        raise ValueError(f"Evaluate: {name} has no setting {str(unknown[0])[:60]!r}; it has {able}, and label.")
    settings = {key: _value(name, key, told.get(key), *wanted) for key, wanted in kind.settings.items()}
    return {"engine": name, LABEL: _label(told, kind), **settings}


def _value(name: Any, key: str, given: Any, wanted: str, default: Any) -> Any:
    if given is None:
        return default
    try:
        if wanted == TEXT and isinstance(given, str):
            return given
        if wanted == WHOLE and not isinstance(given, bool) and int(given) == float(given):
            return int(given)
        if wanted == NUMBER and not isinstance(given, bool):
            return float(given)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"Evaluate: {name} got {key} = {str(given)[:60]!r}; it must be {wanted}.")


def _label(told: Mapping[str, Any], kind: Kind) -> str:
    given = told.get(LABEL)
    if given is None:
        said = [f"{key}={Path(str(told[key])).name}" for key in kind.settings if told.get(key) not in (None, "")]
        given = " ".join([str(told["engine"]), *said])[:LONGEST_LABEL]
    if not isinstance(given, str) or not given.strip() or len(given) > LONGEST_LABEL or not given.isprintable():
        raise ValueError(f"Evaluate: got the label {str(given)[:60]!r}; use 1 to {LONGEST_LABEL} characters in a line.")
    return given.strip()


def _engine(told: Mapping[str, Any], models: Models) -> Engine:
    kind = KINDS[told["engine"]]
    settings: dict[str, Any] = {key: told[key] for key in kind.settings}
    weights = ""
    if "model" in settings:
        weights = weights_identity(settings["model"] or kind.weights)
    make = kind.make(settings, models)
    shown: Sequence[str] = [key for key in settings if key != "model"]
    return Engine(told[LABEL], told["engine"], {key: settings[key] for key in shown}, make, weights, kind.seeded)
