"""A frozen backbone run once: its features kept on disk, the head trained on them.

The features are computed in eval mode, without dropout, and are the very vectors the model's own head reads, so the
head trained on them is put back under the backbone without any change to the model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from nlptk.batches import pad_batch
from nlptk.data import cache, cache_dir
from nlptk.errors import UnsupportedError
from nlptk.task import Features
from nlptk.training.features import one_at_a_time
from nlptk.training.readout import backbone, find_readout, placeholder_ids, read_features, stored_backbone

TOLERANCE = 1e-4  # float32 rounding between batches of different padding; a wrong readout is off by far more


_WITHOUT_EFFECT = frozenset(
    {
        "_name_or_path",
        "architectures",
        "id2label",
        "label2id",
        "problem_type",
        "task_specific_params",
        "transformers_version",
        "use_cache",
    }
)
"""Of a config: on the vectors of a backbone."""


class StoredFeatures(torch.utils.data.Dataset[Any]):
    """Vectors the head reads, (features, hidden) float32, memory-mapped, and the labels where there are any."""

    def __init__(self, vectors: np.ndarray, labels: torch.Tensor | None, placeholder: torch.Tensor):
        self._vectors = vectors
        self._labels = labels
        self._placeholder = placeholder

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        batch = {
            "features": torch.from_numpy(np.array(self._vectors[indices])),
            "input_ids": self._placeholder.expand(len(indices), -1),
        }
        if self._labels is not None:
            batch["labels"] = self._labels[indices]
        return batch


def whole_batch(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Collator of `StoredFeatures`, whose items already are batches."""
    return batch


def model_fingerprint(module: torch.nn.Module) -> str:
    """sha256 of what a model computes in eval mode: its class, its config, and every parameter and buffer by name."""
    digest = hashlib.sha256(type(module).__name__.encode())
    if (config := getattr(module, "config", None)) is not None:
        said = {k: v for k, v in config.to_dict().items() if k not in _WITHOUT_EFFECT and "dropout" not in k}
        digest.update(json.dumps(said, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data if tensor.dim() else b"")
        if not tensor.dim():
            digest.update(str(tensor.item()).encode())
    return digest.hexdigest()


def store_features(
    model: PreTrainedModel, features: Features, *, key: str, pad_id: int, batch_size: int
) -> StoredFeatures:
    """The backbone's features for every feature row, computed now or found on disk.

    key: names the tokenized rows; the backbone and the readout are added to it.
    Raises: UnsupportedError when the head's logits on the features are not the model's own.
    """
    readout = find_readout(model)
    name = hashlib.sha256(f"{key} {model_fingerprint(backbone(model))} {readout}".encode()).hexdigest()
    compute = partial(_compute, model, features, readout=readout, pad_id=pad_id, batch_size=batch_size)
    vectors = np.load(kept_file(name, compute), mmap_mode="r", allow_pickle=False)
    dataset = features.dataset
    labels = torch.tensor(dataset["labels"][:]) if "labels" in dataset.column_names else None
    return StoredFeatures(vectors, labels, placeholder_ids(model, 1))


def kept_file(name: str, compute: Callable[[Path], None]) -> Path:
    """The npy file that `compute` writes, now or in an earlier run; of several processes one does.

    name: a digest of all that its content depends on. Raises: DataError where the cache cannot be written.
    """
    folder = cache_dir() / "backbone"
    with one_at_a_time(name), cache.disk_errors(folder):
        path = _find(folder, name)
        if path is None:
            folder.mkdir(parents=True, exist_ok=True)
            staging = folder / f".{name}.{os.getpid()}.partial"
            try:
                compute(staging)
                path = folder / f"{name}-{cache.file_digest(staging)}.npy"
                os.replace(staging, path)
            finally:
                staging.unlink(missing_ok=True)
    return path


def _find(folder: Path, name: str) -> Path | None:
    """The undamaged file of that name, whose digest its own name tells; a damaged one is removed."""
    for path in folder.glob(f"{name}-*.npy"):
        if path.stem.rpartition("-")[2] == cache.file_digest(path):
            return path
        path.unlink(missing_ok=True)
    return None


def _compute(
    model: PreTrainedModel, features: Features, path: Path, *, readout: Any, pad_id: int, batch_size: int
) -> None:
    from tqdm.auto import tqdm

    device = next(model.parameters()).device
    lengths: Sequence[int] = features.dataset["length"][:]
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    inputs = features.dataset.select_columns(
        [c for c in features.dataset.column_names if c in ("input_ids", "token_type_ids")]
    )
    hidden = model.config.get_text_config().hidden_size
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(order), hidden))
    training = model.training
    model.train(False)
    captured: list[Any] = []
    hook = backbone(model).register_forward_hook(lambda module, args, output: captured.append(output))
    try:
        starts = range(0, len(order), batch_size)
        for start in tqdm(starts, desc="running the backbone once", delay=2, leave=False, disable=None):
            indices = order[start : start + batch_size]
            batch = {k: v.to(device) for k, v in pad_batch(inputs.__getitems__(indices), pad_id).items()}
            with torch.inference_mode():
                captured.clear()
                logits = model(**batch).logits
                read = read_features(captured[0], readout, batch["attention_mask"])
            if start == 0:
                _check(model, read, logits)
            vectors[indices] = read.float().cpu().numpy()
        vectors.flush()
    finally:
        hook.remove()
        model.train(training)


def _check(model: PreTrainedModel, read: torch.Tensor, logits: torch.Tensor) -> None:
    with torch.inference_mode(), stored_backbone(model):
        ours = model(features=read, input_ids=placeholder_ids(model, len(read)).to(read.device)).logits
    difference = float((ours - logits).abs().max())
    if difference > TOLERANCE:
        raise UnsupportedError(
            f"{type(model).__name__}: its head on stored features is off by {difference:.1e}, so its backbone cannot "
            "be run once; use strategy=full or strategy=bitfit"
        )
