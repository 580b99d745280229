"""A video edited from file to file: what Propagate Edit gives to the bit, in memory that doesn't grow, nothing lost."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from cancelling import CancelAfter, CancelledError
from editing_models import one_thread
from harness.clips import write_film
from kive_models import keys_of, oracle_engine, painted, random_engine, request, windows_run
from torch import Tensor

from vivid_core.clips import Clip, Computed, lazily
from vivid_core.editors import footage as footage_module
from vivid_core.editors.contract import EditRequest
from vivid_core.editors.engine import Engine
from vivid_core.editors.footage import Footage, file_footage, tensor_footage
from vivid_core.editors.kive import EditOptions, edit_video, prepared, propagate
from vivid_core.editors.long_video import in_order, write_edited
from vivid_core.editors.window_store import FolderStore, MemoryStore
from vivid_core.masks.tracks import Track
from vivid_core.runtime import Runtime
from vivid_core.video.files import read_frames, read_info
from vivid_core.video.frame_reader import FrameReader
from vivid_core.video.keyframes import Keyframes

KEEP = 9  # the window of the oracle
needs_rotation = pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV can't write a rotation"
)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


def decoded(path: Path) -> Tensor:
    """The frames as Propagate Edit would get them."""
    return torch.stack(list(read_frames(path))).float() / 255


def moving_box(count: int, height: int = 48, width: int = 64) -> Tensor:
    mask = torch.zeros(count, height, width)
    for index in range(count):
        mask[index, 14:34, 10 + index % 20 : 30 + index % 20] = 1
    return mask


def asked(frames: Clip, mask: Clip, keys: Keyframes | None = None, **changes: Any) -> EditRequest:
    return request(frames, mask, keys, **changes)  # type: ignore[arg-type]


def streamed(
    engine: Engine, footage: Footage, mask: Clip, keys: Keyframes | None, folder: Path, **options: Any
) -> tuple[Tensor, list[str]]:
    """All frames before they are encoded, and the notes."""
    notes: list[str] = []
    settings = EditOptions(cuts=footage.cuts, **options)
    run = prepared(engine, asked(footage.frames_fhwc, mask, keys), settings, notes)
    return torch.stack(list(in_order(run, folder / "waiting", Runtime(), notes))), notes


def written(
    path: Path, target: Path, engine: Engine | None = None, keys: tuple[int, ...] = (0,), **how: Any
) -> tuple[str, list[str]]:
    """The film at `path`, edited into `target` by keyframes on these frames; its report and notes."""
    notes: list[str] = []
    runtime, store = how.pop("runtime", Runtime()), how.pop("store", None)
    with file_footage(path, KEEP, **how) as footage:
        count, height, width = footage.frames_fhwc.shape[:3]
        mask = moving_box(count, height, width)
        chosen = Keyframes([painted(footage.frames_fhwc, mask, at, 0.2) for at in keys])  # type: ignore[arg-type]
        options = EditOptions(crop="off", cuts=footage.cuts, store=store)
        run = prepared(engine or oracle_engine(), asked(footage.frames_fhwc, lazily(mask), chosen), options, notes)
        return write_edited(run, footage, target, runtime, notes), notes


# ------------------------------------------------------------------------------------------------- the same to the bit


@pytest.mark.parametrize("keys", ((), (0,), (29,), (7, 20), (3, 12, 13)))
@pytest.mark.parametrize("crop", ("off", "fine"))
def test_a_streamed_video_is_what_propagate_edit_gives_to_the_bit(
    tmp_path: Path, keys: tuple[int, ...], crop: str
) -> None:
    path = write_film(tmp_path / "film.mp4", 30)
    frames, mask = decoded(path), moving_box(30)
    mask[15:18] = 0
    chosen = keys_of(frames, mask, **{f"at{at}": 0.1 + 0.02 * at for at in keys})
    engines = [oracle_engine(), oracle_engine(ends_on_keys=True)]
    for engine in [*engines, random_engine()] if keys == (7, 20) else engines:
        whole = (propagate if keys else edit_video)(
            engine, request(frames, mask, chosen), EditOptions(crop=crop, overlap=3)
        )
        with file_footage(path, KEEP) as footage:
            assert footage.cuts == ()
            lazy, _ = streamed(engine, footage, lazily(mask), chosen, tmp_path, crop=crop, overlap=3)
        assert torch.equal(lazy, whole.frames_fhwc)


def test_shots_tracks_blend_masks_and_a_mask_for_all_frames_give_the_same_too(tmp_path: Path) -> None:
    first, second = (write_film(tmp_path / f"{seed}.mp4", 12, (128, 96), seed=seed) for seed in (3, 8))
    both = torch.cat([decoded(first), decoded(second)])
    path = tmp_path / "both.mp4"
    from vivid_core.video.files import write_video

    write_video(path, both, 24, crf=4)
    frames, mask = decoded(path), moving_box(24, 96, 128)
    keys, blend = keys_of(frames, mask, at5=0.4, at20=0.7), moving_box(24, 96, 128) * 0.7
    track = Track.pack(mask[None])
    by_track = Computed((24, 96, 128), lambda at: track.mask(at).float())
    with file_footage(path, KEEP) as footage:
        assert footage.cuts == (12,)
        for masks, options in ((by_track, {}), (lazily(mask), {"blend_mask_fhw": blend}), (lazily(mask[:1]), {})):
            given = mask[:1] if masks.shape[0] == 1 else mask
            whole = propagate(
                oracle_engine(), request(frames, given, keys), EditOptions(crop="fast", cuts=(12,), **options)
            )
            lazy, notes = streamed(oracle_engine(), footage, masks, keys, tmp_path, crop="fast", **options)
            assert torch.equal(lazy, whole.frames_fhwc)
            assert any("one mask was given for 24 frames" in note for note in notes) == (len(given) == 1)


def test_frames_that_are_in_memory_are_used_as_they_are(tmp_path: Path) -> None:
    frames, mask = decoded(write_film(tmp_path / "film.mp4", 20)), moving_box(20)
    whole = edit_video(oracle_engine(), request(frames, mask), EditOptions(crop="off"))
    lazy, _ = streamed(oracle_engine(), tensor_footage(frames, Fraction(24)), lazily(mask), None, tmp_path, crop="off")
    assert torch.equal(lazy, whole.frames_fhwc)


# ------------------------------------------------------------------------------------------------------------- memory


class Watched(FrameReader):
    """Counts the frames that are alive at once: those that are kept as bytes, and those that were given out."""

    alive, most = [0, 0], [0, 0]
    made: list[Watched] = []

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        Watched.made.append(self)

    def _decode(self, index: int) -> Tensor | None:
        pixels = super()._decode(index)
        return pixels if pixels is None else watched(pixels, 0)

    def frame(self, index: int) -> Tensor:
        return watched(super().frame(index), 1)


def watched(tensor: Tensor, kind: int) -> Tensor:
    def gone() -> None:
        Watched.alive[kind] -= 1

    Watched.alive[kind] += 1
    Watched.most[kind] = max(Watched.most[kind], Watched.alive[kind])
    weakref.finalize(tensor, gone)
    return tensor


@pytest.mark.parametrize("key", ("first", "last"))
def test_memory_and_work_do_not_grow_faster_than_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(footage_module, "FrameReader", Watched)
    for count in (30, 120):
        path = write_film(tmp_path / f"{count}.mp4", count)
        Watched.most[:] = [0, 0]
        report, _ = written(path, tmp_path / "out.mp4", keys=(0,) if key == "first" else (count - 1,))
        assert f"{count} frames" in report
        kept, given = Watched.most
        assert KEEP <= kept <= KEEP + 1 and 0 < given <= 2 * KEEP
        # Backward windows are read once more for writing, from the nearest place where a decoder can begin.
        assert Watched.made[0].decoded <= (count + 12 if key == "first" else 4 * count)
        Watched.made.clear()
        assert Watched.alive == [0, 0]


def test_a_reader_gives_any_frame_in_any_order(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 40, keys_every=7)
    frames = decoded(path)
    with file_footage(path, 3) as footage:
        for at in (39, 0, 17, 18, 16, 5, 39, 21, 20, 19, 3, 4, 5, 6, 7, 8, 9):
            assert torch.equal(footage.frames_fhwc[at], frames[at]), at
        assert torch.equal(footage.frames_fhwc[12:20], frames[12:20])
        assert torch.equal(footage.frames_fhwc[-1], frames[-1])
        with pytest.raises(IndexError):
            footage.frames_fhwc[40]


@pytest.mark.parametrize("fault", ("key frames where none are", "time stamps that fall", "none at all"))
def test_where_seeking_fails_the_file_is_read_from_its_beginning(tmp_path: Path, fault: str) -> None:
    from vivid_core.video.frame_reader import FrameTable, scan

    path, table = write_film(tmp_path / "film.mp4", 30, keys_every=30), FrameTable()
    frames = torch.stack(list(scan(path, table))).float() / 255
    if fault == "key frames where none are":
        table.starts[:] = range(0, 30, 4)
        table.pts[:] = [(one or 0) + 512 for one in table.pts]
    elif fault == "time stamps that fall":
        table.pts[3] = table.pts[5]
    else:
        table.pts[:] = [None] * 30
    with FrameReader(path, table, 2) as reader:
        for at in (20, 21, 4, 29, 0):
            assert torch.equal(reader.frame(at), frames[at])


def test_a_file_that_is_cut_short_meanwhile_is_said(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 30)
    other = write_film(tmp_path / "other.mp4", 5)
    with file_footage(path, 2) as footage:
        os.replace(other, path)
        with pytest.raises(ValueError, match="the file has changed"):
            footage.frames_fhwc[20]


# ------------------------------------------------------------------------------------------------------ what is kept


def times_of(path: Path) -> tuple[list[Fraction], Fraction]:
    """When each frame is shown, and when the last one ends."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = sorted((p.pts, p.duration) for p in container.demux(stream) if p.size)
        first = packets[0][0]
        times = [(pts - first) * stream.time_base for pts, _ in packets]
        return times, (sum(packets[-1]) - first) * stream.time_base


