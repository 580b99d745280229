"""Engines compared: all get the same, what is kept is not made again, one that fails stops nothing, and tables are
right."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import evaluating, tiny_clip
from harness.evaluating import PLAIN, clip, engine, failing_on, folder_of, grey, mask, noisy, row, run
from torch import Tensor

from vivid_core.editors.contract import EditRequest
from vivid_core.editors.engine import embedded_engine
from vivid_core.editors.kive import EditOptions, edit_video
from vivid_core.evaluate.__main__ import main
from vivid_core.evaluate.cases import Cut, LoadedCase, load_case, read_cases
from vivid_core.evaluate.engine import Made
from vivid_core.evaluate.engines import KINDS, engines_of, read_run
from vivid_core.evaluate.model_engines import Models
from vivid_core.evaluate.run import Comparison
from vivid_core.evaluate.store import OFF, ON
from vivid_core.evaluate.tables import ALL, as_json, cells, markdown, rows_csv, table_csv
from vivid_core.metrics.report import measure_edit
from vivid_core.runtime import Runtime


def results(out: Path) -> dict[str, int]:
    """The kept results with when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "results").iterdir()}


def test_a_second_call_makes_nothing_and_says_the_same(tmp_path: Path) -> None:
    folder, out = folder_of(tmp_path / "clips"), tmp_path / "out"
    first = run(folder, out, *PLAIN, noisy(), seeds=(0, 1))
    before = results(out)
    second = run(folder, out, *PLAIN, noisy(), seeds=(0, 1))
    assert (first.made, second.made) == (3 * 4, 0) and results(out) == before
    assert table_csv(first) == table_csv(second) and rows_csv(first) == rows_csv(second)


def test_only_what_is_missing_or_damaged_is_made(tmp_path: Path) -> None:
    folder, out = folder_of(tmp_path / "clips"), tmp_path / "out"
    fresh = run(folder, out, *PLAIN)
    kept = sorted((out / "results").iterdir())
    kept[0].unlink()
    kept[1].write_text(kept[1].read_text()[:40])
    kept[2].write_text('{"measures": [[[[')
    (out / row(fresh, "dot 1", "mean").clips[ON]).unlink()
    resumed = run(folder, out, *PLAIN, "background")
    assert 3 + 3 <= resumed.made <= 4 + 3, "three results were spoiled, and a fourth lost its clip"
    assert rows_csv(run(folder, out, *PLAIN)).split(",")[0] == rows_csv(fresh).split(",")[0]
    assert table_csv(run(folder, out, *PLAIN)) == table_csv(fresh)


def test_another_caption_setting_or_seed_is_another_result_and_another_label_is_not(tmp_path: Path) -> None:
    folder, out = folder_of(tmp_path / "clips"), tmp_path / "out"
    assert run(folder, out, grey(0.5)).made == 3
    assert run(folder, out, grey(0.6)).made == 3
    assert run(folder, out, noisy(), seeds=(0,)).made == 3
    assert run(folder, out, noisy(), seeds=(1,)).made == 3
    assert run(folder, out, grey(0.5), cut={"frames": 2}).made == 3
    assert run(folder, out, "mean").made == 3
    assert run(folder, out, "mean:label=another name").made == 0


def test_every_engine_gets_the_same_frames_masks_and_caption(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}

    def spying(label: str) -> Any:
        def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
            seen.setdefault(label, []).append(f"{case.current_identity()} {seed}")
            return Made(case.frames_fhwc.clone())

        return engine(label, make, seeded=True)

    found = run(folder_of(tmp_path / "clips"), tmp_path / "out", spying("one"), spying("two"), seeds=(0, 3))
    assert seen["one"] == seen["two"] and len(set(seen["one"])) == 6
    for case in ("dot 0", "dot 1", "dot 2"):
        assert len({one.inputs for one in found.outcomes if one.case == case}) == 1


def test_an_engine_that_writes_into_its_input_is_refused_and_spoils_no_other(tmp_path: Path) -> None:
    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        case.frames_fhwc.zero_()
        return Made(case.frames_fhwc)

    folder = folder_of(tmp_path / "clips")
    found = run(folder, tmp_path / "out", engine("careless", make), "mean")
    alone = run(folder, tmp_path / "alone", "mean")
    assert all("wrote into its input" in row(found, f"dot {number}", "careless").fault for number in range(3))
    assert [one for one in found.outcomes if one.engine == "mean"] == [
        one.__class__(**{**one.__dict__, "seconds": row(found, one.case, "mean").seconds}) for one in alone.outcomes
    ]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ValueError("The mask is too thin; widen it."), "too thin"),
        (RuntimeError("out of\nmemory"), "RuntimeError: out of"),
    ],
)
def test_an_engine_that_fails_on_one_clip_says_why_there_and_goes_on(
    tmp_path: Path, fault: Exception, said: str
) -> None:
    found = run(folder_of(tmp_path / "clips"), tmp_path / "out", failing_on("dot 1", fault), "mean")
    assert [one.case for one in found.failed] == ["dot 1"] and said in found.failed[0].fault
    assert "\n" not in found.failed[0].fault
    assert said in markdown(found).split("## What failed")[1]
    again = run(tmp_path / "clips", tmp_path / "out", failing_on("gone", fault), "mean")
    assert again.made == 1 and not again.failed, "what failed is tried again, the rest is kept"


