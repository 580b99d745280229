"""`make demo`: clips edited by the shipped workflows, in a real headless ComfyUI, into output/demo/.

make demo                                        Big Buck Bunny: recolour the rabbit, remove the rock, paint it;
                                                 and the embedded models in their world of plain shapes
make demo VIDEO=clip.mp4 BOX=x,y,w,h [FRAME=n]   your clip: recolour and remove what is in the box on frame n
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.painting import paint_star
from harness.prompts import (
    Prompt,
    handing_out_the_keyframe,
    ids_of,
    marks_text,
    set_inputs,
    shipped,
    source_of,
    with_json_of_measures,
)
from harness.server import ROOT, Run, Server, saved_files

OUTPUT = ROOT / "output" / "demo"
RECOLOUR, REMOVE = "Recolour an object (no weights)", "Remove an object (no weights)"
MARKED = "Mark and track an object (no weights)"
EXTERNAL = "Change an object with any image editor"
CREDIT = "Big Buck Bunny (c) copyright 2008, Blender Foundation / www.bigbuckbunny.org, CC-BY 3.0"


@dataclass(frozen=True)
class Job:
    """One workflow of the demo, on one object."""

    name: str
    workflow: str
    box: str = ""
    frame: int = 0
    points: str = ""
    paint: bool = False
    marks: str = ""


def clicks(frame: int, inside: list[tuple[int, int]], outside: list[tuple[int, int]]) -> list[dict[str, int]]:
    """Points on the object and on the background, as Track Mask reads them."""
    marks = [(inside, 1), (outside, 0)]
    return [{"x": x, "y": y, "label": label, "frame": frame} for points, label in marks for x, y in points]


# A box and clicks on frame 66, and corrections on two frames where a first run lost an arm and the ears.
RABBIT_CLICKS = [
    *clicks(66, [(470, 350), (190, 135)], []),
    *clicks(
        19,
        [(408, 454), (455, 314), (447, 200), (548, 215), (220, 294), (525, 500), (430, 560), (320, 420)]
        + [(170, 258), (185, 280), (490, 255), (500, 275), (425, 165), (495, 245)],
        [(111, 380), (120, 480), (180, 420), (560, 350), (350, 230), (300, 230), (620, 420), (300, 620), (560, 600)],
    ),
    *clicks(
        0,
        [(345, 360), (358, 425), (300, 430), (325, 300), (415, 300), (420, 510), (265, 340), (450, 535)],
        [(230, 210), (170, 400), (450, 420), (280, 520), (200, 520), (500, 560)],
    ),
]
RABBIT: dict[str, Any] = {"box": "150, 50, 480, 590", "frame": 66, "points": json.dumps(RABBIT_CLICKS)}
ROCK: dict[str, Any] = {"box": "795, 290, 485, 170", "frame": 66}
BUNNY_SIZE = (1280, 720)
RABBIT_MARKS = marks_text(*BUNNY_SIZE, RABBIT["box"], RABBIT["frame"], RABBIT_CLICKS)
BUNNY = (
    Job("track_rabbit", MARKED, marks=RABBIT_MARKS),
    Job("recolour_rabbit", RECOLOUR, **RABBIT),
    Job("remove_rock", REMOVE, **ROCK),
    Job("paint_star_on_rock", EXTERNAL, **ROCK, paint=True),
)
WORLD = tuple(
    Job(name, workflow)
    for name, workflow in (
        ("world_modify", "Modify an object (embedded model)"),
        ("world_add", "Add an object (embedded model)"),
        ("world_remove", "Remove an object (embedded model)"),
        ("world_keyframe", "Edit a keyframe and propagate it (embedded model)"),
        ("world_long_clip", "Edit a long clip (embedded model)"),
        ("world_image", "Edit an image (embedded model)"),
        ("world_restyle", "Restyle an object (Pix2Video, embedded model)"),
        ("world_recolour", "Recolour an object (UniEdit, embedded model)"),
        ("world_engines", "Compare engines (embedded model)"),
    )
)


def jobs() -> tuple[Path, tuple[Job, ...]]:
    """The clip and what to do with it, from the variables VIDEO, BOX and FRAME."""
    video, box, frame = (os.environ.get(name, "").strip() for name in ("VIDEO", "BOX", "FRAME"))
    if not video:
        clip = os.environ.get("VIVID_CLIP")
        if not clip:
            sys.exit("This Python brings no demo clip: give one with make demo VIDEO=clip.mp4 BOX=x,y,w,h [FRAME=n].")
        return Path(clip), (*BUNNY, *WORLD)
    path = Path(video).expanduser()
    if not path.is_file():
        sys.exit(f"VIDEO={video} is no file; give the path of a video.")
    if not box:
        sys.exit("BOX is missing: give the object's box on the frame, in pixels, as BOX=x,y,width,height.")
    if frame and not frame.lstrip("-").isdigit():
        sys.exit(f"FRAME={frame} is no number; give the frame that the box is drawn on, counted from 0.")
    at = int(frame or 0)
    return path, (Job("recolour", RECOLOUR, box, at), Job("remove", REMOVE, box, at))


def prepared(job: Job, clip: str) -> Prompt:
    """The shipped workflow in API form, with this job's clip, box and frame in it."""
    prompt = shipped(job.workflow)
    if not ids_of(prompt, "LoadVideo"):
        return prompt
    set_inputs(prompt, "LoadVideo", file=clip)
    set_inputs(prompt, "VividPromptEditor", marks=job.marks)
    set_inputs(prompt, "VividTrackMask", box=job.box, frame=job.frame, points=job.points)
    set_inputs(prompt, "ImageFromBatch", batch_index=job.frame)
    set_inputs(prompt, "VividKeyframes", at_frames=str(job.frame))
    return prompt


