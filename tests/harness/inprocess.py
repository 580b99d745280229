"""ComfyUI inside this process: the executor runs graphs of the pack's nodes, without a server.

`boot` must come before anything imports `comfy`, and can be done once for each process: ComfyUI keeps its arguments,
folders and nodes in module globals.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import importlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from .server import PACK, make_base


@dataclass
class Result:
    """How one graph ended. `outputs[node_id]` holds the node's output values, in order."""

    ok: bool
    error: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, list[Any]] = field(default_factory=dict)
    ui: dict[str, Any] = field(default_factory=dict)
    messages: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def exception(self) -> tuple[str, str]:
        """The type's name and the text of what a node raised."""
        return self.error.get("exception_type", ""), str(self.error.get("exception_message", "")).strip()


def boot(base: Path, **flags: Any) -> None:
    """Start ComfyUI's machinery in this process, with `flags` set among its arguments.

    The order of the imports is the whole trick."""
    comfyui = os.environ["COMFYUI_PATH"]
    make_base(base)
    sys.path.insert(0, comfyui)
    import comfy.options

    comfy.options.enable_args_parsing(False)  # pytest's arguments are not ComfyUI's
    from comfy.cli_args import args

    args.cpu = True  # read by comfy.model_management and folder_paths while they are imported
    args.base_directory = str(base)
    args.database_url = "sqlite:///:memory:"
    for name, value in flags.items():
        setattr(args, name, value)
    import utils.extra_config  # noqa: F401  (before `nodes`, which puts comfy/utils.py in front of this package)

    import nodes  # isort: skip

    asyncio.run(nodes.init_public_apis())
    asyncio.run(nodes.init_builtin_extra_nodes())


def load_pack(base: Path) -> None:
    """Load the pack into the ComfyUI of this process, as ComfyUI does at its start."""
    import nodes

    loaded = asyncio.run(nodes.load_custom_node(str(base / "custom_nodes" / PACK), module_parent="custom_nodes"))
    if not loaded:
        raise RuntimeError("ComfyUI refused to load the pack; its log says why.")


def bridge(name: str) -> ModuleType:
    """The module `name` of the loaded pack's nodes/comfy_bridge."""
    package = next(module for module in sys.modules if module.endswith(".nodes.comfy_bridge"))
    return importlib.import_module(f"{package}.{name}")


class Listener:
    """What the executor expects of a server: somewhere to send its messages."""

    client_id = "in process"

    def __init__(self) -> None:
        self.last_node_id = None
        self.last_prompt_id = None
        self.sockets_metadata: dict[str, Any] = {}
        self.messages: list[tuple[str, Any]] = []

    def send_sync(self, event: str, data: Any, sid: str | None = None) -> None:
        self.messages.append((event, data))


@contextlib.contextmanager
def watched_steps(watch: Callable[[int, int], None] | None) -> Iterator[None]:
    """Tell `watch` of every step that the pack's nodes count, whatever ComfyUI makes of it: newer cores skip some."""
    runtime = bridge("progress").ComfyRuntime
    advance = runtime.advance

    def watched(self: Any, *arguments: Any, **named: Any) -> None:
        advance(self, *arguments, **named)
        if watch is not None:
            watch(self.done, self.total)

    runtime.advance = watched
    try:
        yield
    finally:
        runtime.advance = advance


class Executor:
    """Runs API-format graphs one after another, with one cache between them, as a server would."""

    def __init__(self) -> None:
        import execution

        self.listener = Listener()
        self.extra_data: dict[str, Any] = {}  # what a page sends beside the graph, such as {"extra_pnginfo": {...}}
        self._executor = execution.PromptExecutor(
            self.listener, cache_type=execution.CacheType.CLASSIC, cache_args={"lru": 0, "ram": 0, "ram_inactive": 0}
        )

    def run(self, prompt: dict[str, Any], on_progress: Callable[[int, int], None] | None = None) -> Result:
        """Run a graph; `on_progress(done, total)` is called after each of our steps, and may ask ComfyUI to stop."""
        import comfy.model_management
        import comfy.utils
        import execution

        comfy.model_management.interrupt_current_processing(False)

        # What main.py sets up in a server: the bar is also where a cancel is noticed.
        comfy.utils.set_progress_bar_global_hook(
            lambda *_, **__: comfy.model_management.throw_exception_if_processing_interrupted()
        )
        prompt = copy.deepcopy(prompt)  # the executor writes its cache keys into the prompt
        prompt_id = uuid.uuid4().hex
        valid = asyncio.run(execution.validate_prompt(prompt_id, prompt, None))
        if not valid[0]:
            return Result(False, {"exception_type": "validation", "exception_message": str((valid[1], valid[3]))})
        start = len(self.listener.messages)
        with watched_steps(on_progress):
            extra = {**self.extra_data, "client_id": self.listener.client_id}
            self._executor.execute(prompt, prompt_id, extra, valid[2])
        messages = self.listener.messages[start:]
        history = self._executor.history_result
        error = next((data for name, data in messages if name in ("execution_error", "execution_interrupted")), {})
        return Result(self._executor.success, error, {}, history.get("outputs", {}), messages)
