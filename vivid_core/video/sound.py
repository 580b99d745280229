"""Sound from one media file into another, side by side with the pictures."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from torch import Tensor

COPIED = ("aac", "mp3")  # what every player takes in an mp4; anything else is encoded again
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


class Sound:
    """The first sound stream of `source`, an opened file, for `output`: copied if it fits, else encoded as AAC.

    Time 0 is where the source's pictures start (its sound, if it has none), or second `begin` of the source: what
    sounds before that is left out. A source without sound gives a note.
    """

    def __init__(self, output: Any, source: Any, notes: list[str], begin: Fraction | None = None) -> None:
        self._output = output
        self._source = source
        self._encoder: Any = None
        self._waiting: Any = None
        self._items: Iterator[Any] = iter(())
        stream = sound_stream(source)
        if stream is None:
            notes.append(f"Writing video: {source.name} has no sound, so the video has none.")
            return
        lead = source.streams.video[0] if source.streams.video else stream
        self._cut = begin is not None
        self._begin = Fraction(lead.start_time or 0) * lead.time_base if begin is None else begin
        if stream.codec_context.name in COPIED:
            self._stream = output.add_stream_from_template(stream)
            self._items = (packet for packet in source.demux(stream) if packet.dts is not None)
        else:
            rate = stream.rate if stream.rate in AAC_RATES else 48000
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            self._encoder = self._stream = output.add_stream("aac", rate=rate, layout=layout)
            self._items = source.decode(stream)

    def mux_until(self, seconds: Fraction | None) -> None:
        """Write what sounds before `seconds`, or all of it. Raises ValueError when the source is damaged."""
        while True:
            if self._waiting is None:
                self._waiting = self._next()
            if self._waiting is None or (seconds is not None and self._start_of(self._waiting) >= seconds):
                return
            if not (self._cut and self._end_of(self._waiting) <= 0):
                self._write(self._waiting)
            self._waiting = None

    def finish(self, rest: bool = False) -> None:
        """Write what the encoder still holds; with `rest` all that is left of the source before."""
        if rest:
            self.mux_until(None)
        if self._encoder is not None:
            self._output.mux(self._encoder.encode(None))

    def _next(self) -> Any:
        import av

        try:
            return next(self._items, None)
        except av.error.FFmpegError as fault:
            raise ValueError(
                f"{self._source.name}: its sound is damaged or cut short ({fault.strerror}); give a file whose sound "
                "plays, or write the video without sound."
            ) from fault

    def _start_of(self, item: Any) -> Fraction:
        return Fraction(item.pts or 0) * item.time_base - self._begin

    def _end_of(self, item: Any) -> Fraction:
        samples = getattr(item, "samples", None)  # of a decoded frame; a packet has a duration
        length = Fraction(item.duration or 0) * item.time_base if samples is None else Fraction(samples, item.rate)
        return self._start_of(item) + length

    def _write(self, item: Any) -> None:
        shift = round(self._begin / item.time_base)
        item.pts = (item.pts or 0) - shift
        if self._encoder is not None:
            self._output.mux(self._encoder.encode(item))
            return
        item.dts -= shift
        item.stream = self._stream
        self._output.mux(item)


def sound_stream(source: Any) -> Any:
    """The first sound stream of an opened file that can be read; None if there is none."""
    return next((one for one in source.streams.audio if one.codec_context is not None), None)


def wav_of(waveform_cs: Tensor, rate: int) -> io.BytesIO:
    """Samples [channels, samples] in -1..1 as a WAV file of 16 bits in memory, for `SoundFrom`."""
    file = io.BytesIO()
    samples = (waveform_cs.float().clamp(-1, 1) * 32767).round().short().T.contiguous().cpu().numpy()
    with wave.open(file, "wb") as target:
        target.setnchannels(waveform_cs.shape[0])
        target.setsampwidth(2)
        target.setframerate(rate)
        target.writeframes(samples.astype("<i2").tobytes())
    return file
