"""Sound beside the pictures: copied where it fits, encoded where it doesn't, never longer than the video."""

from __future__ import annotations

import math
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vivid_core.video.files import read_info, write_video


def counting_clip(count: int) -> list[torch.Tensor]:
    return [torch.full((48, 64, 3), 0.1 + 0.8 * index / max(count - 1, 1)) for index in range(count)]


def tone(path: Path, seconds: float, rate: int = 44100, channels: int = 2) -> Path:
    times = np.arange(int(seconds * rate)) / rate
    samples = (np.sin(2 * math.pi * 440 * times) * 12000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(samples[:, None], channels, axis=1).tobytes())
    return path


def sound_of(path: Path) -> tuple[str, float, np.ndarray]:
    """Codec, length in seconds and samples of the first channel."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = [frame.to_ndarray()[0] for frame in container.decode(stream)]
        rate = stream.rate
    joined = np.concatenate(samples)
    return stream.codec_context.name, len(joined) / rate, joined


def test_foreign_sound_is_encoded_and_aac_is_copied(tmp_path):
    tone(tmp_path / "tone.wav", 3.0)
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    write_video(first, counting_clip(50), 25, audio_from=tmp_path / "tone.wav")
    write_video(second, counting_clip(50), 25, audio_from=first)
    codec, seconds, samples = sound_of(first)
    assert codec == "aac" and seconds == pytest.approx(2.0, abs=0.1)
    peak = np.abs(np.fft.rfft(samples[4096:20480])).argmax() * 44100 / 16384
    assert peak == pytest.approx(440, abs=4)
    assert read_info(second).has_audio
    again = sound_of(second)[2]
    shared = min(len(samples), len(again))
    assert abs(len(samples) - len(again)) <= 2048
    assert np.array_equal(samples[:shared], again[:shared]), "copied sound must be the same to the bit"


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_ends_with_a_short_video_and_a_long_video_goes_on_in_silence(tmp_path, channels):
    tone(tmp_path / "tone.wav", 1.0, rate=48000, channels=channels)
    for count, expected in ((10, 0.4), (50, 1.0)):
        write_video(tmp_path / "a.mp4", counting_clip(count), 25, audio_from=tmp_path / "tone.wav")
        assert sound_of(tmp_path / "a.mp4")[1] == pytest.approx(expected, abs=0.1)
        assert read_info(tmp_path / "a.mp4").frames == count


def test_a_source_without_sound_is_noted(tmp_path):
    silent = tmp_path / "silent.mp4"
    write_video(silent, counting_clip(2), 25)
    notes: list[str] = []
    write_video(tmp_path / "a.mp4", counting_clip(3), 25, audio_from=silent, notes=notes)
    assert not read_info(tmp_path / "a.mp4").has_audio
    assert len(notes) == 1 and "has no sound" in notes[0]


def test_sound_may_come_from_the_file_that_is_replaced(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, counting_clip(25), 25, audio_from=tone(tmp_path / "tone.wav", 1.0))
    write_video(path, counting_clip(20), 25, audio_from=path)
    assert read_info(path).frames == 20 and read_info(path).has_audio


def test_sound_that_starts_apart_from_its_pictures_keeps_its_distance(tmp_path):
    tone(tmp_path / "tone.wav", 1.0)
    write_video(tmp_path / "both.mp4", counting_clip(25), 25, audio_from=tmp_path / "tone.wav")
    with av.open(str(tmp_path / "both.mp4")) as source, av.open(str(tmp_path / "late.mkv"), "w") as late:
        streams = {stream: late.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                delay = round((1.0 if packet.stream.type == "video" else 1.2) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + delay, packet.dts + delay, streams[packet.stream]
                late.mux(packet)
    with av.open(str(tmp_path / "late.mkv")) as late:
        if late.streams.video[0].start_time == late.streams.audio[0].start_time:
            pytest.skip("this PyAV loses pictures that it copies into such a file")
    write_video(tmp_path / "out.mp4", counting_clip(25), 25, audio_from=tmp_path / "late.mkv")
    with av.open(str(tmp_path / "out.mp4")) as container:
        first = next(container.decode(audio=0))
    assert first.time == pytest.approx(0.2, abs=0.03)


def test_damaged_sound_is_named_and_leaves_nothing(tmp_path):
    source = tmp_path / "broken.mp4"
    write_video(source, counting_clip(2), 25)
    source.write_bytes(source.read_bytes()[:60])
    with pytest.raises(ValueError, match="broken.mp4: the file holds neither pictures nor sound"):
        write_video(tmp_path / "a.mp4", counting_clip(2), 25, audio_from=source)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.mp4"]
