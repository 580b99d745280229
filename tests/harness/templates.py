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
from harness.demo import BUNNY, OUTPUT, WORLD
from harness.page import as_prompt, load_workflow, open_page, unknown_nodes
from harness.prompts import API_FORMS
from harness.server import Server

WORKFLOWS = API_FORMS.parent
WIDTH, MOMENT = 640, 0.62  # a thumbnail's width, and the part of the clip at which it is taken
# Templates that make demo can't run show what their sister with the embedded model made.
SISTERS = {
    "Modify an object (CogVideoX-Fun)": "world_modify",
    "Add an object (Wan VACE)": "world_add",
    "Remove an object (Wan VACE)": "world_remove",
    "Edit a keyframe and propagate it (Wan VACE)": "world_keyframe",
    "Edit a keyframe and propagate it (native Wan VACE)": "world_keyframe",
    "Edit a keyframe and propagate it (native Wan-Fun InP)": "world_keyframe",
    "Edit a long clip (CogVideoX-Fun)": "world_long_clip",
    "Edit a long video file (embedded model)": "world_long_clip",
    "Edit a long video file (CogVideoX-Fun)": "world_long_clip",
    "Edit an image (CogVideoX-Fun)": "world_image",
    "Train a LoRA (CogVideoX)": "world_modify",
    "Remove an object (RAFT)": "remove_rock",
    "Mark and track an object (SAM2)": "track_rabbit",
    "Train a LoRA (embedded model)": "world_modify",
    "Restyle an object (Pix2Video)": "world_restyle",
    "Move what is in a picture (UniEdit)": "world_recolour",
}


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
    pictures = {job.workflow: job.name for job in (*BUNNY, *WORLD)} | SISTERS
    for workflow, name in pictures.items():
        image = picture_of(name)
        image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        image.save(WORKFLOWS / f"{workflow}.jpg", quality=88)


def picture_of(name: str) -> Image.Image:
    """What `make demo` made of a job: a moment of its comparison, or its picture."""
    import av

    video, picture = OUTPUT / f"{name}_compare.mp4", OUTPUT / f"{name}.png"
    if picture.exists():
        return Image.open(picture).convert("RGB")
    if not video.exists():
        sys.exit(f"{video} is not there: run make demo first.")
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
    return frames[int(MOMENT * len(frames))].to_image()


if __name__ == "__main__":
    write_api_forms()
    write_thumbnails()
