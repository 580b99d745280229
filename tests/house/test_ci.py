"""What CI runs is what a contributor runs, and nothing of it is left out quietly."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def recipe(target: str) -> str:
    """What `make target` runs, without running it."""
    shown = subprocess.run(["make", "-n", "-s", target], cwd=ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip(f"make can't be asked: {shown.stderr.strip()}")
    return shown.stdout


def test_ci_runs_make_test() -> None:
    last = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    assert last == "make test"
    assert "run: .ci/run" in (ROOT / ".github" / "workflows" / "tests.yml").read_text()


def test_make_test_is_lint_types_and_every_test() -> None:
    told = recipe("test")
    for command in ("ruff check .", "ruff format --check .", "mypy", "pytest"):
        assert command in told
    (pytest_line,) = [line for line in told.splitlines() if "pytest" in line]
    chosen = re.search(r"tests/| -k | -m |--ignore|--deselect", pytest_line.partition("pytest")[2])
    assert chosen is None, "nothing is chosen or left out"
    assert SETTINGS["pytest"]["ini_options"]["testpaths"] == ["tests"]


def test_coverage_fails_below_ninety_percent() -> None:
    run, report = SETTINGS["coverage"]["run"], SETTINGS["coverage"]["report"]
    assert report["fail_under"] == 90 and "omit" not in {*run, *report}
    assert [one.rsplit("/", 1)[1] for one in run["source"]] == ["vivid_core"]
    assert "coverage run -m pytest" in recipe("coverage") and "coverage report" in recipe("coverage")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_may_only_read_and_names_its_versions(path: Path) -> None:
    text = path.read_text()
    assert "permissions:\n  contents: read\n" in text
    used = re.findall(r"uses: (\S+)", text)
    assert used and all(re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", one) for one in used), used
    assert "pull_request_target" not in text


def test_every_target_is_said_not_to_be_a_file() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert targets == set(phony.split())
