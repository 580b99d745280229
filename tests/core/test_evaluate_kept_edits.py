"""Edits that are kept: another CLIP measures what is there, and a damaged file is made again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from harness import tiny_clip
from harness.evaluating import engine, folder_of, row, run
from torch import Tensor

from vivid_core.evaluate.__main__ import main
from vivid_core.evaluate.cases import LoadedCase
from vivid_core.evaluate.edits import KeptEdits
from vivid_core.evaluate.engine import Engine, Made
from vivid_core.evaluate.store import OFF, ON
from vivid_core.metrics.transformers_clip import load_clip
from vivid_core.runtime import Runtime
from vivid_core.video.keyframes import Keyframe, Keyframes


def counted() -> tuple[Engine, list[str]]:
    """An engine whose frames hold more than 8 bits and one of which is a keyframe, and the clips it was asked for."""
    asked: list[str] = []

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        asked.append(case.case.name)
        drawn = torch.rand(case.frames_fhwc.shape, generator=torch.Generator().manual_seed(seed))
        return Made(drawn, Keyframes([Keyframe(1, drawn[1] / 3)]))

    return engine("drawn", make, seeded=True), asked


def test_another_clip_measures_the_kept_edits_and_finds_what_a_fresh_run_finds(tmp_path: Path) -> None:
    folder, (drawn, asked) = folder_of(tmp_path / "clips", 2), counted()
    kept = KeptEdits(tmp_path / "out")
    first = run(folder, tmp_path / "out", drawn, seeds=(0, 1), edits=kept)
    assert len(asked) == 4
    clip = load_clip(tiny_clip.save_clip(tmp_path / "tiny", tiny_clip.clip_model()))
    again = run(folder, tmp_path / "out", drawn, seeds=(0, 1), edits=kept, encoder=clip)
    assert len(asked) == 4 and again.made == 4
    fresh = run(folder, tmp_path / "fresh", drawn, seeds=(0, 1), encoder=clip)
    assert len(asked) == 8
    for one in again.outcomes:
        same = row(fresh, one.case, one.engine, one.seed)
        assert one.measures is not None and str(one.measures) == str(same.measures)
        assert one.seconds == row(first, one.case, one.engine, one.seed).seconds
        assert one.measures[ON]["temporal_consistency"] == one.measures[ON]["temporal_consistency"], "TC is a number"
        assert one.measures[OFF]["drift"] == one.measures[OFF]["drift"], "the keyframe came back, too"


@pytest.mark.parametrize("damage", ["cut", "foreign", "another size"])
def test_a_damaged_edit_is_made_again(tmp_path: Path, damage: str) -> None:
    from safetensors.torch import save_file

    folder, (drawn, asked) = folder_of(tmp_path / "clips", 1), counted()
    kept = KeptEdits(tmp_path / "out")
    run(folder, tmp_path / "out", drawn, edits=kept)
    (file,) = (tmp_path / "out" / "edits").iterdir()
    frames: Tensor = torch.zeros(2, 8, 8, 3)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        save_file({"other" if damage == "foreign" else "frames_fhwc": frames}, file, {"seconds": "1.0"})
    (result,) = (tmp_path / "out" / "results").iterdir()
    result.unlink()
    found = run(folder, tmp_path / "out", drawn, edits=kept)
    assert len(asked) == 2 and not found.failed
    assert run(folder, tmp_path / "out", drawn, edits=kept).made == 0


def test_the_command_keeps_edits_only_when_it_is_told(tmp_path: Path) -> None:
    clips = folder_of(tmp_path / "clips", 1)
    assert main([str(clips), "--engine", "mean"]) == 0 and not (clips / "evaluation" / "edits").exists()
    out = tmp_path / "out"
    assert main([str(clips), "--engine", "mean", "--keep-edits", "--out", str(out)]) == 0
    assert len(list((out / "edits").iterdir())) == 1
