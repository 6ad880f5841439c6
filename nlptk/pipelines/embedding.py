"""Texts as vectors, and the search for the nearest of them.

    loaded = nlptk.pipeline("runs/alike")
    loaded.embed(["How old are you?", "What is your age?"])   # (2, dim) float32, each of length 1
    loaded.search("How old are you?", questions, top_k=3)     # [{"index": 41, "score": 0.93, "text": ...}, ...]

The search is exact: every query is compared with every text. A large corpus is embedded once, kept (`numpy.save`), and
given as an array, which may be memory-mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from nlptk.errors import DataError, UnsupportedError
from nlptk.task import Features, Preprocessing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nlptk.pipelines.artifact import Pipeline

CHUNK_TEXTS = 4096
"""Texts tokenized together, so that those of like length run together; also rows of a corpus scored together."""
CHUNK_QUERIES = 256
_LOWEST = np.uint64(2**32 - 1)
Hit = dict[str, Any]
"""`index` in the corpus, from 0; `score`, the cosine; `text` where the corpus is texts."""


@runtime_checkable
class EmbedsTexts(Protocol):
    """What a task has beside the contract when its models embed single texts."""

    def text_features(
        self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """Features of texts, as `featurize` makes them of rows; `collate` and `infer` take them like those."""

    def text_embeddings(self, outputs: Sequence[np.ndarray], features: Features) -> np.ndarray:
        """What `infer` kept of all features, in order -> (texts, dim) float32, windows merged."""


def embed(loaded: Pipeline, texts: str | Iterable[str], *, normalize: bool = True) -> np.ndarray:
    """Embeddings, (texts, dim) float32; (dim,) of a single text. normalize: to the length 1.

    Raises:
        DataError: a text that is empty or no text, by its place. UnsupportedError: the task embeds none.
    """
    _check_texts("texts", texts)
    if isinstance(texts, str):
        single: np.ndarray = embed(loaded, [texts], normalize=normalize)[0]
        return single
    width = loaded.model.config.get_text_config().hidden_size
    blocks = [np.zeros((0, width), dtype=np.float32), *(block for _, block in _embedded(loaded, texts))]
    vectors = np.concatenate(blocks)
    return unit_length(vectors) if normalize else vectors


def search(
    loaded: Pipeline, queries: str | Iterable[str], corpus: Iterable[str] | np.ndarray, *, top_k: int = 10
) -> list[Any]:
    """The `top_k` texts of the corpus with the greatest cosine to each query, best first, equal ones by their place.

    corpus: texts, or their embeddings, (texts, dim) of any length. Beside what is given, memory holds the queries and
    one block of the corpus, whatever its size. Returns: a list of hits for each query; of a single query, its hits.

    Raises:
        DataError: a text that is empty or no text, embeddings of another shape or not finite, top_k below 1.
    """
    if top_k < 1:
        raise DataError(f"top_k: {top_k}; expected at least 1")
    if isinstance(corpus, str) or (isinstance(corpus, np.ndarray) and corpus.dtype.kind in "US"):
        raise DataError(f"corpus: {type(corpus).__name__}; expected a list of texts, or an array of embeddings")
    _check_texts("queries", queries)
    _check_texts("corpus", corpus)
    wanted = unit_length(embed(loaded, [queries] if isinstance(queries, str) else queries).astype(np.float64))
    texts: list[Any] | None = None
    if isinstance(corpus, np.ndarray):
        blocks = _blocks(corpus, wanted.shape[1])
    else:
        texts = list(corpus)
        blocks = _embedded(loaded, texts)
    hits = [
        [{"index": place, "score": score, **({"text": texts[place]} if texts else {})} for place, score in found]
        for found in nearest(wanted, blocks, top_k=top_k)
    ]
    return hits[0] if isinstance(queries, str) else hits


def _check_texts(what: str, given: object) -> None:
    """Refuse what is neither a text nor anything that holds texts. Raises: DataError."""
    if not isinstance(given, Iterable):
        raise DataError(f"{what}: {given!r:.40}; expected a text or a list of texts")


def nearest(
    queries: np.ndarray, blocks: Iterable[tuple[int, np.ndarray]], *, top_k: int
) -> list[list[tuple[int, float]]]:
    """Place and cosine of each query's nearest rows. queries: (queries, dim) of length 1; blocks: first place, rows.

    Cosines are summed in float64 and then rounded to float32, so that equal rows tie, whatever block they lie in.
    """
    best = np.zeros((len(queries), 0), dtype=np.uint64)
    for first, block in blocks:
        rows = unit_length(block.astype(np.float64))
        parts = [queries[start : start + CHUNK_QUERIES] for start in range(0, len(queries), CHUNK_QUERIES)]
        found = [_best(_keys((part @ rows.T).astype(np.float32), first), top_k) for part in parts]
        best = _best(np.concatenate([best, *([np.concatenate(found)] if found else [])], axis=1), top_k)
    ordered = np.sort(best, axis=1)[:, ::-1]
    places, cosines = _unpacked(ordered)
    return [list(zip(p, c, strict=True)) for p, c in zip(places.tolist(), cosines.tolist(), strict=True)]


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Each row divided by its length; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, np.finfo(vectors.dtype).tiny)
    return scaled


def _embedded(loaded: Pipeline, texts: Iterable[Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Place of the first text of a chunk, and the chunk's embeddings; equal texts of it are embedded once."""
    task = loaded.task
    if not isinstance(task, EmbedsTexts):
        raise UnsupportedError(f"{task.name}: its models embed no texts; train one with task=similarity")
    iterator, first = iter(texts), 0
    while chunk := list(islice(iterator, CHUNK_TEXTS)):
        for place, text in enumerate(chunk, start=first):
            if not isinstance(text, str) or not text.strip():
                came = "empty" if isinstance(text, str) else f"{type(text).__name__}, not text"
                raise DataError(f"text {place}: {came}; every one needs a text")
        distinct = {text: place for place, text in enumerate(dict.fromkeys(chunk))}
        found = task.text_features(list(distinct), loaded.tokenizer, loaded.manifest.preprocessing)
        outputs, features = loaded.run(found, rows=len(distinct))
        yield first, task.text_embeddings(outputs, features)[[distinct[text] for text in chunk]]
        first += len(chunk)


