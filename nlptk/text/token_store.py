"""Token ids of a corpus in memory-mapped files, made once and kept in the cache."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from tokenizers import Tokenizer

from nlptk.data.cache import cache_dir, disk_errors, key_of
from nlptk.errors import ArtifactError, DataError
from nlptk.parts.windows import encode_each, special_tokens
from nlptk.text.documents import Corpus, dividing_share, is_held_out
from nlptk.training.checkpointing import seal, verify

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAIN, HELD_OUT = "train", "held_out"
DOCUMENTS_AT_ONCE = 256


@dataclass(frozen=True)
class Tokens:
    """One part of a corpus. ids: (tokens,) memory-mapped, separators included; size_bytes: of its text in UTF-8."""

    ids: npt.NDArray[Any]
    documents: int
    size_bytes: int

    @property
    def bytes_per_token(self) -> float:
        return self.size_bytes / max(1, len(self.ids))


def cached(key: str, write: Callable[[Path], None]) -> Path:
    """The folder that `write` filled for this key: made once, checksummed, and made anew where it is damaged.

    Several processes may ask at once; one writes, and the others wait for it.
    """
    parent = cache_dir() / "text"
    place, staging = parent / key, parent / f".{key}.partial"
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(parent / f".{key}.lock")):
            if not _is_whole(place):
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir()
                try:
                    write(staging)
                    seal(staging, place)
                finally:
                    shutil.rmtree(staging, ignore_errors=True)
    return place


def _is_whole(place: Path) -> bool:
    try:
        verify(place)
    except (ArtifactError, ValueError, KeyError):
        return False
    return True


def tokenize_corpus(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, *, separator: int | None, held_out: float | None
) -> dict[str, Tokens]:
    """Part (train, held_out) -> its tokens, from the cache where these documents were tokenized like this before.

    The tokenizer is not changed, and special tokens that a text spells out are read as text. separator: id put after
    every document.
    """
    backend = tokenizer.backend_tokenizer
    plain = Tokenizer.from_str(backend.to_str())  # without what a checkpoint's own says of truncation and padding
    plain.no_truncation()
    plain.no_padding()
    plain.encode_special_tokens = True
    share = held_out or 0.0
    special = special_tokens(tokenizer)
    key = key_of("tokens", corpus.key(), key_of(plain.to_str()), separator, share, sorted(special))
    kind = np.dtype(np.uint16 if backend.get_vocab_size() <= 2**16 else np.uint32)
    folder = cached(
        key, lambda staging: _write(staging, _read(corpus.documents(), plain, special), separator, share, kind)
    )
    counts = json.loads((folder / "counts.json").read_text())
    return {part: _open(folder / f"{part}.bin", kind, counts[part]) for part in (TRAIN, HELD_OUT)}


def check_parts(tokens: Mapping[str, Tokens], corpus: Corpus, *, share: float) -> None:
    """Refuse few documents that all came to lie on one side. share: that was to be held out.

    Raises:
        DataError: names a share that divides them, where there is one.
    """
    train, held_out = tokens[TRAIN].documents, tokens[HELD_OUT].documents
    if not share or (train and held_out) or not train + held_out:
        return
    every = train + held_out
    came = "none" if train else "all"
    better = dividing_share(corpus.documents())
    cures = [f"data.held_out={better:g}, which holds out one of them"] if better else []
    if (lines := corpus.lines_per_document) > 1:
        cures.append(f"a data.lines_per_document smaller than {lines}")
    cures += ["more text, or the same in smaller documents", "data.held_out=none, to measure nothing"]
    raise DataError(
        f"data.held_out: {share:g} holds out {came} of the documents, {every} in all (each is held out or not by its "
        f"text alone); give {'; or '.join(cures)}"
    )


def _open(path: Path, kind: np.dtype[Any], counts: dict[str, int]) -> Tokens:
    empty = path.stat().st_size == 0  # which cannot be mapped
    ids = np.empty(0, dtype=kind) if empty else np.memmap(path, dtype=kind, mode="r")
    return Tokens(ids, counts["documents"], counts["bytes"])


def _read(documents: Iterable[str], backend: Tokenizer, special: dict[int, str]) -> Iterator[tuple[str, list[int]]]:
    """Each document and its ids. Special tokens that it spells out are text, for a list of pieces (T5's) too."""
    for texts in _batches(documents, DOCUMENTS_AT_ONCE):
        for text, encoding in zip(texts, backend.encode_batch_fast(texts, add_special_tokens=False), strict=True):
            ids = encoding.ids
            if not special.keys().isdisjoint(ids):
                ids = encode_each(backend, [text], special)[0].ids
            yield text, ids


def _write(
    folder: Path,
    documents: Iterable[tuple[str, list[int]]],
    separator: int | None,
    share: float,
    kind: np.dtype[Any],
) -> None:
    counts = {part: {"documents": 0, "bytes": 0} for part in (TRAIN, HELD_OUT)}
    end = [] if separator is None else [separator]
    with (folder / f"{TRAIN}.bin").open("wb") as train, (folder / f"{HELD_OUT}.bin").open("wb") as held_out:
        files = {TRAIN: train, HELD_OUT: held_out}
        for text, ids in documents:
            part = HELD_OUT if is_held_out(text, share) else TRAIN
            np.array(ids + end, dtype=kind).tofile(files[part])
            counts[part]["documents"] += 1
            counts[part]["bytes"] += len(text.encode("utf-8", "surrogatepass"))
    (folder / "counts.json").write_text(json.dumps(counts))


def _batches(documents: Iterable[str], size: int) -> Iterator[list[str]]:
    found = iter(documents)
    while batch := list(itertools.islice(found, size)):
        yield batch
