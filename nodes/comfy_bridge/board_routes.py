"""What the page asks about keyframe boards between runs: which candidates there are, and to delete one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ...vivid_core.editors.candidates import checked_id, checked_name
from .board_files import Board

BOARD, CANDIDATE = "/vivid/boards/{id}", "/vivid/boards/{id}/{name}"


def register_board_routes() -> None:
    """Add the routes to ComfyUI's, once; nothing where there is no server."""
    import server  # ComfyUI's own module; at call time, since headless use may have no server at all

    instance = getattr(server.PromptServer, "instance", None)
    routes = getattr(instance, "routes", None)
    if routes is None or any(getattr(route, "path", None) == BOARD for route in routes):
        return
    routes.get(BOARD)(_tell)
    routes.delete(CANDIDATE)(_delete)


async def _tell(request: web.Request) -> web.Response:
    return await _answered(lambda: checked_id(request.match_info["id"]), lambda board_id: Board(board_id).shown())


async def _delete(request: web.Request) -> web.Response:
    def names() -> tuple[str, str]:
        return checked_id(request.match_info["id"]), checked_name(request.match_info["name"])

    def take_away(names: tuple[str, str]) -> dict[str, Any]:
        board_id, name = names
        if not Board(board_id).delete(name):
            raise FileNotFoundError(f"Keyframe Board: the candidate {name} is not there; it may be deleted already.")
        return {"deleted": name}

    return await _answered(names, take_away)


async def _answered(check: Callable[[], Any], work: Callable[[Any], Any]) -> web.Response:
    """What `work` makes of what was asked, or one sentence: 400 for a wrong question, 404 for what isn't there."""
    try:
        asked = check()
    except ValueError as wrong:
        return web.json_response({"error": str(wrong)}, status=400)
    try:
        return web.json_response(await asyncio.to_thread(work, asked))
    except FileNotFoundError as gone:
        return web.json_response({"error": str(gone)}, status=404)
    except (ValueError, OSError) as fault:
        return web.json_response({"error": str(fault)}, status=500)