@pytest.mark.parametrize("kind", ["NaN", "too short"])
def test_frames_that_are_none_are_a_fault_of_their_engine(tmp_path: Path, kind: str) -> None:
    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        frames = case.frames_fhwc.clone()
        return Made(frames[:-1] if kind == "too short" else frames.fill_(math.nan))

    found = run(folder_of(tmp_path / "clips", 1), tmp_path / "out", engine("bad", make), "mean")
    assert [one.engine for one in found.failed] == ["bad"]
    assert ("NaN" if kind == "NaN" else "must keep length") in found.failed[0].fault


def test_the_composite_leaves_everything_outside_alone_and_is_recorded_with_and_without(tmp_path: Path) -> None:
    found = run(folder_of(tmp_path / "clips"), tmp_path / "out", grey(), "unchanged")
    case = load_case(read_cases(tmp_path / "clips")[0], Cut())
    for how, frames in (
        (OFF, torch.full_like(case.frames_fhwc, 0.5)),
        (ON, Made(torch.full_like(clip(), 0.5)).composited(case)),
    ):
        told = row(found, "dot 0", "grey").measures[how]
        measured = measure_edit(case.frames_fhwc, frames, case.edit_mask_fhw, case.blend_mask_fhw)
        assert told["background"] == measured.background_preservation
        assert told["seam"] == measured.worst("seam")[0]
    assert row(found, "dot 0", "grey").measures[ON]["outside_difference"] == 0
    assert row(found, "dot 0", "grey").measures[OFF]["outside_difference"] > 0.1
    assert all(
        value == 0 for key, value in row(found, "dot 1", "unchanged").measures[OFF].items() if key == "background"
    )


def test_the_mean_fill_is_the_mean_of_what_is_around_the_mask(tmp_path: Path) -> None:
    case = load_case(read_cases(folder_of(tmp_path))[0], Cut())
    made = engines_of(["mean"], Models())[0].make(case, 0, Runtime()).frames_fhwc
    for index in range(evaluating.COUNT):
        outside = case.edit_mask_fhw[index] == 0
        wanted = np.asarray(clip()[index])[np.asarray(outside)].astype(np.float64).mean(0)
        np.testing.assert_allclose(made[index][~outside].numpy(), np.broadcast_to(wanted, (256, 3)), atol=1e-6)
        assert torch.equal(made[index][outside], clip()[index][outside])


@pytest.mark.parametrize("name", ["background", "patch"])
def test_removal_without_weights_changes_the_hole_and_little_else(tmp_path: Path, name: str) -> None:
    case = load_case(read_cases(folder_of(tmp_path))[0], Cut())
    made = Made(engines_of([name], Models())[0].make(case, 0, Runtime()).frames_fhwc).composited(case)
    assert not torch.equal(made[mask(12) > 0.5], clip()[mask(12) > 0.5])
    assert torch.equal(made[case.blend_mask_fhw == 0], clip()[case.blend_mask_fhw == 0])


def world_case(folder: Path) -> LoadedCase:
    """A clip of the size that the embedded model knows."""
    from vivid_core.training.sample_files import write_sample

    square = torch.nn.functional.interpolate(clip().permute(0, 3, 1, 2), (48, 48)).permute(0, 2, 3, 1)
    box = torch.zeros(len(square), 48, 48)
    box[1:, 16:32, 16:32] = 1
    write_sample(folder, "one", square, box, ("a small red ring", "", ""), exact=True)
    return load_case(read_cases(folder)[0], Cut())


def test_the_embedded_models_edit_with_the_composite_is_the_one_that_users_get(tmp_path: Path) -> None:
    case = world_case(tmp_path)
    made = engines_of(["vivid:steps=1"], Models())[0].make(case, 4, Runtime())
    model = embedded_engine()
    texts = [model.encoded(text, Runtime()) for text in ("a small red ring", "")]
    request = EditRequest(case.frames_fhwc, case.edit_mask_fhw, *texts, seed=4, steps=1)
    users = edit_video(model, request, EditOptions(blend_mask_fhw=case.blend_mask_fhw))
    assert torch.equal(made.composited(case), users.frames_fhwc)
    assert not torch.equal(made.frames_fhwc, users.frames_fhwc), "without the composite more of it is the model's"


