"""The mutator itself: what it changes, what it leaves alone, and that a changed module is noticed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from mutants import Mutant, count_of, mutants_of, sampled
from mutate import KILLED, SURVIVED, Changed, report
from targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''"""A text with 3 in it."""
from __future__ import annotations

def limited(value: int, most: int = 7) -> int:
    """Another text."""
    if value > most and not most < 0:
        raise ValueError(f"got {value + 1} of {most}")
    total = -value * 2
    total += 1
    print(total)
    return total if value else 0.5
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "limited.py"
    path.write_text(SOURCE)
    return path


def test_every_mutant_is_another_program_with_one_changed_place(source: Path) -> None:
    made = mutants_of(source, "limited.py")
    whole = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in made:
        compile(mutant.source, "limited.py", "exec")
        lines = mutant.source.splitlines()
        assert len(lines) == len(whole) and sum(a != b for a, b in zip(lines, whole)) == 1, str(mutant)
    assert len({mutant.source for mutant in made}) == len(made) and len({mutant.key for mutant in made}) == len(made)


def test_every_kind_of_change_is_made(source: Path) -> None:
    changed = {(mutant.before, mutant.after) for mutant in mutants_of(source, "limited.py")}
    assert {
        ("value > most", "value >= most"),
        ("most < 0", "most <= 0"),
        ("value > most and (not most < 0)", "value > most or not most < 0"),
        ("not most < 0", "most < 0"),
        ("-value * 2", "-value / 2"),
        ("-value", "value"),
        ("2", "3"),
        ("0.5", "0.85"),
        ("7", "8"),
        ("total += 1", "total -= 1"),
        ("total += 1", "nothing"),
        ("print(total)", "nothing"),
    } <= changed
    assert any(before.startswith("raise ValueError") and after == "nothing" for before, after in changed)


def test_texts_messages_and_annotations_stay(source: Path) -> None:
    for mutant in mutants_of(source, "limited.py"):
        for text in ("A text with 3 in it.", "Another text.", "value: int, most: int", "-> int"):
            assert text in mutant.source
        assert "got {value + 1} of {most}" in mutant.source or "raise" not in mutant.source


def test_a_smaller_sample_begins_a_larger_one_and_a_seed_gives_the_same(source: Path) -> None:
    large = sampled(source.parent, ["limited.py"], 12, seed=3)
    assert sampled(source.parent, ["limited.py"], 5, seed=3) == large[:5]
    assert sampled(source.parent, ["limited.py"], 12, seed=4) != large


def test_a_change_of_one_file_leaves_the_sample_of_the_others(tmp_path: Path) -> None:
    def of_the_other() -> list[str]:
        made = sampled(tmp_path, ["changing.py", "other.py"], 1000, seed=1)
        return [str(mutant) for mutant in made if mutant.path == "other.py"]

    (tmp_path / "other.py").write_text(SOURCE)
    (tmp_path / "changing.py").write_text(SOURCE)
    before = of_the_other()
    (tmp_path / "changing.py").write_text("total = 1 + 2\n")
    assert of_the_other() == before and len(before) == len(mutants_of(tmp_path / "other.py", "other.py"))


def test_every_target_and_its_tests_are_there() -> None:
    assert all((ROOT / path).is_file() for path in TARGETS)
    assert all((ROOT / test).is_file() for tests in TARGETS.values() for test in tests)
    assert sum(count_of((ROOT / path).read_text()) for path in TARGETS) > 300, "enough to sample 300 of"


def test_the_changed_source_is_what_is_imported() -> None:
    mutant = Mutant("somewhere/odd.py", 0, 1, "constant", "1", "2", "answer = 2")
    finder = Changed(mutant)
    assert finder.find_spec("somewhere.other") is None
    spec = finder.find_spec("somewhere.odd")
    assert spec is not None and spec.loader is finder
    module = type(ast)("somewhere.odd")
    finder.exec_module(module)
    assert module.answer == 2


@pytest.mark.parametrize("killed, enough", [(8, True), (7, False)])
def test_four_of_five_must_be_killed(source: Path, killed: int, enough: bool) -> None:
    made = mutants_of(source, "limited.py")[:10]
    said: list[str] = []
    found = [(mutant, KILLED if number < killed else SURVIVED) for number, mutant in enumerate(made)]
    assert report(found, said.append) is enough
    assert f"{killed} of  10 killed: {killed * 10}.0%" in said[-1]
    assert [line for line in said if line.startswith("  ")] == [f"  {mutant}" for mutant in made[killed:]]
