"""Videos and pictures as attacks: lists that lead elsewhere, pictures that unpack to gigabytes, programs."""

from __future__ import annotations

import io
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from attack_files import anonymous_memory, one_sentence
from harness.inprocess import bridge

from vivid_core.training.media import media_info, read_media
from vivid_core.video.facts import read_facts
from vivid_core.video.reading import opened, read_frames, read_info
from vivid_core.video.writing import write_video

MEGABYTE = 1024**2
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile {}\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" width="96" height="64">'
    "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 9 RTP/AVP 96\r\na=x:{}\r\n"
BOARD, PICTURE = "00000000000000aa", f"f000000_{'0' * 16}.png"


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """An address on this machine, and what was said to it."""
    heard: list[bytes] = []
    with socket.socket() as waiting:
        waiting.bind(("127.0.0.1", 0))
        waiting.listen(8)

        def listen() -> None:
            while True:
                try:
                    caller, _ = waiting.accept()
                except OSError:
                    return
                with caller:
                    heard.append(caller.recv(200))

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{waiting.getsockname()[1]}/clip.mp4", heard
        waiting.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A video that nobody asked for."""
    path = tmp_path / "secret.mp4"
    write_video(path, iter(torch.rand(3, 32, 48, 3)), 24)
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.m3u8", "clip.mpd", "clip.sdp", "clip.ffconcat"])
@pytest.mark.parametrize("text", [HLS, CONCAT, DASH, SDP], ids=["hls", "concat", "dash", "sdp"])
def test_a_video_that_is_a_list_of_addresses_calls_nobody(
    tmp_path: Path, listener: tuple[str, list[bytes]], name: str, text: str
) -> None:
    address, heard = listener
    (tmp_path / name).write_text(text.format(address))
    for read in (read_info, lambda path: list(read_frames(path)), read_facts):
        one_sentence(lambda read=read: read(tmp_path / name))
    assert heard == []


@pytest.mark.parametrize("name", ["clip.mp4", "clip.m3u8", "clip.ffconcat"])
@pytest.mark.parametrize("text", [HLS, CONCAT], ids=["hls", "concat"])
def test_a_video_that_is_a_list_of_files_opens_none(tmp_path: Path, secret: Path, name: str, text: str) -> None:
    for written in (secret.name, str(secret), f"file://{secret}", f"../{tmp_path.name}/{secret.name}"):
        (tmp_path / name).write_text(text.format(written))
        one_sentence(lambda: read_info(tmp_path / name))


@pytest.mark.parametrize("text", [HLS, CONCAT], ids=["hls", "concat"])
def test_a_list_in_memory_opens_nothing_either(listener: tuple[str, list[bytes]], secret: Path, text: str) -> None:
    address, heard = listener
    for written in (address, str(secret)):
        video = opened(io.BytesIO(text.format(written).encode()))
        assert "The video in memory" in one_sentence(lambda video=video: video.__enter__())
    assert heard == []


def test_a_name_with_an_address_in_it_is_a_name(tmp_path: Path, listener: tuple[str, list[bytes]]) -> None:
    address, heard = listener
    for name in (address, f"concat:{address}", f"subfile,,start,0,end,9,,:{address}", "pipe:0", "tcp://127.0.0.1:9"):
        assert "there is no such file" in one_sentence(lambda name=name: read_info(name))
    assert heard == []


# ---------------------------------------------------------------------------------------------------------- pictures


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, rows: int = 1) -> bytes:
    """A grey PNG that says it is so large and holds `rows` rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = zlib.compress(bytes((min(width, 1000) + 1) * rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


PICTURES = {
    "a billion pixels": png(40_000, 40_000),
    "more than can be counted": png(2**31 - 1, 2**31 - 1),
    "no pixels": png(0, 0),
    "a text of gigabytes": png(
        8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 * MEGABYTE))), rows=0
    ),
    "cut off": png(64, 64)[:50],
    "a broken chunk": png(64, 64).replace(b"IDAT", b"IDAX"),
    "a length beyond its end": png(64, 64).replace(struct.pack(">I", 13), struct.pack(">I", 2**31 - 1), 1),
    "a program for printers": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n",
    "a picture of Windows": b"\xd7\xcd\xc6\x9a" + bytes(200),
}  # fmt: skip


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_in_a_dataset_that_is_an_attack_is_one_sentence(tmp_path: Path, picture: str, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(PICTURES[picture])
    before = anonymous_memory()
    for read in (media_info, lambda path: list(read_media(path))):
        assert "can't be read as an image" in one_sentence(lambda read=read: read(path))
    assert anonymous_memory() - before < 64 * MEGABYTE


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_on_a_board_that_is_an_attack_is_not_there(comfy_base: Path, picture: str) -> None:
    folder = comfy_base / "output" / "vivid_boards" / BOARD
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PICTURE).write_bytes(PICTURES[picture])
    try:
        board = bridge("board_files").Board(BOARD)
        before = anonymous_memory()
        assert board.picture(PICTURE) is None
        told = board.shown()
        assert anonymous_memory() - before < 64 * MEGABYTE
        assert all(set(one) >= {"name", "prompt"} and one["prompt"] == "" for one in told["candidates"])
    finally:
        (folder / PICTURE).unlink()
