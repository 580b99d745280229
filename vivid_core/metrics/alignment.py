"""What an edit shows, judged by models that are brought along: TA, TC, and the scores of TGVE.

Every function says which paper defines it. Scores of different models, or of one model with different preparation of
the pictures, can't be compared: reports name the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..runtime import Runtime
from .encoders import ClipEncoder, ImageEncoder, ImageTextEncoder, PreferenceModel, check_same_space, normalised

CHUNK = 8  # pictures that go through an encoder together
CARD = 64  # side of a plain picture
COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 0.6, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
}


def image_embeddings(frames_fhwc: Tensor, encoder: ImageEncoder, runtime: Runtime | None = None) -> Tensor:
    """The embeddings [F, D] of whole frames, with length 1. One step of `runtime` for each frame."""
    parts = []
    for start in range(0, len(frames_fhwc), CHUNK):
        pictures = frames_fhwc[start : start + CHUNK]
        parts.append(normalised(encoder.images(pictures), len(pictures), encoder.identity))
        if runtime is not None:
            runtime.advance(len(pictures))
    return torch.cat(parts)


def caption_embedding(encoder: ImageTextEncoder | ClipEncoder, caption: str) -> Tensor:
    """The embedding [D] of a caption, with length 1. Raises ValueError as the encoder does."""
    return normalised(encoder.texts([caption]), 1, encoder.identity)[0]


def temporal_consistency(embeddings_fd: Tensor) -> tuple[float, ...]:
    """TC of each frame: the cosine with the frame before, from embeddings [F, D] of length 1; NaN for the first.

    The mean over the clip is TC of VIVID-10M (arXiv 2411.15260, section 5), which warns that it sees changes of
    meaning only, no jitter of pixels.
    """
    cosines = (embeddings_fd[1:] * embeddings_fd[:-1]).sum(1)
    return (math.nan, *(float(value) for value in cosines))


def clip_frame(embeddings_fd: Tensor) -> float:
    """CLIPFrame of TGVE (Wu et al. 2023): the mean cosine over all pairs of frames; NaN for a single frame.

    A clip that stands still scores best, so never read it alone.
    """
    count = len(embeddings_fd)
    if count < 2:
        return math.nan
    total = embeddings_fd.sum(0)
    of_itself = float((embeddings_fd * embeddings_fd).sum())
    return (float(total @ total) - of_itself) / (count * (count - 1))


def region(image_hwc: Tensor, mask_hw: Tensor) -> Tensor | None:
    """The part of a picture that TA looks at; None where the mask has nothing above 0.5.

    The mask's bounding box, widened to a square as far as the picture goes: CLIP crops pictures to squares, and would
    cut off the ends of a long object.
    """
    inside = mask_hw > 0.5
    rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
    if not len(rows):
        return None
    spans = [(int(where[0]), int(where[-1]) + 1) for where in (rows, columns)]
    side = max(stop - start for start, stop in spans)
    cut = [_widened(span, side, length) for span, length in zip(spans, mask_hw.shape)]
    return image_hwc[cut[0], cut[1]]


def text_alignment(image_hwc: Tensor, mask_hw: Tensor, encoder: ImageTextEncoder, text_d: Tensor) -> float:
    """TA of one frame: `100 max(cos, 0)` of the edited region and the caption; NaN without a mask. Higher is better.

    The mean over the clip is TA of VIVID-10M (arXiv 2411.15260, section 5), a CLIPScore (Hessel et al. 2021) with
    w = 100 of the region. `text_d` is the `caption_embedding` of the local caption.
    Raises ValueError when text and pictures are not in one space.
    """
    part = region(image_hwc, mask_hw)
    if part is None:
        return math.nan
    seen = normalised(encoder.images(part[None]), 1, encoder.identity)
    check_same_space(text_d[None], seen, encoder.identity)
    return 100 * max(float(seen[0] @ text_d), 0.0)


def preference_score(frames_fhwc: Tensor, caption: str, model: PreferenceModel) -> float:
    """PickScore (Kirstain et al. 2023) as TGVE uses it: the mean over frames, on the model's own scale.

    Raises ValueError when the model does not return one finite score for each frame.
    """
    parts = [model.scores(chunk, caption).detach().to("cpu", torch.float64) for chunk in frames_fhwc.split(CHUNK)]
    scores = torch.cat([part.reshape(-1) for part in parts])
    if len(scores) != len(frames_fhwc) or not bool(torch.isfinite(scores).all()):
        raise ValueError(
            f"{model.identity}: got {len(scores)} scores for {len(frames_fhwc)} frames, or NaN among them; the model "
            "must return one number for each frame."
        )
    return float(scores.mean())


def video_text_score(edited_fhwc: Tensor, caption: str, encoder: ClipEncoder) -> float:
    """ViCLIP_out of TGVE+ (EVE, arXiv 2403.09334): the cosine of the edited clip and its caption."""
    return _cosine(_clip_embedding(edited_fhwc, encoder), caption_embedding(encoder, caption), encoder.identity)


def video_direction_score(
    original_fhwc: Tensor, edited_fhwc: Tensor, captions: tuple[str, str], encoder: ClipEncoder
) -> float:
    """ViCLIP_dir of TGVE+ (EVE, arXiv 2403.09334): does the clip change the way its caption does?

    The cosine of two differences, edited minus original: of the clips and of their `captions` (before, after). NaN
    when clips or captions are the same, so that there is no direction.
    """
    before, after = (_clip_embedding(clip, encoder) for clip in (original_fhwc, edited_fhwc))
    said_before, said_after = (caption_embedding(encoder, caption) for caption in captions)
    return _cosine(after - before, said_after - said_before, encoder.identity)


def halves_fit(encoder: ImageTextEncoder) -> bool:
    """Whether texts and pictures of an encoder belong together: it names most of six plain colours.

    Two halves of different models, or one with missing weights, name one in six by chance.
    """
    cards = torch.tensor(list(COLOURS.values())).view(-1, 1, 1, 3).expand(-1, CARD, CARD, -1)
    seen = normalised(encoder.images(cards), len(COLOURS), encoder.identity)
    said = torch.stack([caption_embedding(encoder, f"a plain {colour} picture") for colour in COLOURS])
    check_same_space(said, seen, encoder.identity)
    named = (seen @ said.T).argmax(1)
    return int((named == torch.arange(len(COLOURS))).sum()) > len(COLOURS) // 2


def mean(values: Sequence[float]) -> float:
    """The mean of the values that are defined; NaN when none is."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _clip_embedding(frames_fhwc: Tensor, encoder: ClipEncoder) -> Tensor:
    return normalised(encoder.clip(frames_fhwc)[None], 1, encoder.identity)[0]


def _cosine(first_d: Tensor, second_d: Tensor, whose: str) -> float:
    check_same_space(second_d[None], first_d[None], whose)
    length = float(torch.linalg.vector_norm(first_d) * torch.linalg.vector_norm(second_d))
    return float(first_d @ second_d) / length if length else math.nan


def _widened(span: tuple[int, int], side: int, length: int) -> slice:
    """`span` (start, stop) made `side` long around its middle, within 0..`length`."""
    side = min(side, length)
    start = min(max((span[0] + span[1] - side) // 2, 0), length - side)
    return slice(start, start + side)
