"""What the page is told while a node is still running."""

from __future__ import annotations

from typing import Any

from comfy_execution.utils import get_executing_context


def show_now(ui: dict[str, Any]) -> None:
    """Give the page the running node's `ui` at once, as if it had ended well: for what it must have even if the node is
    about to refuse its other inputs."""
    import server  # ComfyUI's own module; at call time, since headless use may have no server at all

    instance = getattr(server.PromptServer, "instance", None)
    context = get_executing_context()
    if instance is None or context is None:
        return
    told = {"node": context.node_id, "display_node": context.node_id, "output": ui, "prompt_id": context.prompt_id}
    instance.send_sync("executed", told, instance.client_id)
