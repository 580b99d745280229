"""Files that are there whole or not at all, whatever stops the one who writes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".part"


@contextmanager
def whole_file(path: Path, *faults: type[Exception]) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` when the block has ended well, and goes away otherwise.

    Raises ValueError, in one sentence with the file's name, when the disk is full or the folder can't be written.
    `faults` are what else the writer in the block raises then, beside OSError.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    expected: tuple[type[Exception], ...] = (OSError, *faults)
    try:
        yield unfinished
        unfinished.replace(path)
    except expected as fault:
        why = fault.strerror if isinstance(fault, OSError) and fault.strerror else "no room, or a fault of the disk"
        raise ValueError(f"{path} can't be written ({why}); free some space, or choose another folder.") from fault
    finally:
        _remove(unfinished)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # a folder that can't be written holds nothing of ours
        return
