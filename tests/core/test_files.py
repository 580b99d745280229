"""Video files: what is written comes back, and a damaged file gets one sentence."""

from __future__ import annotations

import math
import os
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vivid_core.video.files import VideoInfo, read_frames, read_info, write_video


def gradient(height: int, width: int, turn: float = 0.0) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    return torch.stack([(rows + turn).sin(), (columns + turn).cos(), (rows - columns).sin()], -1) * 0.45 + 0.5


def counting_clip(count: int, height: int = 48, width: int = 64) -> list[torch.Tensor]:
    return [torch.full((height, width, 3), 0.1 + 0.8 * index / max(count - 1, 1)) for index in range(count)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, counting_clip(10), Fraction(25))
    return path


def test_the_same_frames_always_give_the_same_file(tmp_path: Path) -> None:
    # With such frames x264's macroblock tree gives another file in most runs.
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 35, 61, generator=generator)
    noise = torch.randn(24, 272, 480, 3, generator=generator) / 50
    fine = [F.interpolate(coarse.roll(turn, 3), size=(272, 480), mode="bicubic")[0].movedim(0, -1) for turn in range(4)]
    frames = [(fine[index % 4] + noise[index]).clamp(0, 1) for index in range(24)]
    paths = [tmp_path / f"{number}.mp4" for number in range(4)]
    for path in paths:
        write_video(path, frames, 24)
    assert len({path.read_bytes() for path in paths}) == 1


def test_colours_survive_a_round_trip(tmp_path):
    frames = [gradient(180, 240, turn) for turn in (0.0, 0.1, 0.2)]
    write_video(tmp_path / "a.mp4", frames, Fraction(24))
    back = list(read_frames(tmp_path / "a.mp4"))
    assert len(back) == 3
    for frame, read in zip(frames, back):
        assert read.dtype == torch.uint8 and read.shape == frame.shape
        error = (read.float() / 255 - frame).abs()
        assert error.mean() < 1.5 / 255


def test_writing_and_reading_alone_give_no_colour_cast(tmp_path):
    frames = [gradient(180, 240, turn) for turn in (0.0, 0.1, 0.2)]
    write_video(tmp_path / "a.mp4", frames, 24, crf=0)  # lossless after the conversion, so that only this is seen
    for frame, read in zip(frames, read_frames(tmp_path / "a.mp4")):
        assert (read.float() / 255 - frame).mean((0, 1)).abs().max() < 0.5 / 255


def test_the_file_is_bt709_in_numbers_and_in_name(tmp_path):
    red = torch.zeros(32, 32, 3)
    red[..., 0] = 1
    write_video(tmp_path / "red.mp4", [red], 25)
    with av.open(str(tmp_path / "red.mp4")) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
    assert frame.format.name == "yuv420p"
    luma, blue, red_plane = (np.frombuffer(plane, np.uint8)[0] for plane in frame.planes)
    assert (luma, blue, red_plane) == (63, 102, 240)  # ITU-R BT.709, limited range


def test_facts_of_a_file_are_read(clip):
    assert read_info(clip) == VideoInfo(64, 48, 10, Fraction(25), False, 0, "h264")


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30), 12.5])
def test_the_rate_is_kept_exactly(tmp_path, rate):
    write_video(tmp_path / "a.mp4", counting_clip(5), rate)
    assert read_info(tmp_path / "a.mp4").fps == Fraction(rate)


@pytest.mark.parametrize("name", ["a.mp4", "a.MOV", "a.mkv"])
def test_containers_keep_frames_and_length(tmp_path, name):
    write_video(tmp_path / name, counting_clip(7), 25)
    assert read_info(tmp_path / name).frames == 7
    assert len(list(read_frames(tmp_path / name))) == 7


def test_a_range_of_frames_is_exact(clip):
    everything = list(read_frames(clip))
    levels = [float(frame.float().mean()) for frame in everything]
    assert levels == sorted(levels) and len(set(levels)) == 10
    part = list(read_frames(clip, 3, 6))
    assert len(part) == 3 and all(torch.equal(a, b) for a, b in zip(part, everything[3:6]))
    assert torch.equal(next(read_frames(clip, 9)), everything[9])


def test_frames_are_read_one_at_a_time(clip):
    frames = read_frames(clip)
    assert next(frames).shape == (48, 64, 3)
    frames.close()


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV can't write a rotation")
@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_a_rotated_phone_video_is_read_upright(tmp_path, degrees, turns):
    stored = (gradient(48, 64) * 255).round().byte().numpy()
    with av.open(str(tmp_path / "phone.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        output.mux(stream.encode(None))
    info = read_info(tmp_path / "phone.mp4")
    frame = next(read_frames(tmp_path / "phone.mp4"))
    upright = np.rot90(stored, turns)
    assert info.rotation == degrees % 360
    assert (info.height, info.width) == tuple(frame.shape[:2]) == upright.shape[:2]
    assert np.abs(frame.numpy().astype(int) - upright).mean() < 3


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (31, 33), (1, 1)])
def test_odd_sizes_are_padded_by_their_edge_and_said(tmp_path, size):
    notes: list[str] = []
    image = gradient(*size)
    write_video(tmp_path / "odd.mp4", [image] * 2, 25, notes=notes)
    read = next(read_frames(tmp_path / "odd.mp4")).float() / 255
    height, width = size[0] + size[0] % 2, size[1] + size[1] % 2
    assert read.shape == (height, width, 3)
    assert (read[: size[0], : size[1]] - image).abs().mean() < 4 / 255
    assert len(notes) == 1 and f"padded to {width}x{height}" in notes[0]


