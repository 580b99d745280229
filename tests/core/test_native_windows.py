"""What ComfyUI's own models are shown of a clip, and how what they make comes back: frame by frame."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vivid_core.editors.native import FAMILIES, NativeFamily, cogvideox_mask, fun_mask, vace_mask
from vivid_core.editors.native_window import NativeOptions, NativeWindow, native_plan, native_window
from vivid_core.video.crop import Stitch
from vivid_core.video.keyframes import Keyframe, Keyframes
from vivid_core.video.stitch import stitch_back
from vivid_core.video.window_stitch import stitch_window

SIDE = 32
NO_KEYS = Keyframes([])
PLAIN = NativeOptions(size="frames", crop="off")


def clip(count: int, seed: int = 1, height: int = SIDE, width: int = SIDE) -> Tensor:
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(seed))


def box(count: int, empty: tuple[int, ...] = ()) -> Tensor:
    """A mask that moves, and is empty on some frames."""
    mask = torch.zeros(count, SIDE, SIDE)
    for index in range(count):
        if index not in empty:
            mask[index, 8:20, 2 + index % 16 : 10 + index % 16] = 1
    return mask


def keys_of(answer: Tensor, *indices: int) -> Keyframes:
    return Keyframes(Keyframe(index, answer[index]) for index in indices)


def short(family: NativeFamily, longest: int) -> NativeFamily:
    """The family as if it were trained with shorter clips."""
    return replace(family, traits=replace(family.traits, longest=longest))


def outside(frames: Tensor, mask: Tensor, answer: Tensor) -> Tensor:
    return torch.where(mask[..., None] > 0.5, answer, frames)


# ------------------------------------------------------------------------------------------ one window


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("count", (1, 2, 5, 9, 12))
def test_a_clip_that_fits_is_one_window_of_a_length_that_the_family_takes(name: str, count: int) -> None:
    family = FAMILIES[name]
    made = native_window(family, clip(count), box(count), NO_KEYS, options=PLAIN)
    length = len(made.control_fhwc)
    assert made.count == 1 and length >= count and length % 4 == 1
    assert not family.even or ((length - 1) // 4 + 1) % 2 == 0
    assert length - count < (8 if family.even else 4), "no longer than needed"
    assert made.stitch.frames == made.stitch.shown == tuple(range(count))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_hole_is_filled_the_rest_is_the_clip_and_the_tail_repeats_the_last_frame(name: str) -> None:
    frames, mask = clip(7), box(7)
    made = native_window(FAMILIES[name], frames, mask, NO_KEYS, options=PLAIN)
    fill = 0.5 if name.startswith("wan") else 0.0
    for index in range(len(made.control_fhwc)):
        inside = mask[min(index, 6)] > 0.5
        shown = made.control_fhwc[index]
        assert torch.equal(shown[~inside], frames[min(index, 6)][~inside]) and bool((shown[inside] == fill).all())
        assert torch.equal(made.mask_fhw[index], inside.float())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("at", range(9))
def test_a_keyframe_on_any_frame_is_shown_clean_without_a_hole_and_no_other_frame_changes(name: str, at: int) -> None:
    frames, mask, answer = clip(9), box(9), clip(9, seed=2)
    plain = native_window(FAMILIES[name], frames, mask, NO_KEYS, options=PLAIN)
    made = native_window(FAMILIES[name], frames, mask, keys_of(answer, at), options=PLAIN)
    inside = mask[at] > 0.5
    far = torch.ones(SIDE, SIDE, dtype=torch.bool)
    far[:30, :26] = False  # beyond the soft rim of any of the boxes
    assert torch.equal(made.control_fhwc[at][inside], answer[at][inside])
    assert torch.equal(made.control_fhwc[at][far], frames[at][far]), "what an editor did elsewhere is not shown"
    known = [index for index in range(len(made.mask_fhw)) if not made.mask_fhw[index].any()]
    repeated = range(9, len(made.mask_fhw)) if at == 8 else ()
    assert known == [at, *repeated]
    others = [index for index in range(len(made.mask_fhw)) if index not in known]
    assert torch.equal(made.control_fhwc[others], plain.control_fhwc[others])
    assert torch.equal(made.mask_fhw[others], plain.mask_fhw[others])


def test_the_size_is_that_of_the_family_of_the_frames_or_one_that_was_chosen() -> None:
    frames, mask = clip(1, height=540, width=960), torch.ones(1, 540, 960)

    def size(name: str, chosen: str) -> tuple[int, ...]:
        options = NativeOptions(size=chosen, crop="off")
        return tuple(native_window(FAMILIES[name], frames, mask, NO_KEYS, options=options).control_fhwc.shape[1:3])

    assert size("wan_vace", "auto") == size("wan_fun_inp", "480p") == (480, 848)
    assert size("wan_vace", "720p") == (720, 1280) and size("void", "frames") == (544, 960)
    assert size("cogvideox_fun", "auto")[0] * size("cogvideox_fun", "auto")[1] == pytest.approx(480 * 720, rel=0.1)


# ---------------------------------------------------------------------------------------- masks in latents


def test_the_mask_of_wan_fun_holds_every_frame_and_repeats_frame_0() -> None:
    mask = torch.rand(9, 16, 24, generator=torch.Generator().manual_seed(3)).round()
    made = fun_mask(mask)
    assert made.shape == (4, 3, 2, 3)
    for frame in range(9):
        for row, column in ((0, 0), (1, 2), (0, 1)):
            cell = mask[frame, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            middle = float(cell[3:5, 3:5].mean())
            places = [(channel, 0) for channel in range(4)] if frame == 0 else [((frame - 1) % 4, (frame - 1) // 4 + 1)]
            for channel, latent in places:
                assert float(made[channel, latent, row, column]) == pytest.approx(middle)


def test_the_mask_of_vace_is_one_frame_of_each_four_with_every_pixel() -> None:
    mask = torch.rand(81, 8, 8, generator=torch.Generator().manual_seed(3)).round()
    made = vace_mask(mask)
    read = [
        next(at for at in range(81) if torch.equal(made[:, latent].reshape(8, 8), mask[at])) for latent in range(21)
    ]
    assert read[:4] == [1, 5, 9, 13] and len(set(read)) == 21


def test_how_firmly_a_frame_can_be_told_to_be_known_follows_from_the_masks() -> None:
    assert FAMILIES["wan_fun_inp"].held(13) == (1.0,) * 13
    assert FAMILIES["void"].held(13) == (1.0,) * 13
    vace = FAMILIES["wan_vace"].held(81)
    assert [index for index, share in enumerate(vace) if share][:3] == [1, 5, 9] and set(vace) == {0.0, 1.0}
    assert FAMILIES["cogvideox_fun"].held(9) == (1.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5, 0.0)
    assert cogvideox_mask(torch.ones(9, 8, 8)).shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    ("name", "count", "at", "said"),
    [
        ("wan_vace", 81, 9, ""),
        ("wan_vace", 81, 11, "can't say that this frame is known.*on frame 9;"),
        ("wan_vace", 9, 4, ""),
        ("wan_vace", 9, 6, "can't say that this frame is known.*on frame 7;"),
        ("wan_fun_inp", 9, 6, ""),
        ("void", 9, 6, ""),
        ("cogvideox_fun", 9, 0, ""),
        ("cogvideox_fun", 9, 6, "says only 50%.*on frame 0;"),
        ("cogvideox_fun", 9, 8, "can't say.*on frame 0;"),
    ],
)
def test_a_keyframe_that_the_family_cant_be_told_of_is_said_with_a_better_frame(
    name: str, count: int, at: int, said: str
) -> None:
    keys = keys_of(clip(count, 2), at)
    report = native_window(FAMILIES[name], clip(count), box(count), keys, options=PLAIN).report
    assert bool(re.search(f"Keyframe {at}: .*{said}" if said else f"Keyframe {at}:", report)) == bool(said), report


# -------------------------------------------------------------------------------------------- long clips


@st.composite
def edits(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 40))
    frames = st.integers(0, count - 1)
    return {
        "count": count,
        "family": draw(st.sampled_from(list(FAMILIES))),
        "keys": draw(st.lists(frames, max_size=4, unique=True)),
        "empty": tuple(draw(st.lists(frames, max_size=8, unique=True))),
        "cuts": draw(st.lists(frames, max_size=2)),
        "longest": draw(st.sampled_from([5, 13, 21])),
        "overlap": draw(st.integers(1, 3)),
        "from_keys": draw(st.booleans()),
    }


@given(edits())
@settings(max_examples=120, deadline=None)
def test_a_perfect_model_makes_the_clip_window_by_window_and_nothing_else_changes(edit: dict[str, Any]) -> None:
    count, family = edit["count"], short(FAMILIES[edit["family"]], edit["longest"])
    frames, answer = clip(count), clip(count, seed=2)
    mask = box(count, edit["empty"])
    if not mask.any():
        return
    keys = keys_of(answer, *edit["keys"])
    options = replace(PLAIN, cuts=edit["cuts"], overlap=edit["overlap"], from_keys=edit["from_keys"])
    planned = native_plan(count, family.traits, keys.indices, edit["longest"], options)
    planned = [one for one in planned if any(bool(mask[at].any()) for at in one.new)]
    if not planned:
        return
    so_far = frames
    for index, window in enumerate(planned):
        made = native_window(family, frames, mask, keys, index, so_far, options)
        assert made.count == len(planned) and len(made.control_fhwc) <= family.length_for(edit["longest"])
        for place, at in enumerate(window.frames):
            if at in window.shared and at not in keys.indices:
                assert torch.equal(made.control_fhwc[place], so_far[at]), "anchored on what the window before made"
        shown = answer[list(window.frames)]
        decoded = torch.cat([shown, shown[-1:].expand(len(made.control_fhwc) - len(shown), -1, -1, -1)])
        so_far, difference = stitch_window(
            so_far, decoded, mask, stitch=made.stitch, keyframes=keys, feather=0, notes=[]
        )
        assert difference == 0
    made_by_windows = {at for window in planned for at in (*window.new, *window.keys)}
    wanted = outside(frames, mask, answer)
    for at in range(count):
        assert torch.equal(so_far[at], wanted[at] if at in made_by_windows else frames[at])
    assert all(at in made_by_windows or at in keys.indices for at in range(count) if mask[at].any())


def test_a_keyframe_is_composited_once_though_two_windows_hold_it() -> None:
    """A second time would make its soft rim narrower."""
    frames, mask, answer = clip(21), box(21), clip(21, seed=2)
    keys = keys_of(answer, 8)
    options = replace(PLAIN, from_keys=True)
    windows = [native_window(FAMILIES["wan_vace"], frames, mask, keys, at, frames, options) for at in (0, 1)]
    assert [8 in window.stitch.frames for window in windows] == [True, False]
    assert sorted(at for window in windows for at in window.stitch.frames) == list(range(21))
    so_far = frames
    for window in windows:
        edited = torch.rand(len(window.control_fhwc), SIDE, SIDE, 3)
        so_far, _ = stitch_window(so_far, edited, mask, stitch=window.stitch, keyframes=keys, feather=8, notes=[])
    once, _ = stitch_back(frames[8:9], frames[8:9], mask[8:9], keyframes=keys_of(answer[8:9], 0), feather=8)
    assert torch.equal(so_far[8], once[0])


def test_a_crop_is_followed_and_comes_back_exactly_outside_the_mask() -> None:
    frames, mask = clip(30, height=96, width=160), torch.zeros(30, 96, 160)
    for index in range(30):
        mask[index, 30:50, 10 + 3 * index : 34 + 3 * index] = 1
    family, options = short(FAMILIES["wan_vace"], 13), NativeOptions(crop="fine", size="frames", overlap=2)
    so_far, index, count = frames, 0, 1
    while index < count:
        made = native_window(family, frames, mask, NO_KEYS, index, so_far if index else None, options)
        assert made.stitch.crop.box_size != (96, 160)
        edited = torch.rand(made.control_fhwc.shape, generator=torch.Generator().manual_seed(index))
        so_far, difference = stitch_window(so_far, edited, mask, stitch=made.stitch, feather=0, notes=[])
        index, count = index + 1, made.count
        assert difference == 0
    assert count == 3
    assert torch.equal(so_far[mask == 0], frames[mask == 0])
    assert all(bool((so_far[at] != frames[at]).any()) for at in range(30))


def test_a_crop_that_was_scaled_to_the_frames_size_goes_back_into_its_box() -> None:
    frames, mask = clip(2), torch.zeros(2, SIDE, SIDE)
    mask[:, 10:20, 10:20] = 1
    stitch = Stitch(((8, 8),) * 2, (16, 16), (SIDE, SIDE), (SIDE, SIDE))
    edited = torch.zeros(2, SIDE, SIDE, 3)
    edited[:, :, : SIDE // 2] = 1  # the left half of the box
    result, _ = stitch_back(frames, edited, mask, stitch=stitch, feather=0)
    assert bool((result[:, 10:20, 10:14] > 0.9).all()) and bool((result[:, 10:20, 18:20] < 0.1).all())


@pytest.mark.parametrize(("index", "following"), [(0, "Next: window_index 1,"), (2, "")])
def test_the_report_says_which_window_it_is_and_how_to_go_on(index: int, following: str) -> None:
    report = window(index=index, earlier_fhwc=clip(30)).report
    assert f"window {index + 1} of 3 (window_index {index}), " in report
    assert ("Next:" in report) == bool(following) and following in report
    assert [line.split(":")[0] for line in report.splitlines() if line.startswith("Window")] == [
        "Window 1",
        "Window 2",
        "Window 3",
    ]


# --------------------------------------------------------------------------------------------- bad input


def window(**changes: Any) -> NativeWindow:
    given = {"frames_fhwc": clip(30), "edit_mask_fhw": box(30), "keyframes": NO_KEYS, **changes}
    return native_window(short(FAMILIES["wan_vace"], 13), **{"options": PLAIN, **given})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"index": 3}, "window_index: got 3, but this clip has 3 windows; use 0 to 2[.]$"),
        ({"index": -1}, "window_index: got -1"),
        ({"index": 1}, "connect `earlier` to the frames that Stitch Back returned for window_index 0[.]$"),
        ({"index": 1, "earlier_fhwc": clip(12)}, "got 12 frames of 32x32, but the clip has 30 of 32x32"),
        ({"edit_mask_fhw": torch.zeros(30, SIDE, SIDE)}, "mask is empty on all 30 frames"),
        ({"edit_mask_fhw": box(29)}, "29 masks for 30 frames"),
        ({"keyframes": keys_of(clip(40), 35)}, "Keyframe 35: the clip has 30 frames"),
        ({"options": replace(PLAIN, size="4k")}, "Size: got '4k'; use one of auto, 480p, 720p, frames[.]$"),
        ({"options": replace(PLAIN, overlap=13)}, "overlap of 13 frames leaves nothing new"),
        (
            {"frames_fhwc": clip(1), "edit_mask_fhw": box(1), "keyframes": keys_of(clip(1), 0)},
            "every frame with a mask is a keyframe",
        ),
    ],
)
def test_what_cant_be_planned_is_said_in_one_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        window(**changes)
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


@pytest.mark.parametrize(
    ("original", "edited", "mask", "said"),
    [
        (29, 13, 30, "got a clip of 29 frames, but the window was cut from one of 30"),
        (30, 12, 30, "the edited window has 12 frames, but 13 were asked for"),
        (30, 13, 13, "got 13 masks for a clip of 30 frames"),
    ],
)
def test_a_window_that_doesnt_fit_is_said_in_one_sentence(original: int, edited: int, mask: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        stitch_window(clip(original), clip(edited), box(mask), stitch=window().stitch, notes=[])


def test_one_mask_serves_a_window_too() -> None:
    mask = box(1)
    result, _ = stitch_window(clip(30), clip(13, seed=2), mask, stitch=window().stitch, feather=0, notes=[])
    assert torch.equal(result[:13], outside(clip(30)[:13], mask.expand(13, -1, -1), clip(13, seed=2)))
    assert torch.equal(result[13:], clip(30)[13:])
