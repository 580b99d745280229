"""Print what holds of the papers' claims, one line of JSON each: `python -m vivid_core.training.claims`.

VIVID's and KIVE's by the embedded model in its world, the ablations of the last whole run of `make ablations`, and
UniEdit's (U1 to U5) and Pix2Video's (P1 to P6) by the embedded Stable Diffusion. A miss is a result and no failure: its
line says "holds": false. Trials and noise are fixed. The quick form has few trials, the full one many; both keep each
finished trial's answers in a file, so that they go on where they were stopped. `--document` writes all of it as a page.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ...models import embedded, embedded_sd
from ...origin import commit, machine, today
from . import ablations, steered, steered_lines, suite
from .document import Chapter, Page, write_page
from .forms import FULL, QUICK, Form
from .line import Line, corrected
from .sheets import write_sheets
from .steered_arms import GUIDANCE, Subject
from .store import AnswerStore

VIVID, ABLATIONS, STEERING = "vivid", "ablations", "steering"
PARTS = (VIVID, ABLATIONS, STEERING)
STORE = Path("output/claims/answers.jsonl")

log = logging.getLogger("vivid")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = _parsed(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    began = time.monotonic()
    try:
        form = _form(given)
        store = AnswerStore(given.store, commit(), given.anew)
        makers = {VIVID: _vivid, ABLATIONS: _ablations, STEERING: _steering}
        chapters = _all_corrected([makers[part](given, form, store) for part in PARTS if part in given.only])
        _print([line for chapter in chapters for line in chapter.lines], began)
        if given.document is not None:
            page = Page(today(), commit(), machine(), form, given.first, store.commits(), chapters)
            write_page(given.document, page)
    except ValueError as error:
        log.error("%s", error)
        return 2
    return 0


def _print(lines: Sequence[Line], began: float) -> None:
    """One line of JSON each, and in words what doesn't hold."""
    for line in lines:
        sys.stdout.write(line.json() + "\n")
    judged = [line for line in lines if line.holds is not None]
    log.info("%d of %d hold, in %.0f s.", sum(bool(one.holds) for one in judged), len(judged), time.monotonic() - began)
    for line in lines:
        if not line.holds:
            log.info("%s: %s", line.claim, line.why or "doesn't hold")


def _vivid(given: argparse.Namespace, form: Form, store: AnswerStore) -> Chapter:
    painter = suite.Painter(given.model, form.seeds, form.steps, given.guidance)
    lines = suite.told(painter, store, form.trials, given.first)
    if given.sheets is not None:
        for asked in suite.all_asked(painter.window, form.trials, given.first):
            for path in write_sheets(list(suite.rows(painter, asked)), given.sheets, asked.name):
                log.info("%s", path)
    about = (
        f"By `{given.model.name}` ({painter.print}) on held-out clips of its own world: at most {form.trials} clips a "
        f"task, {form.told_seeds}; steps of an edit: {painter.steps}."
    )
    return Chapter("VIVID and KIVE", about, lines)


def _ablations(given: argparse.Namespace, form: Form, store: AnswerStore) -> Chapter:
    lines, run = ablations.kept()
    if not lines:
        return Chapter("VIVID's ablations", "Not run: `make ablations` makes them, in hours.", [])
    about = (
        f"From the last whole run of `make ablations` ({run.get('date', 'day')} at commit "
        f"{run.get('commit', 'unknown')}), in both forms the same: one training of {run['train_steps']} steps an arm "
        f"from the same first weights on the same clips (n_train = 1: what another first draw of the weights would "
        f"change is not known), then {2 * run['trials']} held-out clips with {run['sampling_seeds']} seeds each; steps "
        f"of an edit: {run.get('sampling_steps', 'unknown')}."
    )
    return Chapter("VIVID's ablations", about, lines)


def _steering(given: argparse.Namespace, form: Form, store: AnswerStore) -> Chapter:
    title, file = "UniEdit and Pix2Video", given.sd or embedded_sd.WEIGHTS
    if given.sd is None and not file.exists():
        about = f"Not run: `{file.name}` is not there; `make train-embedded-sd` trains one."
        return Chapter(title, about, steered_lines.not_run("no model"))
    guidance = GUIDANCE if given.guidance is None else given.guidance
    subject = Subject(file, form.sd_steps, guidance)
    lines = steered_lines.told(*steered.answered(subject, store, form.sd_trials, given.first))
    about = (
        f"By `{file.name}` ({subject.print}) on held-out scenes of its own world: at most {form.sd_trials} scenes a "
        f"claim, {subject.steps} steps each way, guidance {guidance:g}."
    )
    return Chapter(title, about, lines)


def _all_corrected(chapters: Sequence[Chapter]) -> list[Chapter]:
    """All claims together are as many as each p is corrected for."""
    lines = iter(corrected([line for chapter in chapters for line in chapter.lines]))
    return [Chapter(one.title, one.about, [next(lines) for _ in one.lines]) for one in chapters]


def _form(given: argparse.Namespace) -> Form:
    return (FULL if given.full else QUICK).changed(given.trials, given.seeds, given.steps)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    text = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training.claims", description=text)
    parser.add_argument("--full", action="store_true", help=f"{FULL.told}; without it {QUICK.told}")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some of the claims; by default all")
    parser.add_argument("--document", type=Path, help="a file for all of it as a page in Markdown")
    parser.add_argument("--store", type=Path, default=STORE, help=f"a file for answers; by default {STORE}")
    parser.add_argument("--anew", action="store_true", help="take nothing from the file of answers, ask all again")
    parser.add_argument("--model", type=Path, default=embedded.WEIGHTS, help="an embedded VIVID; by default the pack's")
    parser.add_argument("--sd", type=Path, help="an embedded Stable Diffusion; by default the pack's, if it is there")
    parser.add_argument("--trials", type=int, help="at most so many of each kind; by default the form's")
    parser.add_argument("--seeds", type=int, help="of VIVID's noise, for each trial; by default the form's")
    parser.add_argument("--steps", type=int, help="of each edit; by default VIVID's own, and the form's of steering")
    parser.add_argument("--guidance", type=float, help=f"of each edit; by default VIVID's own, and {GUIDANCE:g}")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial; from 64 on to choose settings")
    parser.add_argument(
        "--sheets", type=Path, help="a folder for contact sheets of VIVID's edits, which are made again"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
