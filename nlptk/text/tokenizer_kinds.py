"""The kinds of tokenizers, each trained from texts that are read one at a time; the same texts give the same ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nlptk.errors import DataError
from nlptk.text.option_names import Named
from nlptk.text.recipe import Kind
from nlptk.text.sentencepiece_model import UnigramModel, train_unigram

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Texts = Callable[[], Iterator[str]]
"""Begins a reading of the texts; WordPiece reads them twice."""
BYTES = 256
MOST_CHARACTERS = 400
"""A WordPiece vocabulary keeps so many characters, the most frequent; BERT's trainer kept 1,000 of 30,000."""
UNIGRAM_SPECIAL = {"<pad>", "</s>", "<unk>"}
UNKNOWN_ID = 2


def train_kind(
    kind: Kind,
    texts: Texts,
    special: list[str],
    *,
    unknown: str | None,
    size: int,
    lowercase: bool,
    min_frequency: int,
    named: Named,
) -> tuple[Tokenizer, bytes | None]:
    """A trained tokenizer without framing, and its SentencePiece model where it has one.

    special: tokens that texts never become, first in the vocabulary of all kinds but unigram, which has its own first.
    size: tokens in all. Raises: DataError where the text is empty or too small.
    """
    if kind == "unigram":
        pieces = size - len(set(special) - UNIGRAM_SPECIAL)
        model = train_unigram(texts(), vocab_size=pieces, lowercase=lowercase, named=named)
        return _unigram(model, special), model.proto
    backend, trainer = _UNTRAINED[kind](unknown, lowercase)
    alphabet = _alphabet(texts(), backend, min_frequency) if kind == "wordpiece" else []
    trainer.vocab_size, trainer.min_frequency, trainer.special_tokens = size, min_frequency, special + alphabet
    backend.train_from_iterator(texts(), trainer)
    if backend.get_vocab_size() <= len(special) + (BYTES if kind == "bpe" else 0):
        raise DataError(f"tokenizer: the text gives no token; give more text, or a smaller {named('min_frequency')}")
    return (_ordinary(backend, special) if alphabet else backend), None


def _bpe(unknown: str | None, lowercase: bool) -> tuple[Tokenizer, Any]:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    if lowercase:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return backend, trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False)


def _wordpiece(unknown: str | None, lowercase: bool) -> tuple[Tokenizer, Any]:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    backend = Tokenizer(models.WordPiece(unk_token=unknown))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend, trainers.WordPieceTrainer(limit_alphabet=MOST_CHARACTERS, show_progress=False)


def _word(unknown: str | None, lowercase: bool) -> tuple[Tokenizer, Any]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    backend = Tokenizer(models.WordLevel(unk_token=unknown))
    if lowercase:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend, trainers.WordLevelTrainer(show_progress=False)


def _character(unknown: str | None, lowercase: bool) -> tuple[Tokenizer, Any]:
    from tokenizers import Regex, decoders, pre_tokenizers

    backend, trainer = _word(unknown, lowercase)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return backend, trainer


def _alphabet(texts: Iterator[str], backend: Tokenizer, min_frequency: int) -> list[str]:
    """The most frequent characters, each as it begins a word and, after ##, as it goes on in one.

    The trainer would number the latter in the order of a hash table, which changes from run to run, and with it the
    pieces that are made of them.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    folded: Counter[str] = Counter()
    for character, count in counts.items():
        for kept in backend.normalizer.normalize_str(character):
            folded[kept] += count
    found = [(-count, c) for c, count in folded.items() if count >= min_frequency and not c.isspace()]
    kept_most = sorted(c for _, c in sorted(found)[:MOST_CHARACTERS])
    return [*kept_most, *(f"##{c}" for c in kept_most)]


def _ordinary(backend: Tokenizer, special: list[str]) -> Tokenizer:
    """The same WordPiece tokenizer in which only these tokens are special ones."""
    from tokenizers import Tokenizer, models

    plain = Tokenizer(models.WordPiece(backend.get_vocab(), unk_token=backend.model.unk_token))
    plain.normalizer, plain.pre_tokenizer, plain.decoder = backend.normalizer, backend.pre_tokenizer, backend.decoder
    plain.add_special_tokens(special)
    return plain


_UNTRAINED = {"bpe": _bpe, "wordpiece": _wordpiece, "word": _word, "character": _character}


def _unigram(model: UnigramModel, special: list[str]) -> Tokenizer:
    """The fast form of a SentencePiece model, as transformers makes it for T5."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    backend = Tokenizer(models.Unigram(model.pieces, unk_id=UNKNOWN_ID, byte_fallback=False))
    if model.charsmap:
        backend.normalizer = normalizers.Precompiled(model.charsmap)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    backend.add_special_tokens(special)
    return backend
