"""Rows -> features, tokenized once and kept on disk.

The cache key covers the rows' content, the tokenizer's content, the task with its options and labels, and the
preprocessing, so another tokenizer or setting never meets an old cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from nlptk.data import cache, cache_dir
from nlptk.task import Features, Ledger, Preprocessing, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

FORMAT = 3  # raise it when featurizing changes, so that old caches are not met
BATCH_ROWS = 1000
BATCH_BYTES = 2_000_000
"""Of text that is tokenized at once: the encodings of it take a hundred times as much memory."""
_LEAST_ROWS = 8
_QUICK_ROWS = 20_000  # some two seconds of tokenizing
_LEDGER_COLUMNS = ("tokens", "untrained", "labels_lost", "target_tokens", "target_tokens_lost")
NOTABLE_LOSS = 0.05  # of a split's tokens; below it few rows are touched


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of what the tokenizer does to a text: its whole pipeline and vocabulary, not its name."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.pop("truncation", None)  # set by calls, not used here
    state.pop("padding", None)
    template = getattr(tokenizer, "chat_template", None)
    extra = [
        getattr(tokenizer, "split_special_tokens", False),
        list(tokenizer.model_input_names),
        template,
        {
            role: str(token) for role, token in tokenizer.special_tokens_map.items()
        },  # base and chat models may share all else
        [getattr(tokenizer, name, None) for name in ("src_lang", "tgt_lang")],
    ]
    return hashlib.sha256(json.dumps([state, extra], sort_keys=True).encode()).hexdigest()


def features_key(
    task: Task, rows_fingerprint: str, tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
) -> str:
    """Name of the cache entry, hexadecimal."""
    labels = task.labels.to_json() if task.labels else None
    parts = [
        FORMAT,
        task.name,
        task.options.model_dump(mode="json"),
        labels,
        rows_fingerprint,
        tokenizer_fingerprint(tokenizer),
        preprocessing.to_json(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_features(
    task: Task,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    preprocessing: Preprocessing,
    *,
    rows_fingerprint: str,
) -> Features:
    """Tokenize rows (memory-mapped in, memory-mapped out), or find them tokenized already.

    What is damaged in the cache is made anew. Raises: DataError where the cache cannot be written.
    """
    from datasets import Dataset

    key = features_key(task, rows_fingerprint, tokenizer, preprocessing)
    roles = [column.role for column in task.columns if column.role in rows.column_names]

    def featurize(batch: Mapping[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        features = task.featurize({role: batch[role] for role in roles}, tokenizer, preprocessing)
        features["row"] = [indices[row] for row in features["row"]]
        # lists that are all empty say nothing of their type, which the first batch decides: ids are all there can be
        empty = [name for name, values in features.items() if all(isinstance(v, list) and not v for v in values)]
        return features | {name: [np.zeros(0, dtype=np.int64)] * len(features[name]) for name in empty}

    with one_at_a_time(key):
        entry = cache.find(key)
        if entry is None:
            with cache.draft(key) as draft, bars_if(len(rows) > _QUICK_ROWS):
                rows.map(
                    featurize,
                    batched=True,
                    batch_size=rows_at_once(rows, roles),
                    with_indices=True,
                    remove_columns=rows.column_names,
                    cache_file_name=str(draft.path("features")),
                    new_fingerprint=key[:32],
                    desc="tokenizing",
                )
                entry = draft.commit(["features"], {})
    dataset = Dataset.from_file(str(entry.files["features"]))
    ledger = _ledger(dataset, len(rows))
    return Features(dataset.remove_columns([c for c in _LEDGER_COLUMNS if c in dataset.column_names]), ledger)


def rows_at_once(rows: Dataset, roles: Sequence[str]) -> int:
    """How many rows of the usual length are tokenized together, so that memory does not grow with long texts."""
    table = rows.data
    row_bytes = sum(table.column(role).nbytes for role in roles) / max(1, table.num_rows)
    return int(min(BATCH_ROWS, max(_LEAST_ROWS, BATCH_BYTES / max(1.0, row_bytes))))


@contextmanager
def one_at_a_time(key: str) -> Iterator[None]:
    """Let one process make a cache entry while the others that want it wait, and then find it."""
    folder = cache_dir() / "locks"
    with cache.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(folder / key[:32]))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def bars_if(wanted: bool) -> Iterator[None]:
    """The progress bar of datasets, only where the work takes more than a moment."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    change = not wanted and not are_progress_bars_disabled()
    if change:
        disable_progress_bars()
    try:
        yield
    finally:
        if change:
            enable_progress_bars()


def _ledger(dataset: Dataset, rows: int) -> Ledger:
    def column(name: str) -> np.ndarray:
        return np.asarray(dataset.data.column(name)) if name in dataset.column_names else np.zeros(0, dtype=np.int64)

    lost = column("lost")
    return Ledger(
        rows=rows,
        tokens=int(column("tokens").sum()),
        tokens_lost=int(lost.sum()),
        tokens_untrained=int(column("untrained").sum()),
        rows_truncated=int((lost > 0).sum()),
        rows_windowed=int((np.bincount(column("row"), minlength=1) > 1).sum()),
        labels_lost=int(column("labels_lost").sum()),
        target_tokens=int(column("target_tokens").sum()),
        target_tokens_lost=int(column("target_tokens_lost").sum()),
    )


def cut_warnings(ledgers: Mapping[str, Ledger], task: Task, *, long_text: str = "truncate_tail") -> list[str]:
    """A warning of each split of which more than NOTABLE_LOSS of the tokens reach no feature, or no training step, and
    of each whose targets are cut by more than that.

    long_text: as in `Preprocessing`; windows are not recommended where they are in use (those of a pair slide over its
    longer text, and the other can still be cut).
    """
    usable = "window" in task.long_texts and long_text != "window"
    window = ["preprocessing.long_text=window"] if usable else []
    cures = ["a larger preprocessing.max_length", *window, *filter(None, [task.long_text_cure])]
    found = []
    for split, ledger in ledgers.items():
        if ledger.tokens_lost > NOTABLE_LOSS * ledger.tokens:
            share = ledger.tokens_lost / ledger.tokens
            found.append(f"{split}: {share:.0%} of the tokens were cut off, unread; give {' or '.join(cures)}")
        elif split == "train" and ledger.tokens_untrained > NOTABLE_LOSS * ledger.tokens:
            share = ledger.tokens_untrained / ledger.tokens
            found.append(f"{split}: {share:.0%} of the tokens are not trained on: training takes long texts cut")
        if ledger.labels_lost > NOTABLE_LOSS * ledger.rows:
            what = f"{ledger.labels_lost:,} labels stood on tokens that were cut off"
            found.append(f"{split}: {what}, and count for nothing; give {' or '.join(cures)}")
        if ledger.target_tokens_lost > NOTABLE_LOSS * ledger.target_tokens:
            share = ledger.target_tokens_lost / ledger.target_tokens
            found.append(
                f"{split}: {share:.0%} of the tokens of the targets were cut off: "
                f"{'training leaves them out' if split == 'train' else 'loss and perplexity leave them out'}; "
                "give a larger task.max_new_tokens"
            )
    return found