def test_even_sizes_need_no_note(tmp_path):
    notes: list[str] = []
    write_video(tmp_path / "even.mp4", counting_clip(2), 25, notes=notes)
    assert notes == []


def test_one_frame_is_a_video(tmp_path):
    write_video(tmp_path / "one.mp4", counting_clip(1), 25)
    assert read_info(tmp_path / "one.mp4").frames == 1
    assert len(list(read_frames(tmp_path / "one.mp4"))) == 1


def damaged(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "missing":
        return path
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no video\n" * 500)
    elif kind == "sound":
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(4000))
    else:
        noise = torch.rand(30, 48, 64, 3, generator=torch.Generator().manual_seed(0))
        write_video(path, noise, 25)
        path.write_bytes(path.read_bytes()[: 40 if kind == "cut in its header" else 8000])
    return path


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "sound", "cut in its header", "cut early"])
def test_a_file_that_is_no_video_gets_a_sentence_that_names_it(tmp_path, kind):
    path = damaged(kind, tmp_path)
    with pytest.raises(ValueError, match=kind) as caught:
        read_info(path)
    assert str(caught.value).count("\n") == 0 and str(caught.value).endswith(".")
    with pytest.raises(ValueError, match=kind):
        list(read_frames(path))


def test_a_file_cut_short_gives_its_good_frames_and_then_a_sentence(tmp_path):
    path = tmp_path / "cut.mp4"
    write_video(path, torch.rand(60, 96, 128, 3, generator=torch.Generator().manual_seed(0)), 25)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    read = []
    with pytest.raises(ValueError, match="cut.mp4.*damaged or cut short after frame"):
        for frame in read_frames(path):
            read.append(frame)
    assert 10 < len(read) < 60
    assert read_info(path).width == 128


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (3, 3), (5, 2)])
def test_an_impossible_range_is_refused_at_once(clip, start, stop):
    with pytest.raises(ValueError, match="stop above it"):
        read_frames(clip, start, stop)


@pytest.mark.parametrize(("start", "stop"), [(0, 11), (10, None), (10, 12)])
def test_more_frames_than_there_are_is_said(clip, start, stop):
    with pytest.raises(ValueError, match="has only 10 frames"):
        list(read_frames(clip, start, stop))


class Cancelled(Exception):
    """Stands for the exception by which a run is cancelled."""


def cancelled_after(count: int):
    yield from counting_clip(count)
    raise Cancelled


@pytest.mark.parametrize("count", [0, 1, 60])
def test_a_cancelled_run_leaves_nothing_behind(tmp_path, count):
    with pytest.raises(Cancelled):
        write_video(tmp_path / "a.mp4", cancelled_after(count), 25)
    assert os.listdir(tmp_path) == []


def test_a_fault_leaves_the_old_file_as_it_was(tmp_path, clip):
    before = clip.read_bytes()
    with pytest.raises(ValueError, match="frame 3 is 64x50, but the first one is 64x48"):
        write_video(clip, [*counting_clip(3), torch.zeros(50, 64, 3)], 25)
    assert clip.read_bytes() == before and os.listdir(tmp_path) == [clip.name]


def test_an_old_file_is_replaced(clip):
    write_video(clip, counting_clip(4), 25)
    assert read_info(clip).frames == 4


def write_to(path: Path, **options) -> None:
    write_video(path, options.pop("frames", counting_clip(2)), options.pop("fps", 25), **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frames": []}, "no frames to write"),
        ({"frames": [torch.full((8, 8, 3), math.nan)]}, "NaN"),
        ({"frames": [torch.full((8, 8, 3), 2.0)]}, "must lie in 0..1"),
        ({"frames": [torch.zeros(8, 8, 2)]}, "2 channels"),
        ({"frames": [torch.zeros(8, 8)]}, "height, width, channels"),
        ({"fps": 0}, "above 0"),
        ({"fps": math.nan}, "above 0"),
        ({"fps": 1e9}, "below 10000"),
        ({"crf": 60}, "crf 60"),
        ({"audio_from": "nowhere.wav"}, "nowhere.wav: there is no such file"),
    ],
)
def test_what_can_not_be_written_is_refused_and_leaves_nothing(tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        write_to(tmp_path / "a.mp4", **options)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "a.mp4", tmp_path / "file" / "a.mp4"):
        with pytest.raises(ValueError, match="no file can be written to the folder .*choose another folder"):
            write_to(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="no file can be written to the folder"):
        write_to(tmp_path / "a.mp4")
    tmp_path.chmod(0o700)


def test_a_name_taken_by_a_folder_is_refused(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(ValueError, match="can't be written"):
        write_to(tmp_path / "a.mp4")
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must end in one of .mp4"):
        write_to(tmp_path / "a.gif")