def run_job(server: Server, job: Job, clip: str) -> dict[str, Any]:
    """Run one job and put what it made into output/demo; returns its measures, none of a single image."""
    prompt, shown = prepared(job, clip), ""
    if ids_of(prompt, "VividMeasureEdit"):
        prompt, shown = with_json_of_measures(prompt)
    if job.paint:
        first = finish(server.run(handing_out_the_keyframe(prompt)), job)
        (frame,) = (path for path in saved_files(server, first) if path.suffix == ".png")
        paint_star(frame, server.base / "input" / "painted_keyframe.png")
        set_inputs(prompt, "LoadImage", image="painted_keyframe.png")
    run = finish(server.run(prompt, on_event=Progress(prompt)), job)
    collect(server, prompt, run, job)
    return json.loads(run.outputs[shown]["text"][0]) if shown else {}


class Progress:
    """One line on the terminal for the node that is running."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt, self.shown = prompt, ""

    def __call__(self, name: str, data: dict[str, Any]) -> None:
        if name == "executing" and data.get("node"):
            kind = self.prompt[data["node"]]["class_type"]
            if kind != self.shown:
                self.shown = kind
                print(f"    {kind}", flush=True)


def finish(run: Run, job: Job) -> Run:
    if run.ending != "execution_success":
        sys.exit(f"{job.name} ended with {run.ending}: {run.error}")
    return run


def collect(server: Server, prompt: Prompt, run: Run, job: Job) -> None:
    """Copy the edited video, the comparison and the pictures to output/demo under plain names."""
    names = {
        "SaveVideo": f"{job.name}.mp4",
        "VividCompare": f"{job.name}_compare.mp4",
        "VividCompareEngines": f"{job.name}_compare.mp4",
        "VividMeasureEdit": f"{job.name}_measures.png",
        "SaveImage": f"{job.name}_sheet.png",
    }
    for key, output in run.outputs.items():
        kind = prompt[key]["class_type"]
        if kind not in names:
            continue
        name = names[kind]
        if kind == "SaveImage" and source_of(prompt, key, "images") != "VividCompare":
            if ids_of(prompt, "VividCompare"):
                continue
            name = f"{job.name}.png"
        for path in saved_files(server, Run("", outputs={key: output})):
            shutil.copyfile(path, OUTPUT / name)


def table(measures: dict[str, dict[str, Any]]) -> str:
    """The measures of all jobs, one row for each: the mean over the clip, lower is better."""
    columns = tuple(next(iter(measures.values()))["summary"])
    rows = [f"{'mean over the clip':24}" + "".join(f"{column:>20}" for column in columns)]
    for name, values in measures.items():
        cells = (values["summary"][column]["mean"] for column in columns)
        rows.append(f"{name:24}" + "".join(f"{'-' if cell is None else f'{cell:.3g}':>20}" for cell in cells))
    return "\n".join(rows)


def main() -> None:
    clip, todo = jobs()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    measures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as base:
        print("Starting ComfyUI ...", flush=True)
        with Server(Path(base)) as server:
            name = server.put_input(clip)
            for job in todo:
                print(f"{job.workflow}: {job.name}", flush=True)
                start = time.monotonic()
                found = run_job(server, job, name)
                measures |= {job.name: found} if found else {}
                print(f"    done in {time.monotonic() - start:.0f} s", flush=True)
    (OUTPUT / "metrics.json").write_text(json.dumps(measures, indent=1) + "\n")
    print(
        f"\n{table(measures)}\n\nLook at {OUTPUT}: the edited videos, their comparisons (_compare.mp4), contact sheets"
    )
    print("(_sheet.png), measures over time (_measures.png) and metrics.json.")
    if BUNNY[0] in todo:
        print(f"Clip: {CREDIT}")


if __name__ == "__main__":
    main()
