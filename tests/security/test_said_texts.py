"""What nodes say on the page: names and captions of others are in it, and ComfyUI's page takes it for HTML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import probes
from harness.inprocess import Executor, bridge

HOSTILE = '"><img src=x onerror="alert(1)"><script>alert(1)</script>[[a link|javascript:alert(1)]]'


def test_nothing_of_a_text_is_markup_or_a_link_in_the_page(comfy_base: Path) -> None:
    shown = bridge("progress").for_the_page(HOSTILE)
    assert not {"<", ">"} & set(shown) and "[[" not in shown
    assert "img src=x" in shown and "a link|" in shown, "it is shown, not cut out"


@pytest.mark.parametrize("text", ["", "12 of 30 frames", 'object 1 ("fox") & its shadow: 3.5 %', "[1, 2] \u4e2d"])
def test_plain_texts_stay_as_they_are(comfy_base: Path, text: str) -> None:
    assert bridge("progress").for_the_page(text) == text


class Page:
    """Where the texts of nodes go, in place of the server's."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def send_progress_text(self, text: str, node_id: str, *_: Any) -> None:
        self.heard.append(text)


def test_a_name_in_the_marks_reaches_the_page_as_text(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    page = Page()
    monkeypatch.setattr(bridge("progress"), "_prompt_server", lambda: page)
    mark = {"frame": 0, "object": 1, "points": [[0.5, 0.5, 1]]}
    marks = json.dumps({"version": 1, "objects": [{"id": 1, "name": HOSTILE}], "marks": [mark]})
    frames = torch.zeros(2, 32, 48, 3)
    result = probes.call(executor, "VividPromptEditor", frames=frames, marks=marks)
    assert result.ok, result.error
    (text,) = [heard for heard in page.heard if "img src=x" in heard]
    assert not {"<", ">"} & set(text) and "[[" not in text
