"""Compare engines on a folder of clips, or count the votes on the blind page that this wrote.

    python -m vivid_core.evaluate FOLDER --engine vivid --engine kive:steps=20,label=ours
    python -m vivid_core.evaluate votes FOLDER/evaluation/blind_key.json votes_*.json

What is finished stays in the output folder; a second call makes only what is missing. The exit status is 0 when every
edit finished, 1 when some failed (their rows say why), 2 when nothing could be run. docs/evaluate.md explains it all.
"""

from __future__ import annotations

import argparse
import fnmatch
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..training.world.words import CAPTION_LENGTHS
from .cases import Case, Cut, read_cases
from .edits import KeptEdits
from .engines import KINDS, USUAL, engines_of, read_run
from .model_engines import Models
from .pages import comparison_page
from .run import Comparison, Plan, compare
from .store import COMPOSITES, ON, ResultStore, write_text
from .study import KEY, PAGE, blind_study, key_text, read_key
from .tables import as_json, markdown, rows_csv, table_csv
from .votes import rates_json, rates_markdown, read_votes, win_rates

VOTES = "votes"
OUT = "evaluation"
OF_PAIRS = ("first", "all")

log = logging.getLogger("vivid")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return _count(given[1:]) if given[:1] == [VOTES] else _compare(given)
    except (ValueError, ModuleNotFoundError) as fault:
        log.error("%s", fault)
        return 2


def _compare(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    listed: list[Any] = [*(given.engine or []), *(read_run(given.run) if given.run else [])]
    cut = Cut(given.frames, given.every, given.side, given.feather)
    engines = engines_of(listed or USUAL, Models(given.device or ("cuda" if torch.cuda.is_available() else "cpu")))
    cases = _chosen(read_cases(given.folder, given.captions), given.only, given.clips)
    store = ResultStore(given.out or given.folder / OUT)
    edits = KeptEdits(store.folder) if given.keep_edits else None
    plan = Plan(cases, engines, _seeds(given.seeds), cut, _encoder(given.clip_folder), edits)
    found = compare(plan, store)
    for path in _written(found, store.folder, given):
        log.info("%s", path)
    log.info("%d edits made now, %d there before, %d failed.", *_counts(found))
    return 1 if found.failed else 0


def _counts(found: Comparison) -> tuple[int, int, int]:
    failed = len(found.failed)
    return found.made, len(found.outcomes) - found.made - failed, failed


def _written(found: Comparison, folder: Path, given: argparse.Namespace) -> list[Path]:
    """Tables and pages; without a blind page where no clip has two finished edits."""
    texts = {
        "table.md": markdown(found),
        "table.csv": table_csv(found),
        "rows.csv": rows_csv(found),
        "table.json": as_json(found),
        "index.html": comparison_page(found),
    }
    try:
        study, page = blind_study(found, given.blind_seed, given.blind_pairs == "all", given.blind_composite)
        texts |= {PAGE: page, KEY: key_text(study)}
    except ValueError as fault:
        log.info("%s", fault)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _count(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m vivid_core.evaluate {VOTES}", description="Count votes.")
    parser.add_argument("key", type=Path, help=f"the {KEY} of the run whose page was used")
    parser.add_argument("votes", type=Path, nargs="+", help="files that the page saved")
    given = parser.parse_args(arguments)
    rates = win_rates(read_votes(given.votes, read_key(given.key)))
    if not rates:
        raise ValueError("Votes: the files hold no answers; give files in which something was answered.")
    write_text(given.key.with_name("win_rates.md"), rates_markdown(rates))
    write_text(given.key.with_name("win_rates.json"), rates_json(rates))
    sys.stdout.write(rates_markdown(rates))
    return 0


def _chosen(cases: Sequence[Case], only: str, clips: int) -> list[Case]:
    """Those whose names match, at most `clips` of them (0: all). Raises ValueError when none is left."""
    chosen = [case for case in cases if fnmatch.fnmatchcase(case.name, only)]
    if not chosen:
        raise ValueError(f"Evaluate: no clip is named like {only!r}; the first one is {cases[0].name!r}.")
    return chosen[:clips] if clips > 0 else chosen


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 16 for part in parts):
        raise ValueError(f"Evaluate: got the seeds {text[:60]!r}; give whole numbers such as 0,1,2.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _encoder(folder: Path | None) -> Any:
    if folder is None:
        return None
    from ..metrics.transformers_clip import load_clip

    return load_clip(folder)


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(
        f"  {name}: {kind.meaning}; {', '.join(kind.settings) or 'no settings'}" for name, kind in KINDS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m vivid_core.evaluate",
        description=(__doc__ or "").splitlines()[0],
        epilog=f"engines and their settings:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, help="index.jsonl, VIVID-10M's folders, or TGVE's table with its frames")
    add(
        "--engine",
        action="append",
        metavar="NAME:key=value,...",
        help=f"as often as needed; usually {', '.join(USUAL)}",
    )
    add("--run", type=Path, help="a JSON or TOML file with more engines")
    add("--out", type=Path, help=f"where results, tables and pages go; usually FOLDER/{OUT}")
    add("--seeds", default="0", help="of the noise, such as 0,1,2: the same for every engine")
    add("--frames", type=int, default=0, help="at most so many of each clip; 0: all")
    add("--every", type=int, default=1, help="take every N-th frame; the paper compares at 4 (7.5 frames a second)")
    add("--side", type=int, default=0, help="the longer side of a frame, at most; 0: as it is")
    add("--feather", type=float, default=8.0, help="of the blend mask's soft rim, in pixels")
    add("--captions", choices=CAPTION_LENGTHS, default=CAPTION_LENGTHS[1], help="which of a sample's three")
    add("--only", default="*", help="clips whose names match, such as 'gold-fish/*'")
    add("--clips", type=int, default=0, help="at most so many clips; 0: all")
    add("--clip-folder", type=Path, help="a folder with a CLIPModel of transformers, for TA and TC")
    add("--keep-edits", action="store_true", help="keep every frame, so that another CLIP needs no edit again")
    add("--device", help="where models run; usually a GPU if there is one")
    add("--blind-seed", type=int, default=0, help="draws order and sides of the blind page")
    add("--blind-pairs", choices=OF_PAIRS, default=OF_PAIRS[0], help="the first engine against the others, or all")
    add("--blind-composite", choices=COMPOSITES, default=ON, help="which clips the blind page shows")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
