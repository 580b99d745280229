"""Sound from one media file into another, side by side with the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

COPIED = ("aac", "mp3")  # what every player takes in an mp4; anything else is encoded again
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


class Sound:
    """The first sound stream of `source`, an opened file, for `output`: copied if it fits, else encoded as AAC.

    Time 0 is where the source's pictures start (its sound, if it has none). A source without sound gives a note.
    """

    def __init__(self, output: Any, source: Any, notes: list[str]) -> None:
        self._output = output
        self._source = source
        self._encoder: Any = None
        self._waiting: Any = None
        self._items: Iterator[Any] = iter(())
        if not source.streams.audio:
            notes.append(f"Writing video: {source.name} has no sound, so the video has none.")
            return
        stream = source.streams.audio[0]
        lead = source.streams.video[0] if source.streams.video else stream
        self._begin = Fraction(lead.start_time or 0) * lead.time_base
        if stream.codec_context.name in COPIED:
            self._stream = output.add_stream_from_template(stream)
            self._items = (packet for packet in source.demux(stream) if packet.dts is not None)
        else:
            rate = stream.rate if stream.rate in AAC_RATES else 48000
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            self._encoder = self._stream = output.add_stream("aac", rate=rate, layout=layout)
            self._items = source.decode(stream)

    def mux_until(self, seconds: Fraction) -> None:
        """Write what sounds before `seconds`. Raises ValueError when the source is damaged."""
        while True:
            if self._waiting is None:
                self._waiting = self._next()
            if self._waiting is None or self._start_of(self._waiting) >= seconds:
                return
            self._write(self._waiting)
            self._waiting = None

    def finish(self) -> None:
        """Write what the encoder still holds."""
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

    def _write(self, item: Any) -> None:
        shift = round(self._begin / item.time_base)
        item.pts = (item.pts or 0) - shift
        if self._encoder is not None:
            self._output.mux(self._encoder.encode(item))
            return
        item.dts -= shift
        item.stream = self._stream
        self._output.mux(item)
