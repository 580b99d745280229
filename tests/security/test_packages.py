"""The packages that the tests run with: every licence is known and allowed, and no pin has a hole that is known."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

import pytest
from package_rules import ALLOWED, BESIDE_THE_LOCK, DATE, EXCEPTIONS, HOLES, holes_in, licence_fault, locked, numbers

NAMES = [*locked(), *BESIDE_THE_LOCK]


def installed() -> bool:
    """Whether this is the environment of the lock file, and not a user's own Python."""
    try:
        return all(version(name) == wanted for name, wanted in locked().items())
    except PackageNotFoundError:
        return False


def test_every_package_has_a_licence_that_is_allowed() -> None:
    if not installed():
        pytest.skip("this Python is not the environment of the lock file")
    assert [fault for name in NAMES if (fault := licence_fault(name))] == []


def test_no_exception_is_left_over() -> None:
    assert [name for name in EXCEPTIONS if name not in NAMES and f"nvidia-{name}" not in NAMES] == []
    assert not {"GPL-3.0", "AGPL-3.0", "LicenseRef-NVIDIA-Proprietary"} & ALLOWED


def test_no_pin_has_a_hole_that_is_known() -> None:
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", DATE)
    assert {name: found for name, pin in locked().items() if (found := holes_in(name, pin))} == {}


def test_the_table_of_holes_is_about_packages_that_are_pinned() -> None:
    assert [name for name in HOLES if name not in locked()] == []
    assert all(re.fullmatch(r"CVE-\d{4}-\d{4,}", one.name) for holes in HOLES.values() for one in holes)


@pytest.mark.parametrize("name", HOLES)
def test_an_older_version_is_found(name: str) -> None:
    """The version itself is fine, the one that is 0 is not."""
    last = max(numbers(one.fixed) for one in HOLES[name])
    assert holes_in(name, ".".join(map(str, last))) == []
    assert set(holes_in(name, "0.0.1")) == {one.name for one in HOLES[name]}


def test_a_package_that_is_unknown_or_says_nothing_is_a_fault() -> None:
    assert "is not installed" in (licence_fault("no-such-package-anywhere") or "")


def test_every_package_is_pinned_to_one_version() -> None:
    assert len(locked()) > 100
    assert [name for name, pin in locked().items() if not re.fullmatch(r"[0-9][\w.+!]*", pin)] == []
