"""Tiny tokenizers of the true kinds, trained on a few sentences."""

from __future__ import annotations

import functools
import io
from pathlib import Path

SENTENCES = [
    "a red ring bouncing up and down",
    "a small blue square drifting to the left",
    "Remove objects and generate areas that blend with the background.",
    "an empty road between fields, in the evening light",
    "ein Haus am See & two boats",
] * 4
PIECES = 90


@functools.cache
def pieces() -> bytes:
    """A SentencePiece model with T5's special numbers: 0 pads, 1 ends, 2 is unknown."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=written,
        vocab_size=PIECES,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return written.getvalue()


def save_tokenizer(folder: Path) -> Path:
    """The same pieces as a tokenizer folder of transformers."""
    import sentencepiece
    from transformers import T5TokenizerFast

    model = sentencepiece.SentencePieceProcessor(model_proto=pieces())
    vocabulary = [(model.id_to_piece(number), model.get_score(number)) for number in range(model.get_piece_size())]
    T5TokenizerFast(vocab=vocabulary, extra_ids=0).save_pretrained(folder)
    return folder
