"""The finished model's folder: plain transformers files, a model card, and nlptk's manifest; written whole or not."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from nlptk import artifact
from nlptk.checkpoints import quiet
from nlptk.environment import versions
from nlptk.task import Preprocessing
from nlptk.text.origin import Origin
from nlptk.text.recipe import PretrainRecipe

TASK = "pretraining"


def save_pretrained(
    folder: Path, recipe: PretrainRecipe, origin: Origin, *, card: str, data: dict[str, Any], metrics: dict[str, Any]
) -> None:
    """Write config, weights, tokenizer, generation settings and README.md. Raises: ArtifactError."""
    manifest = artifact.Manifest(
        task={"name": TASK, "options": recipe.objective.model_dump()},
        preprocessing=Preprocessing(recipe.block_length),
        recipe=recipe.model_dump(mode="json"),
        data=data,
        metrics=metrics,
        versions=versions(),
    )

    def write(staging: Path) -> None:
        _write_model(staging, origin, half=recipe.save_dtype == "float16")
        origin.vocabulary.save(staging)
        (staging / "README.md").write_text(card, encoding="utf-8")

    artifact.save(folder, manifest, write)


def round_weights(model: torch.nn.Module) -> None:
    """Make the weights, in place, what they will be after a save in half precision."""
    model.half().float()


def _write_model(folder: Path, origin: Origin, *, half: bool) -> None:
    model: Any = copy.deepcopy(origin.model)
    model = model.to("cpu", torch.float16 if half else torch.float32)
    model.config = copy.deepcopy(origin.config)  # without what training set in the model's: dropout, use_cache
    if origin.auto_class != "AutoModelForMaskedLM":
        model.generation_config = _generation(model, origin.vocabulary.tokenizer)
    with quiet():
        model.save_pretrained(folder)
    if half:  # transformers loads weights in the type that config.json names: half is how they are stored, not used
        path = folder / "config.json"
        config = {**json.loads(path.read_text(encoding="utf-8")), "dtype": "float32"}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _generation(model: Any, tokenizer: Any) -> GenerationConfig:
    """The checkpoint's settings, or those of a new model, with what they leave open of special tokens; of settings that
    do not go together, which transformers would not write, the special tokens alone."""
    config = model.config
    settings: GenerationConfig = copy.deepcopy(model.generation_config)
    settings._from_model_config = False
    try:
        settings.validate(strict=True)
    except ValueError:
        settings = GenerationConfig(eos_token_id=settings.eos_token_id)  # type: ignore[no-untyped-call]
    ids: Mapping[str, int | None] = {
        "bos_token_id": None if config.is_encoder_decoder else tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        "decoder_start_token_id": getattr(config, "decoder_start_token_id", None),
    }
    for key, value in ids.items():
        if getattr(settings, key) is None:
            setattr(settings, key, value)
    return settings
