"""CLIP scores against transformers' own CLIPModel, on tiny random weights of the true architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import tiny_clip
from torch import Tensor

from vivid_core.metrics.alignment import (
    COLOURS,
    clip_frame,
    halves_fit,
    image_embeddings,
    preference_score,
    region,
    temporal_consistency,
    video_direction_score,
    video_text_score,
)
from vivid_core.metrics.encoders import ImageEncoder, ImageTextEncoder, normalised
from vivid_core.metrics.report import measure_edit
from vivid_core.metrics.transformers_clip import load_clip, prepared

CAPTION = "a red ring"


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scene(frames: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """A clip, its edit, and the mask of a square that moves; none on the last frame."""
    original, edited = noise(1, frames, 40, 56, 3), noise(2, frames, 40, 56, 3)
    mask = torch.zeros(frames, 40, 56)
    for index in range(frames - 1):
        mask[index, 10:26, 8 + 4 * index : 24 + 4 * index] = 1
    return original, torch.where(mask[..., None] > 0, edited, original), mask


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_clip.clip_model()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.save_clip(tmp_path_factory.mktemp("clips") / "tiny-clip", model)


class Colours:
    """An encoder made by hand: pictures are their mean colour, texts colours by name."""

    identity = "colours by hand"

    def images(self, images_fhwc: Tensor) -> Tensor:
        return images_fhwc.mean((1, 2)) + 0.01

    def texts(self, captions: Sequence[str]) -> Tensor:
        return torch.tensor([next(rgb for name, rgb in COLOURS.items() if name in caption) for caption in captions]) + (
            0.01
        )

    def clip(self, frames_fhwc: Tensor) -> Tensor:
        return self.images(frames_fhwc).mean(0)


def test_pictures_and_texts_are_embedded_as_transformers_own_model_embeds_them(model: Any, folder: Path) -> None:
    encoder = load_clip(folder)
    pictures = noise(3, 3, tiny_clip.SIDE, tiny_clip.SIDE, 3)
    seen, said = tiny_clip.features(model, prepared(pictures, tiny_clip.SIDE), encoder.tokenize(CAPTION))
    torch.testing.assert_close(normalised(encoder.images(pictures), 3, "").float(), seen, rtol=0, atol=1e-5)
    torch.testing.assert_close(normalised(encoder.texts([CAPTION]), 1, "").float(), said, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (90, 48), (33, 32), (200, 120)])
def test_pictures_are_prepared_as_clips_own_processor_prepares_them(height: int, width: int) -> None:
    from transformers import CLIPImageProcessor

    picture = torch.nn.functional.interpolate(noise(4, 1, 3, 9, 9), (height, width), mode="bicubic").clamp(0, 1)
    eight_bit = (picture[0].movedim(0, -1) * 255).round().to(torch.uint8)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    theirs = processor(images=eight_bit.numpy(), return_tensors="pt").pixel_values
    ours = prepared(eight_bit[None].float() / 255, 32)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < 3 / 255 / 0.26


def test_ta_is_the_mean_score_of_the_masked_region_as_transformers_gives_it(model: Any, folder: Path) -> None:
    encoder = load_clip(folder)
    original, edited, mask = scene()
    measures = measure_edit(original, edited, mask, encoder=encoder, caption=CAPTION, flow=None)
    for clip, found in ((edited, measures.mean("text_alignment")), (original, None)):
        crops = [clip[index, 10:26, 8 + 4 * index : 24 + 4 * index] for index in range(3)]
        pixels = torch.cat([prepared(crop[None], tiny_clip.SIDE) for crop in crops])
        seen, said = tiny_clip.features(model, pixels, encoder.tokenize(CAPTION))
        expected = float((100 * (seen @ said[0]).clamp(min=0)).mean())
        found = measures.scores["text_alignment_original"] if found is None else found
        assert found == pytest.approx(expected, abs=1e-3)
    assert math.isnan(measures.text_alignment[3])


def test_tc_is_the_mean_cosine_of_consecutive_frames_as_transformers_gives_it(model: Any, folder: Path) -> None:
    encoder = load_clip(folder)
    original, edited, mask = scene()
    measures = measure_edit(original, edited, mask, encoder=encoder, flow=None)
    seen, _ = tiny_clip.features(model, prepared(edited, tiny_clip.SIDE), encoder.tokenize(CAPTION))
    cosines = [float(seen[index] @ seen[index - 1]) for index in range(1, 4)]
    assert measures.temporal_consistency[1:] == pytest.approx(cosines, abs=1e-5)
    assert math.isnan(measures.temporal_consistency[0]) and math.isnan(measures.mean("text_alignment"))
    pairs = [float(seen[a] @ seen[b]) for a in range(4) for b in range(4) if a != b]
    assert measures.scores["clip_frame"] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_pickscore_is_the_models_own_logit_for_picture_and_caption(model: Any, folder: Path) -> None:
    encoder = load_clip(folder)
    clip = noise(5, 9, 32, 32, 3)
    numbers = torch.tensor([encoder.tokenize(CAPTION)])
    with torch.no_grad():
        logits = model(pixel_values=prepared(clip, tiny_clip.SIDE), input_ids=numbers).logits_per_image
    assert preference_score(clip, CAPTION, encoder) == pytest.approx(float(logits.mean()), abs=1e-3)


def test_an_unedited_clip_has_the_originals_scores_and_a_frozen_one_a_consistency_of_one(folder: Path) -> None:
    encoder = load_clip(folder)
    original, _, mask = scene()
    scores = measure_edit(original, original, mask, encoder=encoder, caption=CAPTION, flow=None)
    assert scores.mean("text_alignment") == scores.scores["text_alignment_original"]
    assert scores.mean("temporal_consistency") == scores.scores["temporal_consistency_original"]
    frozen = image_embeddings(original[:1].expand(4, -1, -1, -1), encoder)
    assert temporal_consistency(frozen)[1:] == pytest.approx([1.0] * 3) and clip_frame(frozen) == pytest.approx(1.0)
    assert math.isnan(clip_frame(frozen[:1]))


def test_the_region_is_the_masks_box_widened_to_a_square_within_the_picture() -> None:
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    places = torch.stack([rows, columns, rows], -1)
    for top, bottom, left, right in [(3, 7, 5, 15), (0, 2, 20, 30), (0, 20, 3, 5), (9, 10, 0, 30), (0, 20, 0, 30)]:
        mask = torch.zeros(20, 30)
        mask[top:bottom, left:right] = 1
        part = region(places, mask)
        assert part is not None
        side = max(bottom - top, right - left)
        assert part.shape[:2] == (min(side, 20), min(side, 30))
        assert part[0, 0, 0] <= top and part[-1, -1, 0] >= bottom - 1
        assert part[0, 0, 1] <= left and part[-1, -1, 1] >= right - 1
    assert region(places, torch.zeros(20, 30)) is None


def test_the_way_of_a_clip_and_the_way_of_its_caption_are_compared() -> None:
    encoder = Colours()
    red, blue = (torch.tensor(COLOURS[name]).expand(3, 8, 8, 3) for name in ("red", "blue"))
    captions = "a red ball", "a blue ball"
    assert video_direction_score(red, blue, captions, encoder) == pytest.approx(1.0)
    assert video_direction_score(blue, red, captions, encoder) == pytest.approx(-1.0)
    assert math.isnan(video_direction_score(red, red, captions, encoder))
    assert video_text_score(red, "a red ball", encoder) == pytest.approx(1.0)
    assert video_text_score(blue, "a red ball", encoder) < 0.1


def test_halves_of_one_model_are_told_from_halves_of_two(folder: Path) -> None:
    assert halves_fit(Colours())
    strangers = load_clip(folder)
    assert not halves_fit(strangers)
    original, edited, mask = scene()
    notes: list[str] = []
    measure_edit(original, edited, mask, notes=notes, encoder=strangers, caption=CAPTION, flow=None)
    assert len(notes) == 1 and "both halves of the same CLIP" in notes[0]


def test_the_report_names_the_models_and_keeps_every_key_of_the_scores(folder: Path) -> None:
    encoder = load_clip(folder)
    original, edited, mask = scene()
    measures = measure_edit(
        original, edited, mask, encoder=encoder, caption="red", preference=encoder, video_encoder=Colours(),
        clip_caption="a red clip", source_caption="a blue clip", flow=None,
    )  # fmt: skip
    found = measures.as_dict()
    assert found["models"] == {
        "encoder": encoder.identity, "preference": encoder.identity, "video_encoder": "colours by hand",
    }  # fmt: skip
    assert "tiny-clip (CLIP of 2 layers, width 48, patch 8 at 32 pixels, weights " in encoder.identity
    assert found["caption"] == "red" and found["source_caption"] == "a blue clip"
    assert None not in found["scores"].values()
    assert measures.text().count(encoder.identity) == 2
    plain = measure_edit(original, edited, mask, flow=None).as_dict()
    assert list(plain["scores"]) == list(found["scores"]) and set(plain["scores"].values()) == {None}


def test_another_weight_is_another_identity_and_half_precision_is_not(folder: Path) -> None:
    encoder = load_clip(folder)
    before = encoder.identity
    encoder.model.half()
    assert replace(encoder).identity == before
    encoder.model.visual_projection.weight[0, 0] += 1
    assert replace(encoder).identity != before


def test_the_same_interface_is_met_by_whatever_has_its_methods(folder: Path) -> None:
    assert isinstance(load_clip(folder), ImageTextEncoder) and isinstance(Colours(), ImageTextEncoder)
    assert isinstance(PicturesOnly(), ImageEncoder) and not isinstance(PicturesOnly(), ImageTextEncoder)


class PicturesOnly:
    """An encoder without a text half."""

    identity = "pictures only"

    def images(self, images_fhwc: Tensor) -> Tensor:
        return images_fhwc.mean((1, 2)) + 0.01


class Wider(Colours):
    """Texts in another space than pictures."""

    identity = "two models"

    def texts(self, captions: Sequence[str]) -> Tensor:
        return torch.ones(len(captions), 5)


class Broken(Colours):
    """Pictures become NaN."""

    def images(self, images_fhwc: Tensor) -> Tensor:
        return super().images(images_fhwc) * math.nan


class Short(Colours):
    """Too few scores."""

    def scores(self, images_fhwc: Tensor, caption: str) -> Tensor:
        return torch.ones(1)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "caption without a model": ({"caption": "red"}, "no model that reads texts"),
    "caption for pictures only": ({"caption": "red", "encoder": PicturesOnly()}, "no model that reads texts"),
    "preference without caption": ({"preference": Short()}, "no caption for colours by hand"),
    "clip model without caption": ({"video_encoder": Colours(), "caption": "  "}, "no caption for colours by hand"),
    "clip caption for nobody": ({"clip_caption": "red"}, "no model that scores whole clips"),
    "source caption for nobody": ({"source_caption": "red"}, "no model that embeds clips"),
    "halves of another width": ({"encoder": Wider(), "caption": "red"}, "5 dimensions and the pictures 3"),
    "embeddings that are NaN": ({"encoder": Broken()}, "NaN"),
    "too few scores": ({"preference": Short(), "caption": "red"}, "1 scores for 4 frames"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_models_and_captions_get_one_helpful_sentence(case: str) -> None:
    changed, hint = WRONG[case]
    original, edited, mask = scene()
    with pytest.raises(ValueError, match=hint) as caught:
        measure_edit(original, edited, mask, flow=None, **changed)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_caption_over_the_token_limit_is_refused_with_both_numbers(folder: Path) -> None:
    encoder = load_clip(folder)
    assert encoder.texts(["ab " * 37 + "c"]).shape == (1, tiny_clip.WIDTH)
    with pytest.raises(ValueError, match="76 tokens, but the model reads at most 75"):
        encoder.texts(["ab " * 38])


def test_a_folder_that_holds_no_clip_is_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got no model there"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ValueError, match="a model of type t5"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ValueError, match="can't be read"):
        load_clip(tmp_path)
