"""Local means local: an edit of a ninth of the frame, cropped, against the same model on the whole frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import timing

SIDE = 192
STEPS = 2
GOAL = 4.0
LARGE = 144  # of the clips for the quality: three times the embedded model's size
FARTHER = 0.8  # how large they show the embedded model's world: its objects then fill about a ninth of the frame
MARGIN = 0.03  # of an IoU
ABOUT = {
    "measures": "time of the whole frame over that of the crop, mask box a ninth of the frame, same pixel density",
    "peer": "the same model on the whole frame",
    "instead": "masked sampling of the whole frame; or Inpaint Crop and Stitch, whose crop moves from frame to frame",
    "goal": "at least 4x",
    "not_on_cuda": "both sides are the same model there, too: the ratio is one of tokens",
}


def run(full: bool) -> dict[str, Any]:
    from vivid_core.editors.kive import EditOptions, edit_video

    from ._engines import FRAMES, random_engine, request

    engine = random_engine(SIDE)
    asked = request(engine, FRAMES, SIDE, SIDE, steps=STEPS)
    timed = timing.paired(
        lambda: edit_video(engine, asked, EditOptions(crop="fast")),
        lambda: edit_video(engine, asked, EditOptions(crop="off")),
        pairs=20 if full else 5,
    )
    ratio, interval = timed.times_faster
    quality = _quality(64 if full else 16)
    return {
        "name": "local_crop",
        "ours": round(timed.ours_s, 3),
        "peer": round(timed.peer_s, 3),
        "ratio": round(ratio, 2),
        "interval": [round(end, 2) for end in interval],
        "goal": GOAL,
        "met": ratio >= GOAL and (quality is None or quality["no_worse"]),
        "unit": "x",
        "quality": quality,
        "also": "" if quality is None else "IoU {fine} with the embedded model, {off} squeezed".format(**quality),
        "what": f"seconds for {FRAMES} frames of {SIDE}x{SIDE}, a mask box of a ninth of the frame: whole frame over "
        'crop "fast" (random weights, the same pixel density); quality: IoU of modify and add by the embedded model on '
        f'{LARGE}x{LARGE} pixels, crop "fine" against the whole frame squeezed to 48x48, null without the model',
    }


def _quality(count: int) -> dict[str, Any] | None:
    """IoU with the truth, cropped and squeezed; None where the trained model is missing."""
    from vivid_core.editors.contract import EditRequest
    from vivid_core.editors.engine import embedded_engine
    from vivid_core.editors.kive import EditOptions, edit_video
    from vivid_core.models.embedded import WEIGHTS
    from vivid_core.runtime import Runtime
    from vivid_core.training.claims.statistics import not_worse_p, paired
    from vivid_core.training.measures import score
    from vivid_core.training.world.trials import trials

    if not WEIGHTS.exists():
        return None
    engine = embedded_engine()
    empty = engine.encoded("", Runtime())
    found: dict[str, list[float]] = {"fine": [], "off": []}
    for one in map(_seen_from_afar, [*trials("modify", count=count // 2), *trials("add", count=count // 2)]):
        truth, text = one.truth(LARGE), engine.encoded(one.caption, Runtime())
        asked = EditRequest(one.source_fhwc(LARGE), truth.edit_mask_fhw, text, empty, seed=one.number)
        for crop, values in found.items():
            values.append(score(edit_video(engine, asked, EditOptions(crop=crop, feather=0)).frames_fhwc, truth).iou)
    p = not_worse_p(paired(found["fine"], found["off"]), MARGIN)
    means = {crop: round(sum(values) / len(values), 3) for crop, values in found.items()}
    return {**means, "n": count, "p_worse_by_0.03": round(p, 4), "no_worse": p < 0.05}


def _seen_from_afar(trial: Any) -> Any:
    """The same trial from farther away: everything smaller around the middle of the frame, and more backdrop."""

    def smaller(scene: Any) -> Any:
        entities, back = [], scene.backdrop
        for entity in scene.entities:
            middle = tuple(0.5 + (place - 0.5) * FARTHER for place in entity.path.middle)
            path = replace(entity.path, middle=middle, reach=tuple(FARTHER * part for part in entity.path.reach))
            entities.append(replace(entity, radius=entity.radius * FARTHER, path=path))
        pan = tuple(FARTHER * part for part in back.pan)
        return replace(scene, entities=tuple(entities), backdrop=replace(back, period=back.period * FARTHER, pan=pan))

    return replace(trial, source=smaller(trial.source), target=smaller(trial.target))