@pytest.mark.parametrize("name", ("film.mp4", "film.mkv"))
def test_frames_that_come_unevenly_keep_their_times(tmp_path: Path, name: str) -> None:
    pts = [0, 40, 41, 80, 200, 240, 1000, 1033, 1066, 1100, 1400]
    path = write_film(tmp_path / name, 11, pts=pts, time_base=Fraction(1, 1000), last=250, sound="aac")
    report, notes = written(path, tmp_path / "out.mp4")
    times, end = times_of(tmp_path / "out.mp4")
    assert times == [Fraction(one, 1000) for one in pts]
    assert end == Fraction(1650, 1000) or name.endswith("mkv")  # where the last one ends is not in every file
    assert read_info(tmp_path / "out.mp4").has_audio and "11 frames" in report


@pytest.mark.parametrize("rate", (Fraction(24), Fraction(30000, 1001), Fraction(25, 2)))
def test_an_even_rate_stays_exact(tmp_path: Path, rate: Fraction) -> None:
    from vivid_core.video.files import write_video

    write_video(tmp_path / "film.mp4", torch.rand(10, 48, 64, 3), rate)
    with file_footage(tmp_path / "film.mp4", KEEP) as footage:
        assert footage.rate == rate and footage.showing.timing is None
        assert footage.seconds == 10 / rate
    written(tmp_path / "film.mp4", tmp_path / "out.mp4")
    assert read_info(tmp_path / "out.mp4").fps == rate
    assert times_of(tmp_path / "out.mp4") == times_of(tmp_path / "film.mp4")