def _blocks(vectors: np.ndarray, width: int) -> Iterator[tuple[int, np.ndarray]]:
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise DataError(f"corpus: embeddings of the shape {vectors.shape}; expected (texts, {width})")
    for first in range(0, len(vectors), CHUNK_TEXTS):
        block = vectors[first : first + CHUNK_TEXTS]
        if not np.isfinite(block).all():
            raise DataError(f"corpus: rows {first} to {first + len(block) - 1} hold NaN or infinity; embed them again")
        yield first, block


def _keys(cosines: np.ndarray, first: int) -> np.ndarray:
    """(queries, rows) float32 -> numbers in the order of search, none twice: cosine upward, then place downward.

    The bits of a float are ordered as the float is once the sign is turned, and all bits of negative ones.
    """
    bits = (cosines + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    places = _LOWEST - np.arange(first, first + cosines.shape[1], dtype=np.uint64)
    keys: np.ndarray = ordered << np.uint64(32) | places
    return keys


def _unpacked(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places and cosines of keys."""
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ordered >> 31, ordered ^ np.uint32(1 << 31), ~ordered)
    return _LOWEST - (keys & _LOWEST), bits.view(np.float32)


def _best(keys: np.ndarray, top_k: int) -> np.ndarray:
    """The greatest `top_k` of each row, in no order."""
    if keys.shape[1] <= top_k:
        return keys
    return np.partition(keys, -top_k, axis=1)[:, -top_k:]
