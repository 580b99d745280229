"""A real headless ComfyUI server in a folder of its own, and a client that follows a run to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parent.parent.parent
PACK = "vivid-video-edit"  # the folder that the Manager would install into
START_SECONDS = 180
FINAL = ("execution_success", "execution_error", "execution_interrupted")

# The first visit would open a dialog over the graph, and swallow every click.
PAGE_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.VersionCompatibility.DisableWarnings": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.Workflow.Persist": False,
}


class ServerFailed(RuntimeError):
    """The server did not start or did not answer; the message holds the end of its log."""


@dataclass
class Run:
    """What came back over the websocket for one prompt."""

    prompt_id: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    previews: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ending(self) -> str:
        return next((name for name, _ in reversed(self.events) if name in FINAL), "")

    @property
    def error(self) -> str:
        return next((str(data["exception_message"]) for name, data in self.events if name == "execution_error"), "")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.events if name == kind]


def make_base(base: Path, settings: dict[str, Any] | None = None) -> None:
    """The folders that ComfyUI expects, with this pack linked in among the custom nodes."""
    for name in ("custom_nodes", "input", "output", "temp", "models", "user/default"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / PACK
    if not link.exists():
        link.symlink_to(ROOT, target_is_directory=True)
    (base / "user/default/comfy.settings.json").write_text(json.dumps({**PAGE_SETTINGS, **(settings or {})}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`with Server(base) as server: server.run(prompt)`. Everything it writes stays under `base`."""

    def __init__(
        self,
        base: Path,
        comfyui: Path | None = None,
        settings: dict[str, Any] | None = None,
        python: Path | None = None,
    ) -> None:
        self.base = base
        self.comfyui = comfyui or Path(os.environ["COMFYUI_PATH"])
        self.python = python or Path(sys.executable)
        self.settings = settings
        self.port = free_port()
        self.log = base / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        make_base(self.base, self.settings)
        command = [
            str(self.python), str(self.comfyui / "main.py"), "--cpu", "--listen", "127.0.0.1", "--port", str(self.port),
            "--base-directory", str(self.base), "--user-directory", str(self.base / "user"),
            "--database-url", "sqlite:///:memory:", "--disable-api-nodes", "--log-stdout",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONSAFEPATH", None)  # main.py finds its own modules beside itself
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self.base, env=environment, stdin=subprocess.DEVNULL
            )
        self._wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def kill(self) -> None:
        """End it as a crash would, at once and without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    def process_id(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise ServerFailed(f"ComfyUI ended while starting; the end of {self.log}:\n{self.log_tail()}")
            with contextlib.suppress(OSError):
                self.get("/system_stats")
                return
            time.sleep(0.2)
        raise ServerFailed(f"ComfyUI did not answer in {START_SECONDS} s; the end of {self.log}:\n{self.log_tail()}")

    def log_tail(self, characters: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            body = answer.read()
            return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The status and the decoded answer, also of an error."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read() or b"null")

    def put_input(self, path: Path, name: str | None = None) -> str:
        """Copy a file into ComfyUI's input folder; returns the name that loader nodes take."""
        target = self.base / "input" / (name or path.name)
        if not target.exists():
            shutil.copyfile(path, target)
        return target.name

    def run(
        self,
        prompt: dict[str, Any],
        on_event: Callable[[str, dict[str, Any]], None] | None = None,
        timeout: float = 900,
    ) -> Run:
        """Queue an API-format prompt and follow it over the websocket until it ended.

        Raises ValueError with the server's own words when validation refuses the prompt.
        """
        with ThreadPoolExecutor(1) as thread:  # of its own: an open page keeps an event loop running in this one
            return thread.submit(asyncio.run, asyncio.wait_for(self._follow(prompt, on_event), timeout)).result()

    async def _follow(self, prompt: dict[str, Any], on_event: Callable[[str, dict[str, Any]], None] | None) -> Run:
        client = uuid.uuid4().hex
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self.url}/ws?clientId={client}", max_msg_size=0) as socket_,
        ):
            # Newer servers send previews only to those who read the form with metadata.
            await socket_.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
            status, answer = await asyncio.to_thread(self.post, "/prompt", {"prompt": prompt, "client_id": client})
            if status != 200:
                raise ValueError(json.dumps(answer))
            run = Run(answer["prompt_id"])
            async for message in socket_:
                if message.type == aiohttp.WSMsgType.BINARY:
                    _take_binary(run, message.data)
                elif message.type == aiohttp.WSMsgType.TEXT:
                    _take_event(run, json.loads(message.data), on_event)
                if run.ending:
                    break
        return run


def _take_binary(run: Run, data: bytes) -> None:
    (kind,) = struct.unpack(">I", data[:4])
    if kind == 3:  # text shown on a node: the length of the node's id, the id, the text
        (length,) = struct.unpack(">I", data[4:8])
        run.texts.append(data[8 + length :].decode())
    else:
        start = data.find(b"\xff\xd8\xff")  # of a JPEG, behind metadata of some length
        run.previews.append(data[start:] if start >= 0 else b"")


def _take_event(run: Run, event: dict[str, Any], on_event: Callable[[str, dict[str, Any]], None] | None) -> None:
    name, data = event["type"], event["data"]
    if data.get("prompt_id", run.prompt_id) != run.prompt_id:
        return
    run.events.append((name, data))
    if name == "executed":
        run.outputs[data["node"]] = data["output"] or {}
    if on_event is not None:
        on_event(name, data)


def saved_files(server: Server, run: Run) -> Iterator[Path]:
    """Every file that the run's output nodes say they saved."""
    for output in run.outputs.values():
        for results in output.values():
            for result in results if isinstance(results, list) else ():
                if isinstance(result, dict) and "filename" in result:
                    yield server.base / result["type"] / result["subfolder"] / result["filename"]