@needs_rotation
@pytest.mark.parametrize("degrees", (90, 180, 270))
@pytest.mark.parametrize("upright", (True, False))
def test_a_turned_video_is_seen_as_before(tmp_path: Path, degrees: int, upright: bool) -> None:
    path = write_film(tmp_path / "phone.mp4", 4, (96, 48), rotation=degrees)
    written(path, tmp_path / "out.mp4", upright=upright)
    assert read_info(tmp_path / "out.mp4").rotation == (0 if upright else degrees)
    before, after = decoded(path), decoded(tmp_path / "out.mp4")
    assert before.shape == after.shape
    assert (before - after).abs().median() < 3 / 255


@needs_rotation
def test_where_a_rotation_can_not_be_written_the_pictures_are_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_film(tmp_path / "phone.mp4", 4, (96, 48), rotation=90)
    monkeypatch.setattr(footage_module, "_rotation", lambda facts, upright: (0, facts.rotation // 90))
    written(path, tmp_path / "out.mp4", upright=False)
    assert read_info(tmp_path / "out.mp4").rotation == 0
    assert (decoded(path) - decoded(tmp_path / "out.mp4")).abs().median() < 3 / 255


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_sound_is_copied_to_the_bit_also_where_it_is_longer_than_the_pictures(tmp_path: Path) -> None:
    for seconds in (0.4, 1.0, 3.0):
        path = write_film(tmp_path / "film.mp4", 24, sound="aac", sound_seconds=seconds)
        _, notes = written(path, tmp_path / "out.mp4")
        assert packets_of(tmp_path / "out.mp4") == packets_of(path)
        assert not any("Not kept" in note or "sound" in note for note in notes)


def test_a_video_without_sound_stays_so_without_a_word(tmp_path: Path) -> None:
    _, notes = written(write_film(tmp_path / "film.mp4", 5), tmp_path / "out.mp4")
    assert not read_info(tmp_path / "out.mp4").has_audio and notes == []


def test_what_can_not_be_kept_is_said_in_one_line(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mkv", 6, pix_fmt="yuv420p10le", sound="pcm_s16le")
    _, notes = written(path, tmp_path / "out.mp4")
    lost = [note for note in notes if note.startswith("Not kept of the video:")]
    assert len(lost) == 1 and "10 bits for each colour" in lost[0] and "pcm_s16le (it is encoded as AAC)" in lost[0]
    assert read_info(tmp_path / "out.mp4").has_audio


@pytest.mark.parametrize(
    ("film", "words"),
    (
        ({"transfer": 16}, "HDR (PQ"),
        ({"transfer": 18}, "HDR (HLG"),
        ({"sound": "aac", "tracks": 2}, "1 more sound track."),
        ({"sound": "aac", "tracks": 3}, "2 more sound tracks."),
    ),
)
def test_each_thing_that_a_new_file_does_not_have_is_named(tmp_path: Path, film: dict[str, Any], words: str) -> None:
    _, notes = written(write_film(tmp_path / "film.mkv", 4, **film), tmp_path / "out.mp4")
    assert len(notes) == 1 and notes[0].startswith("Not kept of the video: ") and words in notes[0]


def test_wide_pixels_stay_wide(tmp_path: Path) -> None:
    from vivid_core.video.files import Showing, write_video

    wide = Showing(pixel_aspect=Fraction(4, 3))
    write_video(tmp_path / "film.mp4", torch.rand(3, 48, 64, 3), 24, showing=wide)
    written(tmp_path / "film.mp4", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert Fraction(container.streams.video[0].sample_aspect_ratio) == Fraction(4, 3)


def test_odd_sizes_and_single_frames_run(tmp_path: Path) -> None:
    path = write_film(tmp_path / "odd.mkv", 5, (63, 47), pix_fmt="yuv444p")
    _, notes = written(path, tmp_path / "out.mp4")
    assert any("63x47 was padded to 64x48" in note for note in notes)
    one = write_film(tmp_path / "one.mp4", 1)
    report, _ = written(one, tmp_path / "out.mp4")
    assert read_info(tmp_path / "out.mp4").frames == 1 and "1 frame" in report


def test_a_part_of_a_file_is_edited_with_its_own_sound(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 48, sound="aac")
    with file_footage(path, 3, span=(0.5, 1.0)) as footage:
        assert torch.equal(footage.frames_fhwc[:], decoded(path)[12:36])
        assert torch.equal(footage.frames_fhwc[2], decoded(path)[14]), "also after it was read to its end"
    written(path, tmp_path / "out.mp4", span=(0.5, 1.0))
    assert read_info(tmp_path / "out.mp4").frames == 24
    sound, whole = packets_of(tmp_path / "out.mp4"), packets_of(path)
    assert len(sound) == pytest.approx(48000 / 1024, abs=2)
    start = whole.index(sound[0])
    assert sound == whole[start : start + len(sound)] and start == pytest.approx(0.5 * 48000 / 1024, abs=2)
    with pytest.raises(ValueError, match="no frames in the part"), file_footage(path, 3, span=(9.0, 1.0)):
        pass


# ------------------------------------------------------------------------------------------------- stopping, resuming


def test_a_stopped_run_leaves_no_file_and_goes_on(tmp_path: Path) -> None:
    path, out = write_film(tmp_path / "film.mp4", 30), tmp_path / "out"
    out.mkdir()
    for keys in ((0,), (29,)):
        store = FolderStore(tmp_path / f"windows{keys[0]}", 10**9)
        engine = oracle_engine()
        with pytest.raises(CancelledError):
            # The bar counts the pass through the file, too.
            written(path, out / "film.mp4", engine, keys, store=store, runtime=CancelAfter(2 * 2 + 12 * (keys == (0,))))
        assert list(out.iterdir()) == [] and windows_run(engine) >= 2
        again = oracle_engine()
        report, _ = written(path, out / "film.mp4", again, keys, store=store)
        assert windows_run(again) < 4 and "kept from before" in report
        assert [one.name for one in out.iterdir()] == ["film.mp4"]
        (out / "film.mp4").unlink()


KILLED = """
import os, sys
sys.path[:0] = {path!r}
from harness.packages import import_from_root
import_from_root("vivid_core")
from pathlib import Path
import test_long_video as here
from vivid_core.editors.window_store import FolderStore

class Kills(FolderStore):
    def put(self, key, frames):
        super().put(key, frames)
        if len(list(Path({store!r}).glob("*.safetensors"))) == 2:
            os.kill(os.getpid(), 9)

here.written(Path({film!r}), Path({target!r}), store=Kills({store!r}, 10**9))
"""


@pytest.mark.skipif(os.name == "nt", reason="it needs a signal that nothing can catch")
def test_a_killed_process_leaves_no_finished_file_and_another_one_goes_on(tmp_path: Path) -> None:
    film, target, store = write_film(tmp_path / "film.mp4", 30), tmp_path / "out.mp4", tmp_path / "windows"
    names = {"path": sys.path, "film": str(film), "target": str(target), "store": str(store)}
    child = subprocess.run([sys.executable, "-c", KILLED.format(**names)], capture_output=True, text=True)
    assert child.returncode == -9, child.stderr
    assert not target.exists()
    engine = oracle_engine()
    report, _ = written(film, target, engine, store=FolderStore(store, 10**9))
    assert windows_run(engine) == 2 and "2 windows of 2 steps, 2 windows kept from before" in report
    assert read_info(target).frames == 30


def test_changing_one_keyframe_makes_its_windows_anew_and_no_others(tmp_path: Path) -> None:
    path, store = write_film(tmp_path / "film.mp4", 30), MemoryStore(10**9)
    frames, mask, off = decoded(path), moving_box(30), EditOptions(crop="off")
    for colour, wanted in ((0.3, 6), (0.6, 2)):
        engine = oracle_engine()
        keys = keys_of(frames, mask, at0=0.2, at10=colour, at20=0.8)
        with file_footage(path, KEEP) as footage:
            again, _ = streamed(engine, footage, lazily(mask), keys, tmp_path, crop="off", store=store)
        assert windows_run(engine) == wanted
        assert torch.equal(again, propagate(oracle_engine(), request(frames, mask, keys), off).frames_fhwc)


def test_windows_that_can_not_wait_on_disk_are_said(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 30)
    frames, mask = decoded(path), moving_box(30)
    in_the_way = tmp_path / "waiting"
    in_the_way.write_text("")
    with file_footage(path, KEEP) as footage, pytest.raises(ValueError, match="free some space") as caught:
        streamed(oracle_engine(), footage, lazily(mask), keys_of(frames, mask, at29=0.5), tmp_path, crop="off")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("mask", "sentence"),
    (
        (moving_box(29), "29 masks for 30 frames"),
        (moving_box(30, 40, 64), "masks of 64x40 for frames of 64x48"),
        (torch.zeros(30, 48, 64), "mask is empty on all 30 frames"),
    ),
)
def test_masks_of_another_video_get_one_sentence(tmp_path: Path, mask: Tensor, sentence: str) -> None:
    path = write_film(tmp_path / "film.mp4", 30)
    with file_footage(path, KEEP) as footage, pytest.raises(ValueError, match=sentence):
        streamed(oracle_engine(), footage, lazily(mask), None, tmp_path, crop="off")


def test_files_that_are_no_video_get_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video\n" * 200)
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4", "missing.mp4"):
        with pytest.raises(ValueError, match=name), file_footage(tmp_path / name, KEEP):
            pass


def test_a_long_report_leaves_out_its_middle(tmp_path: Path) -> None:
    frames, mask = torch.rand(200, 48, 64, 3), moving_box(200)
    report = edit_video(oracle_engine(), request(frames, mask), EditOptions(crop="off", window=5)).report
    assert "Window 1:" in report and "... and 26 more like these ..." in report
    assert f"Window {math.ceil(199 / 4)}:" in report and "Window 20:" not in report
