"""What models that were brought along say of one edit: their part of the report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..runtime import Runtime
from .alignment import (
    caption_embedding,
    clip_frame,
    halves_fit,
    image_embeddings,
    mean,
    preference_score,
    temporal_consistency,
    text_alignment,
    video_direction_score,
    video_text_score,
)
from .encoders import ClipEncoder, ImageEncoder, ImageTextEncoder, PreferenceModel

STRANGERS = (
    "This CLIP does not name plain colours, so its text and its vision half may be of different models, and TA says "
    "nothing then; use both halves of the same CLIP."
)


@dataclass(frozen=True)
class Judges:
    """The models that judge an edit, and what they are told; all of it optional.

    `caption` describes the edited region after the edit, for TA. PickScore and ViCLIP score the whole clip by
    `clip_caption` (without one by `caption`), ViCLIP also the way from `source_caption` to it. Raises ValueError on a
    caption that nobody reads and on a model that lacks its caption.
    """

    encoder: ImageEncoder | None = None
    caption: str = ""
    preference: PreferenceModel | None = None
    video_encoder: ClipEncoder | None = None
    clip_caption: str = ""
    source_caption: str = ""

    def __post_init__(self) -> None:
        scorer = self.preference or self.video_encoder
        if self.caption.strip() and scorer is None and not isinstance(self.encoder, ImageTextEncoder):
            raise ValueError(
                f"Measure Edit: got the caption {_short(self.caption)} but no model that reads texts; bring the vision "
                "and the text half of a CLIP, or leave the caption empty."
            )
        if scorer is not None and not (self.clip_caption.strip() or self.caption.strip()):
            raise ValueError(
                f"Measure Edit: got no caption for {scorer.identity}, which scores a clip by one; describe the clip "
                "after the edit in a few words."
            )
        if self.clip_caption.strip() and scorer is None:
            raise ValueError(
                f"Measure Edit: got the clip caption {_short(self.clip_caption)} but no model that scores whole clips; "
                "give a caption of the edited region, which a CLIP reads, or bring such a model."
            )
        if self.source_caption.strip() and self.video_encoder is None:
            raise ValueError(
                f"Measure Edit: got the source caption {_short(self.source_caption)} but no model that embeds clips; "
                "only the direction score of ViCLIP reads it, so leave it empty."
            )

    @property
    def passes(self) -> int:
        """How often the run goes over the clip for them."""
        return (2 if self.encoder is not None else 0) + (1 if self.reader is not None else 0)

    @property
    def bring(self) -> set[str]:
        """What measures can be made from with them; see `Measure.needs`."""
        return ({"pictures"} if self.encoder is not None else set()) | ({"text"} if self.reader is not None else set())

    @property
    def reader(self) -> ImageTextEncoder | None:
        """The encoder, where it can measure TA."""
        return self.encoder if self.caption.strip() and isinstance(self.encoder, ImageTextEncoder) else None

    def judge(
        self,
        original_fhwc: Tensor,
        edited_fhwc: Tensor,
        mask_fhw: Tensor,
        runtime: Runtime,
        notes: list[str] | None = None,
    ) -> dict[str, Any]:
        """Fields of `EditMeasures`. `notes` takes a doubt about the models."""
        nothing = (math.nan,) * len(edited_fhwc)
        found: dict[str, Any] = {"text_alignment": nothing, "temporal_consistency": nothing, "scores": {}}
        if self.encoder is not None:
            before, after = (image_embeddings(clip, self.encoder, runtime) for clip in (original_fhwc, edited_fhwc))
            found["temporal_consistency"] = temporal_consistency(after)
            found["scores"]["temporal_consistency_original"] = mean(temporal_consistency(before))
            found["scores"] |= {"clip_frame": clip_frame(after), "clip_frame_original": clip_frame(before)}
        if self.reader is not None:
            if notes is not None and not halves_fit(self.reader):
                notes.append(STRANGERS)
            alignments = _alignments(self.reader, self.caption, (original_fhwc, edited_fhwc), mask_fhw, runtime)
            found["text_alignment"] = alignments[1]
            found["scores"]["text_alignment_original"] = mean(alignments[0])
        found["scores"] |= self._of_the_clip(original_fhwc, edited_fhwc)
        judges = {"encoder": self.encoder, "preference": self.preference, "video_encoder": self.video_encoder}
        found["models"] = {role: judge.identity for role, judge in judges.items() if judge is not None}
        return {"caption": self.caption, "source_caption": self.source_caption, **found}

    def _of_the_clip(self, original_fhwc: Tensor, edited_fhwc: Tensor) -> dict[str, float]:
        """What PickScore and ViCLIP say, by the caption of the whole clip."""
        said = self.clip_caption or self.caption
        scores = {}
        if self.preference is not None:
            scores["preference"] = preference_score(edited_fhwc, said, self.preference)
        if self.video_encoder is not None:
            scores["video_text"] = video_text_score(edited_fhwc, said, self.video_encoder)
            if self.source_caption.strip():
                clips, captions = (original_fhwc, edited_fhwc), (self.source_caption, said)
                scores["video_direction"] = video_direction_score(*clips, captions, self.video_encoder)
        return scores


def _alignments(
    reader: ImageTextEncoder, caption: str, clips: tuple[Tensor, Tensor], mask_fhw: Tensor, runtime: Runtime
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """TA of each frame, of the original and of the edit."""
    text = caption_embedding(reader, caption)
    series: tuple[list[float], list[float]] = ([], [])
    for index, mask_hw in enumerate(mask_fhw):
        for clip, values in zip(clips, series):
            values.append(text_alignment(clip[index], mask_hw, reader, text))
        runtime.advance()
    return tuple(series[0]), tuple(series[1])


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