@pytest.mark.parametrize("name", ["kive", "flow"])
def test_a_carried_keyframe_is_on_the_first_masked_frame_and_comes_back_exactly(tmp_path: Path, name: str) -> None:
    case = world_case(tmp_path)
    made = engines_of([f"{name}:steps=1"], Models())[0].make(case, 4, Runtime())
    (key,) = made.keyframes
    assert key.index == 1 and torch.equal(made.composited(case)[1], key.image_hwc)
    outside = case.blend_mask_fhw == 0
    assert torch.equal(made.composited(case)[outside], case.frames_fhwc[outside])


def by_hand(found: Comparison, label: str, how: str, key: str) -> list[float]:
    """Each clip's mean over its seeds."""
    names = dict.fromkeys(one.case for one in found.outcomes)
    return [
        float(np.mean([one.measures[how][key] for one in found.outcomes if (one.case, one.engine) == (name, label)]))
        for name in names
    ]


def test_the_table_has_the_means_over_clips_and_paired_differences(tmp_path: Path) -> None:
    found = run(folder_of(tmp_path / "clips", 4), tmp_path / "out", noisy(), grey(), seeds=(0, 1))
    table = {(one.engine, one.composite, one.task, one.measure): one for one in cells(found)}
    for key in ("background", "seam", "drift"):
        ours, theirs = (by_hand(found, label, OFF, key) for label in ("grey", "noisy"))
        cell = table["grey", OFF, ALL, key]
        assert cell.value.n == 4 and cell.value.mean == pytest.approx(np.mean(ours))
        assert min(ours) <= cell.value.low <= cell.value.mean <= cell.value.high <= max(ours)
        assert cell.against is not None
        assert cell.against.estimate.mean == pytest.approx(np.mean(np.subtract(ours, theirs)))
        assert table["noisy", OFF, ALL, key].against is None
    assert {one.task for one in cells(found)} == {ALL, "entity", "deletion"}
    assert table["grey", ON, "deletion", "seam"].value.n == 1


def test_without_a_mask_nothing_is_said_of_what_is_outside(tmp_path: Path) -> None:
    evaluating.write_images(tmp_path / "DAVIS_480p" / "480p_frames" / "dot", clip())
    (tmp_path / "table.csv").write_text("Video name,Style Change Caption\ndot,a painting\n")
    found = run(tmp_path, tmp_path / "out", "mean", grey())
    told = row(found, "dot/style", "grey").measures[ON]
    assert all(math.isnan(told[key]) for key in ("outside_difference", "background"))
    assert "1 clips have no mask: the whole frame is edited" in markdown(found)
    assert "Outside difference" not in markdown(found).split("## ")[1]
    assert torch.equal(load_case(read_cases(tmp_path)[0], Cut()).blend_mask_fhw, torch.ones(clip().shape[:3]))


def test_all_three_forms_of_the_table_say_the_same(tmp_path: Path) -> None:
    found = run(folder_of(tmp_path / "clips"), tmp_path / "out", "mean", grey(), failing_on("dot 0", ValueError("No.")))
    told = json.loads(as_json(found))
    lines = list(csv.DictReader(io.StringIO(table_csv(found))))
    assert len(told["table"]) == len(lines) == len(cells(found))
    for one, line in zip(told["table"], lines):
        assert (one["engine"], one["measure"]) == (line["engine"], line["measure"])
        assert line["mean"] == ("" if one["value"]["mean"] is None else f"{one['value']['mean']:.8g}")
    rows = list(csv.DictReader(io.StringIO(rows_csv(found))))
    assert len(rows) == 8 * 2 + 1 and [one["fault"] for one in rows if one["fault"]] == ["No."]
    cell = next(one for one in cells(found) if (one.engine, one.composite, one.measure) == ("grey", OFF, "background"))
    assert f"{cell.value.mean:.2f} [{cell.value.low:.2f}, {cell.value.high:.2f}]" in markdown(found)


def test_names_are_text_in_every_table(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "clips", 1)
    evaluating.add_line(folder, {"name": "=1|2<b>*", "clip": "none.mp4", "mask": "none.mp4", "caption": "a"})
    found = run(folder, tmp_path / "out", "mean:label=@sum <i>")
    assert "@sum &lt;i&gt;" in markdown(found) and "=1\\|2&lt;b&gt;\\*" in markdown(found)
    assert "<" not in markdown(found)
    told = list(csv.DictReader(io.StringIO(rows_csv(found))))
    assert {one["engine"] for one in told} == {"'@sum <i>"} and told[-1]["clip"] == "'=1|2<b>*"


