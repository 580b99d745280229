"""Compare Engines in the real executor: a table that Measure Edit agrees with, a sheet and a video of all edits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import scene
import torch
from harness.inprocess import Result

from vivid_core.video.reading import read_info

Call = Callable[..., Result]


def returned(result: Result) -> list[Any]:
    assert result.ok, result.exception
    return result.outputs["node"]


def given(**changes: Any) -> dict[str, Any]:
    """Two edits: the blue square, and everything one step brighter."""
    brighter = (scene.clip() * 0.9 + 0.05).clamp(0, 1)
    inputs = {"original": scene.clip(), "edit_mask": scene.mask(), "edited_1": scene.edited(), "edited_3": brighter}
    return {**inputs, "names": "blue\nbrighter", "fps": 12.0, **changes}


def test_each_edit_has_the_numbers_that_measure_edit_gives_it(call: Call) -> None:
    table, report, _, _ = returned(call("VividCompareEngines", **given()))
    told = json.loads(report)["edits"]
    assert [one["name"] for one in told] == ["blue", "brighter"]
    for one, edited in zip(told, (scene.edited(), given()["edited_3"])):
        alone = returned(call("VividMeasureEdit", original=scene.clip(), edited=edited, edit_mask=scene.mask()))
        measured = json.loads(alone[1])
        assert {key: one[key] for key in ("summary", "per_frame")} == {
            key: measured[key] for key in ("summary", "per_frame")
        }
    rows = [line for line in table.splitlines() if line.startswith("| b")]
    assert [row.split(" | ")[0] for row in rows] == ["| blue", "| brighter"]
    assert rows[0].split(" | ")[1] == "**0.000**" and "**" not in rows[1].split(" | ")[1]


def test_the_sheet_and_the_video_show_the_original_and_every_edit(call: Call) -> None:
    _, _, sheet, video = returned(call("VividCompareEngines", **given()))
    assert sheet.ndim == 4 and sheet.shape[0] == 1 and sheet.shape[3] == 3
    info = read_info(video.get_stream_source())
    assert (info.frames, info.fps) == (scene.COUNT, 12)
    frames = video.get_components().images
    blue, bright = (scene.edited()[0].mean((0, 1)), given()["edited_3"][0].mean((0, 1)))
    rows, columns = info.height // scene.HEIGHT, info.width // scene.WIDTH
    assert rows * columns >= 3
    panels = [
        frames[0, y : y + scene.HEIGHT, x : x + scene.WIDTH].mean((0, 1))
        for y in range(0, info.height - scene.HEIGHT + 1, scene.HEIGHT + 6)
        for x in range(0, info.width - scene.WIDTH + 1, scene.WIDTH + 6)
    ]
    assert torch.allclose(panels[1], blue, atol=0.03) and torch.allclose(panels[2], bright, atol=0.03)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edited_3": scene.clip()[:-1]}, "brighter has 7 frames"),
        ({"edited_1": scene.clip()[:, :50]}, "blue is"),
        ({"edit_mask": torch.zeros_like(scene.mask())}, "the mask is empty"),
        ({"blend_mask": torch.zeros_like(scene.mask())}, "blend_mask: the mask is empty"),
        ({"edited_1": scene.clip() * 255}, "blue: frame 0 holds values"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_edits_name(call: Call, changes: dict[str, Any], said: str) -> None:
    result = call("VividCompareEngines", **given(**changes))
    kind, text = result.exception
    assert not result.ok and kind.endswith("ValueError") and said in text and "\n" not in text


def test_edits_without_a_name_are_numbered_and_no_name_comes_twice(call: Call) -> None:
    for names, wanted in (
        ("", ["edit 1", "edit 2"]),
        ("a\na\nb", ["a", "a (2)"]),
        ("original", ["original (1)", "edit 2"]),
    ):
        report = returned(call("VividCompareEngines", **given(names=names)))[1]
        assert [one["name"] for one in json.loads(report)["edits"]] == wanted


def test_nothing_that_comes_in_is_changed(call: Call) -> None:
    inputs = given(blend_mask=scene.mask())
    before = {name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    returned(call("VividCompareEngines", **inputs))
    assert all(torch.equal(inputs[name], value) for name, value in before.items())
