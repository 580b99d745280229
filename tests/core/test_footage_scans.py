"""A long video is gone through once, not once a run; what was kept is exactly what a pass finds."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch
from harness.clips import write_film

from vivid_core.editors import footage as footage_module
from vivid_core.editors.footage import file_footage
from vivid_core.editors.footage_scans import FootageScans
from vivid_core.video.frame_reader import FrameTable


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The videos that were gone through."""
    seen: list[object] = []
    scan = footage_module.scan

    def counted(media, table, upright=True):
        seen.append(media)
        return scan(media, table, upright)

    monkeypatch.setattr(footage_module, "scan", counted)
    return seen


def test_a_second_run_does_not_go_through_the_video_again_and_sees_the_same(tmp_path: Path, passes: list) -> None:
    path, scans = write_film(tmp_path / "film.mp4", 12), FootageScans(tmp_path / "kept")
    with file_footage(path, 3, scans=scans) as first:
        frames = torch.stack([first.frames_fhwc[index] for index in range(12)])
    with file_footage(path, 3, scans=scans) as second:
        assert (second.cuts, second.rate, second.showing) == (first.cuts, first.rate, first.showing)
        assert torch.equal(torch.stack([second.frames_fhwc[index] for index in range(12)]), frames)
    assert passes == [path]


def test_all_that_a_pass_finds_comes_back(tmp_path: Path) -> None:
    path, scans = write_film(tmp_path / "film.mp4", 4), FootageScans(tmp_path / "kept")
    table = FrameTable(span=(0.5, 2.0), pts=[512, None, 1536], checks=[1, 2, 3], starts=[0, 2], skipped=7, end=2048)
    scans.put(path, True, table, (1, 2))
    assert scans.get(path, (0.5, 2.0), True) == (table, (1, 2))
    assert scans.get(path, (0.5, 1.0), True) is None and scans.get(path, (0.5, 2.0), False) is None


def test_a_video_that_was_written_anew_is_gone_through_again(tmp_path: Path, passes: list) -> None:
    path, scans = write_film(tmp_path / "film.mp4", 8), FootageScans(tmp_path / "kept")
    for count in (8, 5):
        write_film(path, count)
        with file_footage(path, 3, scans=scans) as footage:
            assert len(footage.frames_fhwc) == count
    assert len(passes) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"cuts": []}', '{"cuts": [], "time_base": "1/0", "span": [0, 0]}'])
def test_a_damaged_scan_is_made_again(tmp_path: Path, passes: list, damage: str) -> None:
    path, scans = write_film(tmp_path / "film.mp4", 4), FootageScans(tmp_path / "kept")
    for _ in range(2):
        with file_footage(path, 3, scans=scans) as footage:
            assert len(footage.frames_fhwc) == 4
        (kept,) = (tmp_path / "kept").iterdir()
        kept.write_text(damage)
    assert len(passes) == 2


def test_only_the_scans_asked_for_last_are_kept_and_other_files_stay(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "someone's.json").write_text("{}")
    scans = FootageScans(kept, most=2)
    paths = [write_film(tmp_path / f"{number}.mp4", 2) for number in range(3)]
    table = FrameTable(pts=[0], checks=[0], starts=[0])
    for age, path in enumerate(paths[:2]):
        scans.put(path, True, table, ())
        newest = max(kept.glob("scan_*"), key=lambda one: one.stat().st_mtime_ns)
        os.utime(newest, (1000 + age, 1000 + age))
    assert scans.get(paths[0], (0.0, 0.0), True) is not None  # so it is no longer the oldest
    scans.put(paths[2], True, table, ())
    assert [scans.get(path, (0.0, 0.0), True) is not None for path in paths] == [True, False, True]
    assert (kept / "someone's.json").exists()


def test_a_video_in_memory_and_a_folder_that_cannot_be_made_keep_nothing_and_stop_nothing(
    tmp_path: Path, passes: list
) -> None:
    path = write_film(tmp_path / "film.mp4", 3)
    (tmp_path / "file").write_text("")
    for media, folder in ((io.BytesIO(path.read_bytes()), tmp_path / "kept"), (path, tmp_path / "file" / "below")):
        with file_footage(media, 3, scans=FootageScans(folder)) as footage:
            assert len(footage.frames_fhwc) == 3
    assert len(passes) == 2 and not (tmp_path / "kept").exists()
