"""What documents say of where their figures come from, in repositories made for it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from harness import commit as clone

from vivid_core import origin


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    root = tmp_path / "pack"
    root.mkdir()
    (root / "code.py").write_text("1\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    return root


def git(root: Path, *command: str) -> str:
    return subprocess.run(["git", "-C", str(root), *command], check=True, capture_output=True, text=True).stdout.strip()


def test_a_commit_is_its_number_and_whether_anything_was_changed_since(repository: Path) -> None:
    head = git(repository, "rev-parse", "--short", "HEAD")
    assert clone.commit(repository) == head
    (repository / "docs").mkdir()
    (repository / "docs" / "claims.md").write_text("written by a command\n")
    assert clone.commit(repository) == head, "the page itself is no change of the code"
    (repository / "new.py").write_text("2\n")
    assert clone.commit(repository) == f"{head} with changes"
    (repository / "new.py").unlink()
    (repository / "code.py").write_text("2\n")
    assert clone.commit(repository) == f"{head} with changes"


def test_without_a_repository_of_its_own_the_packs_commit_is_unknown(repository: Path, tmp_path: Path) -> None:
    inner = repository / "custom_nodes" / "vivid"
    inner.mkdir(parents=True)
    assert clone.commit(inner) == clone.UNKNOWN, "this commit is the other repository's"
    (tmp_path / "plain").mkdir()
    assert clone.commit(tmp_path / "plain") == clone.UNKNOWN
    assert clone.commit(tmp_path / "not there") == clone.UNKNOWN


def test_without_git_the_commit_is_unknown(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert clone.commit(repository) == clone.UNKNOWN


def test_documents_name_the_commit_that_their_command_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(origin.COMMIT, raising=False)
    assert origin.commit() == origin.UNKNOWN
    monkeypatch.setenv(origin.COMMIT, "1234567 with changes\n")
    assert origin.commit() == "1234567 with changes"


def test_the_machine_is_told_without_its_name() -> None:
    told = origin.machine()
    assert re.match(r"\d+ CPU cores \(", told) and told.endswith(origin.gpu() or "no GPU")
    assert socket.gethostname() not in told
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", origin.today())


def test_the_gpu_is_what_torch_says_and_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "DRIVERS", ())
    if sys.platform == "linux":
        assert origin.gpu() is None
    monkeypatch.setattr(origin, "DRIVERS", (Path(__file__),))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    assert (origin.gpu() or "0 x").startswith(f"{count} x")
