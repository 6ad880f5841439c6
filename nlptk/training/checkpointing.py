"""Checkpoints that are whole or absent, without pickle, and refused when damaged.

A checkpoint is written beside its place and renamed into it when every file is on the disk. Optimizer, scheduler and
random states are safetensors and JSON; `checkpoint.json` holds a sha256 of every file and is verified before a resume.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from nlptk.artifact import checksums, flush
from nlptk.errors import ArtifactError, RecipeError

SEAL, IDENTITY = "checkpoint.json", "run.json"
_FOLLOWING = ("model", "training.learning_rate", "training.weight_decay", "training.train_sampling_strategy")
"""Of a run's identity: what other settings may have changed, such as the strategy the default rate."""
OPTIMIZER, SCHEDULER, RANDOM = "optimizer", "scheduler", "random"


@contextmanager
def checkpoint_errors(staging: Path) -> Iterator[None]:
    """Turn a failed write into one message, and leave nothing of the checkpoint behind. Raises: ArtifactError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        whole = any(staging.parent.glob("checkpoint-*"))
        on = "; training.resume_from_checkpoint=true then goes on from the last checkpoint, which is whole" * whole
        raise ArtifactError(
            f"{staging.parent}: a checkpoint could not be written: {reason}; free some space or set output to another "
            f"folder{on}"
        ) from error


def save_state(folder: Path, name: str, state: Mapping[str, Any]) -> None:
    """A nested state of tensors and plain values as `name.safetensors` and `name.json`."""
    tensors: dict[str, torch.Tensor] = {}
    plain = _split(dict(state), tensors)
    save_file(tensors, str(folder / f"{name}.safetensors"))
    (folder / f"{name}.json").write_text(json.dumps(plain), encoding="utf-8")


def load_state(folder: Path, name: str) -> dict[str, Any]:
    """What `save_state` wrote, tensors on the CPU."""
    tensors = load_file(str(folder / f"{name}.safetensors"))
    state: dict[str, Any] = _join(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")), tensors)
    return state


def _split(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Plain JSON in which a tensor stands as its number, and a mapping as its items, so that integer keys survive."""
    if isinstance(value, torch.Tensor):
        key = str(len(tensors))
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {"tensor": key}
    if isinstance(value, Mapping):
        return {"items": [[key, _split(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [_split(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a training state holds a {type(value).__name__}, which has no safe form on disk")


def _join(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "items":
        return {key: _join(item, tensors) for key, item in inner}
    items = [_join(item, tensors) for item in inner]
    return tuple(items) if kind == "tuple" else items


def random_state() -> dict[str, Any]:
    """States of Python's, numpy's and torch's generators (every GPU's)."""
    numpy_name, numpy_keys, *numpy_rest = np.random.get_state()  # the state libraries draw from
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [str(numpy_name), torch.from_numpy(np.asarray(numpy_keys).astype(np.int64)), *numpy_rest],
        "torch": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.random.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set every generator to what `random_state` found."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.random.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.random.set_rng_state_all(state["cuda"])


def seal(staging: Path, place: Path) -> None:
    """Give a finished staging folder its checksums and its place; what stood there is replaced."""
    found = checksums(staging)
    (staging / SEAL).write_text(json.dumps({"format": 1, "files": found}, indent=2), encoding="utf-8")
    flush(staging)
    if place.exists():
        shutil.rmtree(place)
    staging.rename(place)


def verify(checkpoint: Path) -> None:
    """Raises: ArtifactError for a checkpoint that is missing, incomplete or altered."""
    cure = "resume from another checkpoint, or start again without training.resume_from_checkpoint"
    if not (checkpoint / SEAL).is_file():
        raise ArtifactError(f"{checkpoint}: no {SEAL}, so it is not a whole checkpoint of nlptk; {cure}")
    expected = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))["files"]
    found = {name: digest for name, digest in checksums(checkpoint).items() if name != SEAL}
    for name in sorted(set(expected) | set(found)):
        if expected.get(name) != found.get(name):
            came = "missing" if name not in found else "not listed" if name not in expected else "altered or damaged"
            raise ArtifactError(f"{checkpoint / name}: {came}; {cure}")


def last_checkpoint(args: TrainingArguments, where: str, identity: Mapping[str, Any] | None = None) -> str | None:
    """The checkpoint to resume from; `true` is the last one of the output folder, `auto` the same if there is one.

    identity: what must be as it was when the checkpoint was written. Raises: RecipeError.
    """
    found = _checkpoint(args, where)
    if found is not None and identity is not None and (Path(found) / IDENTITY).is_file():
        before = json.loads((Path(found) / IDENTITY).read_text(encoding="utf-8"))
        other = [key for key, value in identity.items() if before.get(key, value) != json.loads(json.dumps(value))]
        if other:
            shown = [key for key in other if key not in _FOLLOWING] or other
            raise RecipeError(
                f"{where}: training.resume_from_checkpoint: {found} was trained with other {', '.join(shown)}; give "
                "another output, or set it to false to begin anew"
            )
    return found


def _checkpoint(args: TrainingArguments, where: str) -> str | None:
    given: Any = args.resume_from_checkpoint
    if given is not True and given != "auto":
        return str(given) if given else None
    output = str(args.output_dir)
    last: str | None = get_last_checkpoint(output) if Path(output).is_dir() else None  # type: ignore[no-untyped-call]
    if last is None and given is True:
        raise RecipeError(
            f"{where}: training.resume_from_checkpoint: no checkpoint in {output}; set it to auto, or leave it out"
        )
    return last
