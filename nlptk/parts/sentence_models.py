"""The files by which a model's folder is a sentence-transformers model: written, and read in a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptk.errors import UnsupportedError
from nlptk.parts.embeddings import Pooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODES: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
"""sentence-transformers' name of a pooling -> ours."""
KEYS = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "last": "pooling_mode_lasttoken"}
"""Our name of a pooling -> its key, which versions 2 to 6 read."""
MODULES = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
"""Module -> folder."""


def write_sentence_model(folder: Path, *, pooling: Pooling, dim: int, max_length: int) -> None:
    """Make a transformers folder a sentence-transformers model with embeddings of the length 1."""
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(MODULES.items())
    ]
    files: dict[str, Any] = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {"similarity_fn_name": "cosine"},
        "1_Pooling/config.json": {
            "word_embedding_dimension": dim,
            **{key: name == pooling for name, key in KEYS.items()},
        },
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def checkpoint_pooling(model: PreTrainedModel) -> Pooling | None:
    """The pooling of the sentence-transformers model that a model was loaded from, or None where it is none.

    Raises: UnsupportedError where it is more than the mean, the first or the last of its tokens.
    """
    modules = _read(model, "modules.json")
    if modules is None:
        return None
    folders = {module["type"].rpartition(".")[2]: module["path"] for module in modules}
    more = sorted(set(folders) - set(MODULES))
    said = _read(model, f"{folders['Pooling']}/config.json") if "Pooling" in folders else None
    modes = _modes(said or {})
    if more or len(modes) != 1 or modes[0] not in MODES:
        has = ", ".join([*more, f"pooling {' and '.join(modes) or 'unknown'}"])
        raise UnsupportedError(
            f"model: {model.name_or_path}: a sentence-transformers model with {has}; nlptk has pooling by "
            f"{', '.join(MODES)} and nothing above it; set task.pooling to train from its transformer alone"
        )
    return MODES[modes[0]]


def _modes(said: dict[str, Any]) -> list[str]:
    """The poolings of a configuration: by one key since version 6, before it by a key for each."""
    given = said.get("pooling_mode")
    if given is not None:
        return [given] if isinstance(given, str) else list(given)
    names = {KEYS[ours]: mode for mode, ours in MODES.items()}
    return [names.get(key, key) for key, on in said.items() if key.startswith("pooling_mode_") and on is True]


def _read(model: PreTrainedModel, name: str) -> Any:
    """A JSON file beside a model's weights, or None."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        str(model.name_or_path),
        name,
        revision=getattr(model.config, "_commit_hash", None),
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