class MeanColour:
    """An encoder without weights: a picture is its mean colour, a text how long it is."""

    def __init__(self, name: str) -> None:
        self.identity = name

    def images(self, images_fhwc: Tensor) -> Tensor:
        return images_fhwc.mean((1, 2)) + 0.01

    def texts(self, captions: list[str]) -> Tensor:
        return torch.tensor([[len(caption), 1.0, 1.0] for caption in captions])


def test_ta_and_tc_are_there_with_an_encoder_only_and_ta_not_for_deletions(tmp_path: Path) -> None:
    folder, out = folder_of(tmp_path / "clips"), tmp_path / "out"
    without = run(folder, out, "mean")
    found = run(folder, out, "mean", encoder=MeanColour("one"))
    assert found.made == 3, "they are measured on the frames, which are not kept"
    assert run(folder, out, "mean", encoder=MeanColour("one")).made == 0
    keys = ("text_alignment", "temporal_consistency")
    assert all(math.isnan(row(without, "dot 0", "mean").measures[ON][key]) for key in keys)
    assert all(math.isfinite(row(found, "dot 0", "mean").measures[ON][key]) for key in keys)
    assert [math.isnan(row(found, "dot 2", "mean").measures[ON][key]) for key in keys] == [True, False]
    assert "Text alignment" in markdown(found) and "Text alignment" not in markdown(without)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("vivd", "got the engine 'vivd'; choose one of"),
        ("vivid:step=3", "vivid has no setting 'step'"),
        ("vivid:steps=2.5", "steps = '2.5'; it must be a whole number"),
        ("vivid:steps=many", "must be a whole number"),
        ("vivid:steps", "NAME:key=value"),
        ("vivid:model=gone.safetensors", "there is no such model"),
        ("pix2video:model=gone.safetensors", "there is no such model"),
        ({"engine": "mean", "label": "a\nb"}, "characters in a line"),
        ({"engine": ["mean"]}, "choose one of"),
    ],
)
def test_an_engine_that_cannot_be_is_refused_in_a_sentence(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        engines_of([given], Models())
    assert str(raised.value).count("\n") == 0


def test_an_engine_may_not_be_named_twice() -> None:
    for twice in (["mean", "mean"], ["mean", "mean:label=other"], ["mean:label=a", "patch:label=a"]):
        with pytest.raises(ValueError, match="named twice"):
            engines_of(twice, Models())


def test_a_file_names_engines_as_the_command_line_does(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"engines": [{"engine": "vivid", "steps": 2, "label": "ours"}]}')
    (tmp_path / "run.toml").write_text('[[engines]]\nengine = "vivid"\nsteps = 2\nlabel = "ours"\n')
    wanted = engines_of(["vivid:steps=2,label=ours"], Models())[0]
    listed = ["run.json"] + (["run.toml"] if sys.version_info >= (3, 11) else [])
    for name in listed:
        (found,) = engines_of(read_run(tmp_path / name), Models())
        assert (found.label, found.identity) == (wanted.label, wanted.identity)
    (tmp_path / "bad.json").write_text('{"engines": "vivid"}')
    with pytest.raises(ValueError, match="must hold a list"):
        read_run(tmp_path / "bad.json")
    for name, text in (("deep.json", "[" * 100_000), ("torn.toml", "[[engines"), ("torn.json", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name} can't be read"):
            read_run(tmp_path / name)


def test_the_command_writes_everything_and_its_exit_status_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(tmp_path / "clips", 2)
    arguments = [str(folder), "--engine", "mean", "--engine", "unchanged", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    wanted = {"table.md", "table.csv", "rows.csv", "table.json", "index.html", "blind.html", "blind_key.json"}
    assert wanted == {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    evaluating.add_line(folder, "{broken")
    assert main(arguments) == 1 and "line 3 is no JSON" in (tmp_path / "out" / "table.md").read_text()
    assert main([str(tmp_path / "none")]) == 2 and main([*arguments, "--seeds", "x"]) == 2
    assert main([*arguments, "--only", "other*"]) == 2
    assert main([*arguments, "--only", "dot*", "--clips", "1"]) == 0


def test_the_command_takes_a_clip_from_a_folder(tmp_path: Path) -> None:
    clips, model = folder_of(tmp_path / "clips", 1), tiny_clip.save_clip(tmp_path / "tiny", tiny_clip.clip_model())
    arguments = [str(clips), "--engine", "mean", "--clip-folder"]
    assert main([*arguments, str(model)]) == 0
    table = (clips / "evaluation" / "table.md").read_text()
    assert "TA and TC are measured by tiny (" in table and "Temporal consistency (TC)" in table
    assert main([*arguments, str(tmp_path / "none")]) == 2


def test_every_kind_of_engine_says_what_it_is() -> None:
    assert all(len(kind.meaning) > 5 for kind in KINDS.values())
