"""Where a pretraining run starts: a model from scratch with a tokenizer of its own, or a checkpoint to go on with."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import tokenizers
import torch
import transformers
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from nlptk.checkpoints import load_config, model_limit, quiet, readable, refuse_pickle
from nlptk.data.cache import key_of
from nlptk.errors import UnsupportedError
from nlptk.named_checkpoints import resolve_checkpoint
from nlptk.text.documents import Corpus, is_held_out
from nlptk.text.objectives import auto_class_of
from nlptk.text.recipe import NATIVE_KIND, Family, PretrainRecipe, TokenizerSettings
from nlptk.text.sizes import make_config
from nlptk.text.token_store import cached
from nlptk.text.tokenizer_training import SENTENCEPIECE_FILE, train_tokenizer
from nlptk.training.dropout import FIELDS, override_dropout

_AUTO_CLASSES: dict[Family, str] = {
    "bert": "AutoModelForMaskedLM",
    "modernbert": "AutoModelForMaskedLM",
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
    "t5": "AutoModelForSeq2SeqLM",
}


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer and the folder it was read from; how: a line for the model card."""

    tokenizer: PreTrainedTokenizerBase
    folder: Path
    how: str

    def save(self, folder: Path) -> None:
        """The tokenizer's files, a SentencePiece model among them where there was one."""
        self.tokenizer.save_pretrained(folder)
        sentencepiece = self.folder / SENTENCEPIECE_FILE
        if sentencepiece.is_file():
            shutil.copyfile(sentencepiece, folder / SENTENCEPIECE_FILE)


@dataclass(frozen=True)
class Origin:
    """name: for people; model: in float32, with the recipe's dropout; config: what is saved, with the family's own;
    new: parameters that the checkpoint did not have."""

    name: str
    auto_class: str
    vocabulary: Vocabulary
    model: PreTrainedModel
    config: PretrainedConfig
    new: list[str] = field(default_factory=list)


def begin(recipe: PretrainRecipe, corpus: Corpus) -> Origin:
    """The model and tokenizer that a run starts from. Raises: NlptkError for what cannot be made or loaded."""
    origin = _from_scratch(recipe, corpus) if recipe.model.checkpoint is None else _from_checkpoint(recipe)
    limit = model_limit(origin.model)
    if limit is not None and recipe.block_length > limit:
        raise UnsupportedError(
            f"block_length: {recipe.block_length} is more than the {limit} positions of the model; give at most that"
        )
    return origin


def _from_scratch(recipe: PretrainRecipe, corpus: Corpus) -> Origin:
    settings, size = recipe.model, recipe.model.size or "tiny"
    assert settings.family is not None
    vocabulary = _vocabulary(recipe.tokenizer, corpus, recipe.data.held_out_share, settings.family)
    tokenizer = vocabulary.tokenizer
    config = make_config(settings.family, size, tokenizer, positions=recipe.block_length, fields=dict(settings.config))
    limit = getattr(config, "max_position_embeddings", None)
    if isinstance(limit, int):
        tokenizer.model_max_length = limit
    auto_class = _AUTO_CLASSES[settings.family]
    set_seed(recipe.seed)
    with quiet():
        model = getattr(transformers, auto_class).from_config(_with_dropout(config, settings.dropout))
    return Origin(recipe.card.name or f"{size}-{settings.family}", auto_class, vocabulary, model, config)


def _from_checkpoint(recipe: PretrainRecipe) -> Origin:
    assert recipe.model.checkpoint is not None
    place = resolve_checkpoint(recipe.model.checkpoint)
    config = load_config(place)
    auto_class = auto_class_of(config)
    refuse_pickle(place)
    set_seed(recipe.seed)
    with readable(place), quiet():
        tokenizer = AutoTokenizer.from_pretrained(place)
        model, info = getattr(transformers, auto_class).from_pretrained(
            place,
            config=_with_dropout(config, recipe.model.dropout),
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UnsupportedError(f"model.checkpoint: {place}: its tokenizer has no fast form (tokenizer.json)")
    vocabulary = Vocabulary(tokenizer, Path(place), f"the checkpoint's own, {len(tokenizer):,} tokens")
    name = recipe.card.name or Path(recipe.model.checkpoint).name
    return Origin(name, auto_class, vocabulary, model, config, sorted(map(str, info["missing_keys"])))


def _with_dropout(config: PretrainedConfig, rate: float) -> PretrainedConfig:
    """A copy of the configuration with that dropout."""
    changed = copy.deepcopy(config)
    known = config.to_dict()
    kinds = {kind: rate for kind in ("hidden", "attention") if any(name in known for name in chain(*FIELDS[kind]))}
    override_dropout(changed, **kinds)
    return changed


def _vocabulary(settings: TokenizerSettings, corpus: Corpus, share: float, family: Family) -> Vocabulary:
    """The tokenizer of the recipe: read from its folder, or trained on the training part and kept in the cache."""
    if settings.path is not None:
        place = resolve_checkpoint(settings.path)
        with readable(place):
            tokenizer = AutoTokenizer.from_pretrained(place)
        return Vocabulary(tokenizer, Path(place), f"taken from {Path(place).name}")
    options = settings.model_dump(exclude={"path"})
    key = key_of("tokenizer", corpus.key(), share, family, options, tokenizers.__version__)

    def texts() -> Iterator[str]:
        return (text for text in corpus.documents() if not is_held_out(text, share))

    def write(staging: Path) -> None:
        train_tokenizer(texts, family=family, **options).save(staging)

    folder = cached(key, write)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind = settings.kind or NATIVE_KIND[family]
    return Vocabulary(tokenizer, folder, f"{kind}, {len(tokenizer):,} tokens, trained on the same text")
