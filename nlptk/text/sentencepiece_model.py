"""SentencePiece's Unigram models (Kudo 2018): trained from word counts, and read without protobuf."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nlptk.errors import DataError
from nlptk.text.option_names import Named, in_recipe

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NORMALIZER_SPEC, _PRECOMPILED_CHARSMAP = 3, 2
LONGEST_WORD_BYTES = 4096
"""SentencePiece drops longer ones itself, with a warning."""


@dataclass(frozen=True)
class UnigramModel:
    """proto: what a `.model` file holds; pieces: (piece, log probability) by id; charsmap: compiled normalization."""

    proto: bytes
    pieces: list[tuple[str, float]]
    charsmap: bytes


def train_unigram(
    texts: Iterable[str], *, vocab_size: int, lowercase: bool = False, named: Named = in_recipe
) -> UnigramModel:
    """A model with T5's first ids: `<pad>` 0, `</s>` 1, `<unk>` 2. Memory grows with the number of distinct words.

    vocab_size: pieces, those three included; a small text gives fewer. Normalization: SentencePiece's nmt_nfkc,
    lowercase: nmt_nfkc_cf. Raises: DataError where there is no text, or too few pieces for its characters.
    """
    import sentencepiece

    words: Counter[str] = Counter()
    for text in texts:
        words.update(text.split())
    made = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            # pieces never cross white space, so counted words say all that sentences would
            sentence_iterator=_counted(words),
            input_format="tsv",
            model_writer=made,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2].strip() or "the text is too small"
        raise DataError(f"{named('vocab_size')}: {vocab_size} pieces do not fit this text: {reason}") from error
    return read_model(made.getvalue())


def read_model(proto: bytes) -> UnigramModel:
    """The parts of a serialized SentencePiece model that a fast tokenizer is made of."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    pieces = [(processor.id_to_piece(i), float(processor.get_score(i))) for i in range(processor.get_piece_size())]
    spec = next((value for number, value in _fields(proto) if number == _NORMALIZER_SPEC), b"")
    charsmap = next((value for number, value in _fields(spec) if number == _PRECOMPILED_CHARSMAP), b"")
    return UnigramModel(proto, pieces, charsmap)


def _counted(words: Counter[str]) -> Iterator[str]:
    for word, count in words.items():
        if len(word.encode("utf-8", "surrogatepass")) < LONGEST_WORD_BYTES:
            yield f"{word}\t{count}"


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the length-delimited fields of a protobuf message (protobuf.dev, Encoding)."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, place = _varint(data, place)
        elif kind == _BYTES:
            size, place = _varint(data, place)
            yield number, data[place : place + size]
            place += size
        elif kind in (_FIXED32, _FIXED64):
            place += 4 if kind == _FIXED32 else 8
        else:
            raise DataError(f"not a SentencePiece model: wire type {kind} at byte {place}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
