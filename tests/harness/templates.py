"""`make templates`: from each workflow in UI form, its API form (made by the real page) and its thumbnail.

The thumbnails come from what `make demo` wrote last.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from PIL import Image

from harness.clips import write_clip
from harness.demo import BUNNY, OUTPUT
from harness.page import as_prompt, load_workflow, open_page, unknown_nodes
from harness.prompts import API_FORMS
from harness.server import Server

WORKFLOWS = API_FORMS.parent
WIDTH, MOMENT = 640, 0.62  # a thumbnail's width, and the part of the clip at which it is taken


def write_api_forms() -> None:
    with tempfile.TemporaryDirectory() as base, Server(Path(base)) as server:
        write_clip(server.base / "input" / "clip.mp4")
        Image.new("RGB", (96, 64)).save(server.base / "input" / "edited_keyframe.png")
        with open_page(server) as page:
            for path in sorted(WORKFLOWS.glob("*.json")):
                load_workflow(page, json.loads(path.read_text()), path.stem)
                unknown = unknown_nodes(page)
                if unknown:
                    sys.exit(f"{path.name} holds nodes that ComfyUI does not know: {', '.join(unknown)}.")
                (API_FORMS / path.name).write_text(json.dumps(as_prompt(page), indent=1, ensure_ascii=False) + "\n")


def write_thumbnails() -> None:
    import av

    for job in BUNNY:
        video = OUTPUT / f"{job.name}_compare.mp4"
        if not video.exists():
            sys.exit(f"{video} is not there: run make demo first.")
        with av.open(str(video)) as container:
            frames = list(container.decode(video=0))
        image = frames[int(MOMENT * len(frames))].to_image()
        image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        image.save(WORKFLOWS / f"{job.workflow}.jpg", quality=88)


if __name__ == "__main__":
    write_api_forms()
    write_thumbnails()
