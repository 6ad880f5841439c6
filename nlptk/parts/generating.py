"""The base of the tasks that write text: features of prompts and targets, the loss on the targets, and generation.

Encoder-decoders (T5, BART, ...) read the source and write the target. Decoders (GPT, Llama, ...) go on from a
prompt; their prompt and target stand in one sequence, and the loss counts the target alone. In both forms `labels[i]`
is the token that position i of the decoder is to predict, -100 where nothing is asked; what the decoder reads are token
ids throughout.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from nlptk.batches import IGNORED, pad
from nlptk.checkpoints import WARM_START, model_limit
from nlptk.errors import RecipeError, UnsupportedError
from nlptk.parts.generation_settings import DECODING, GenerationOptions, set_generation, tell_pipelines
from nlptk.parts.prompts import Prompt, continuation_ids, end_token, prompt_ids, target_frame, target_ids
from nlptk.parts.windows import special_tokens
from nlptk.task import Features, Inferred, LongText, Prediction, Preprocessing, Section, Task, TaskOptions

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from nlptk.parts.prompts import PromptIds

DECODER = "decoder"
LONGEST_SHOWN = 400  # characters of a text in the report


class TextToText(Task):
    """A task whose answer is a text. A subclass says `prompts`, `targets` and `score`."""

    Options: ClassVar[type[TaskOptions]] = GenerationOptions
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "decoder_input_ids", "labels")
    long_texts: ClassVar[tuple[LongText, ...]] = ("truncate_tail", "truncate_head_tail")
    changeable: ClassVar[frozenset[str]] = DECODING
    quality: ClassVar[str]
    """The metric that model selection uses where `generate_in_training` is on."""
    answer: ClassVar[str] = "text"
    """Key of the written text in a prediction."""
    warm_start: ClassVar[bool] = False
    """Whether an encoder alone (BERT) may become an encoder-decoder."""

    @property
    def settings(self) -> GenerationOptions:
        assert isinstance(self.options, GenerationOptions)
        return self.options

    @property
    def is_decoder(self) -> bool:
        """Whether the model goes on from a prompt; else it is an encoder-decoder. Known once a checkpoint is loaded."""
        assert self.settings.form is not None, "no checkpoint is loaded"
        return self.settings.form == DECODER

    @abstractmethod
    def prompts(self, rows: Mapping[str, list[Any]]) -> list[Prompt]:
        """What the model reads, one a row."""

    def targets(self, rows: Mapping[str, list[Any]]) -> list[str] | None:
        """What it is to write, one a row; None at prediction. Default: the role `target`."""
        return rows.get("target")

    def primary(self) -> str:
        return self.quality if self.settings.generate_in_training else "loss"

    def measured_in_training(self) -> bool:
        return self.settings.generate_in_training

    def auto_class(self, config: PreTrainedConfig) -> str:
        from transformers import MODEL_FOR_MASKED_LM_MAPPING

        if config.is_encoder_decoder:
            return "AutoModelForSeq2SeqLM"
        if type(config) not in MODEL_FOR_MASKED_LM_MAPPING or getattr(config, "is_decoder", False):
            return "AutoModelForCausalLM"
        if self.warm_start:
            return WARM_START
        raise UnsupportedError(
            f"task {self.name}: {config.model_type} is an encoder alone, which reads text but cannot write any; give a "
            "decoder (GPT, Llama) or an encoder-decoder (T5, BART)"
        )

    def prepare_model(self, model: PreTrainedModel) -> None:
        """Write the generation settings into the model, so that its own `generate()` does what nlptk does.

        Raises: UnsupportedError for a tokenizer without an end, or a decoder too short for `max_new_tokens`.
        """
        config, settings = model.config, model.generation_config
        assert settings is not None
        self._set_languages(model)
        start = config.decoder_start_token_id if config.is_encoder_decoder else None
        form = DECODER if start is None else f"encoder-decoder from {start}"
        # in the options, which are part of the features' cache key: features of one form must not meet another
        self.options = self.settings.model_copy(update={"form": form})
        end = end_token(self.tokenizer)
        if end not in _as_list(settings.eos_token_id):
            settings.eos_token_id = end
        settings.pad_token_id = self.tokenizer.pad_token_id
        if start is not None:
            settings.decoder_start_token_id = start
        set_generation(settings, self.settings)
        try:
            settings.validate(strict=True)
        except ValueError as error:
            raise UnsupportedError(
                f"model: its generation_config.json holds what does not go together: {' '.join(str(error).split())}; "
                "mend it there, or set the task's own options"
            ) from error
        if start is None:
            self.tokenizer.padding_side = "left"  # as whoever writes with it in batches needs it
            return
        tell_pipelines(model, "text2text-generation", {})
        if config.model_type == "led":
            model.get_encoder().register_forward_pre_hook(_attend_globally, with_kwargs=True)
        limit = getattr(config, "max_decoder_position_embeddings", model_limit(model))  # of LED
        if limit is not None and self.settings.max_new_tokens >= limit:
            raise UnsupportedError(
                f"task.max_new_tokens: {self.settings.max_new_tokens} does not fit the {limit} positions of the "
                f"decoder; give at most {limit - 1}"
            )

    def languages(self) -> dict[str, str | None]:
        """Option -> code of the languages that are read, first, and written, last."""
        return {"language": self.settings.language}

    def _set_languages(self, model: PreTrainedModel) -> None:
        """Tell a tokenizer of many languages (mBART, NLLB) what it reads and writes, and the model how a target begins.

        Raises: RecipeError for a language that it has not, or for one given where there are none to choose from.
        """
        tokenizer: Any = self.tokenizer
        if not hasattr(tokenizer, "tgt_lang"):
            if self.settings.language is not None:
                raise RecipeError("task.language: without effect on a checkpoint that has no codes for languages")
            return
        given = self.languages()
        for option, code in given.items():
            if code is None or tokenizer.convert_tokens_to_ids(code) in (None, tokenizer.unk_token_id):
                known = [token for token in tokenizer.all_special_tokens if "_" in token]
                raise RecipeError(
                    f"task.{option}: {code!r}; the checkpoint's tokenizer has many languages, expected one of "
                    f"{', '.join(known) or 'its language codes'}"
                )
        codes = list(given.values())
        tokenizer.src_lang, tokenizer.tgt_lang = codes[0], codes[-1]
        before, after = target_frame(tokenizer)
        code_id = tokenizer.convert_tokens_to_ids(tokenizer.tgt_lang)
        assert model.generation_config is not None
        model.config.decoder_start_token_id = after[-1]  # as these models are trained: the last token stands first too
        model.generation_config.forced_bos_token_id = code_id if code_id in before else None

    def room(self, preprocessing: Preprocessing) -> int:
        """Tokens a prompt may have: a decoder's leaves place for `max_new_tokens`. Raises: UnsupportedError."""
        room = preprocessing.max_length - (self.settings.max_new_tokens if self.is_decoder else 0)
        if room < 1:
            raise UnsupportedError(
                f"task.max_new_tokens: {self.settings.max_new_tokens} leaves no room for the prompt in "
                f"preprocessing.max_length {preprocessing.max_length}; lower the one or raise the other"
            )
        return room

    def refuse_idle(self) -> None:
        """Refuse the option that the checkpoint's form does not read. Raises: RecipeError."""
        idle, read, form = (
            ("prefix", "prompt", "decoder") if self.is_decoder else ("prompt", "prefix", "encoder-decoder")
        )
        usual = type(self.settings).model_fields[idle].default
        if getattr(self.settings, idle) != usual:
            raise RecipeError(
                f"task.{idle}: without effect on a checkpoint that is a{'n' * (form[0] == 'e')} {form}; "
                f"give task.{read}, or leave it out"
            )

    def settle_prefix(self, model: PreTrainedModel, key: str, usual: str) -> None:
        """What stands before every source of an encoder-decoder: the option, else what the checkpoint says under `key`
        of its task_specific_params, else `usual`. It is written there for transformers' pipelines."""
        known = getattr(model.config, "task_specific_params", None) or {}
        given: str | None = getattr(self.settings, "prefix", None)
        prefix = (known.get(key) or {}).get("prefix", usual) if given is None else given
        self.options = self.settings.model_copy(update={"prefix": prefix})
        tell_pipelines(model, key, {"prefix": prefix})

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """One feature a row; `prompt_length` says how many of its tokens the prompt has.

        The ledger counts the tokens of the prompts and, apart from them, those of the targets. A decoder's prompt
        leaves room for `max_new_tokens`, in training as at prediction; its target never takes more.
        """
        prompts, targets, room = self.prompts(rows), self.targets(rows), self.room(preprocessing)
        whole = prompt_ids(tokenizer, prompts, room, open_end=self.is_decoder)
        read = [self.cut(ids, room, preprocessing) or [_opening(tokenizer)] for ids in whole]
        features: dict[str, list[Any]] = {
            "input_ids": read,
            "row": list(range(len(read))),
            "length": [len(ids) for ids in read],
            "prompt_length": [len(ids) for ids in read],
            "tokens": [ids.tokens for ids in whole],
            "lost": [max(0, len(ids.ids) - room) for ids in whole],
        }
        if targets is None:
            return features
        limit = self.settings.max_new_tokens
        if self.is_decoder:
            written = continuation_ids(tokenizer, prompts, targets, limit)
            pairs = [(prompt, target.ids) for prompt, target in zip(read, written, strict=True)]
            features["input_ids"] = [(prompt + target)[:-1] for prompt, target in pairs]
            features["labels"] = [[IGNORED] * (len(prompt) - 1) + target for prompt, target in pairs]
            features["length"] = [len(ids) for ids in features["input_ids"]]
        else:
            start = int(str(self.settings.form).rpartition(" ")[2])
            written = target_ids(tokenizer, targets, limit, start=start)
            features["labels"] = [target.ids for target in written]
            features["decoder_input_ids"] = [[start, *target.ids[:-1]] for target in written]
        features["target_tokens"] = [target.tokens for target in written]
        features["target_tokens_lost"] = [target.lost for target in written]
        return features

    def cut(self, ids: PromptIds, room: int, preprocessing: Preprocessing) -> list[int]:
        """A prompt in at most `room` tokens."""
        return ids.cut(room, head_tail=preprocessing.long_text == "truncate_head_tail")

    def loss(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        """Token cross entropy, summed. labels: (rows, tokens)."""
        from torch.nn import functional

        return functional.cross_entropy(
            outputs.logits.flatten(0, 1).float(),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.settings.label_smoothing,
            reduction="sum",
        )

    def loss_items(self, labels: torch.Tensor) -> int:
        return int((labels != IGNORED).sum())  # 0 where a prompt leaves no room for its target

    def infer(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> Inferred:
        """What the model writes after each prompt, as token ids, and the loss of the targets where they are known."""
        labels = batch.get("labels")
        loss = None if labels is None else self.loss(self.forward(model, batch), labels)
        return Inferred(self.written(model, batch), loss)

    def written(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        """Token ids of the text for each row of a batch."""
        return self.generate(model, self.prompts_of(batch))

    def prompts_of(self, batch: Mapping[str, torch.Tensor]) -> list[list[int]]:
        """The prompts of a batch, without padding and targets."""
        lengths = batch["attention_mask"].sum(dim=1)
        if self.is_decoder and "labels" in batch:
            lengths = (batch["labels"] != IGNORED).int().argmax(dim=1) + 1
        rows = batch["input_ids"].tolist()
        return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]

    def generate(self, model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Token ids that the model writes after each prompt, up to its end. What stands beside a prompt in the batch
        changes nothing, unless `do_sample`. model: as it is, or wrapped by accelerate or PEFT."""
        import torch
        from accelerate.utils import extract_model_from_parallel

        plain: Any = extract_model_from_parallel(model)
        device = next(plain.parameters()).device
        ids = pad(prompts, self.tokenizer.pad_token_id, left=self.is_decoder)
        mask = pad([[1] * len(prompt) for prompt in prompts], 0, left=self.is_decoder)
        read = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        with torch.no_grad():
            written = plain.generate(**read, tokenizer=self.tokenizer)  # which looks for the ends that are strings
        start = ids.shape[1] if self.is_decoder else 1
        ends = _as_list(plain.generation_config.eos_token_id)
        return [_until(row, ends) for row in written[:, start:].cpu().numpy()]

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        """The written text of each row."""
        return [self.text(ids) for ids in outputs]

    def text(self, ids: np.ndarray) -> str:
        """Token ids -> text, without special tokens and white space around it."""
        text: Any = self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return str(text).strip()

    def has_marks(self) -> bool:
        """Whether special tokens stand in what the user puts around the texts."""
        template = str(getattr(self.settings, "prompt" if self.is_decoder else "prefix", None) or "")
        return any(name in template for name in special_tokens(self.tokenizer).values())

    def save_extra(self, folder: Path, model: PreTrainedModel, preprocessing: Preprocessing) -> None:
        """Let transformers find the special tokens of a template, which is text when it tokenizes."""
        path = folder / "tokenizer_config.json"
        if path.is_file() and self.has_marks():
            state = json.loads(path.read_text(encoding="utf-8"))
            state["split_special_tokens"] = False
            path.write_text(json.dumps(state, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """The text under `answer`; `truncated`, where the prompt lost tokens."""
        lost = features.dataset["lost"]
        return [{self.answer: text, "truncated": n > 0} for text, n in zip(pooled, lost, strict=True)]


def text_warnings(texts: Sequence[str], references: Sequence[Any]) -> list[str]:
    """What figures alone may hide: texts that are all the same although their references differ, and empty ones."""
    found = []
    if len(set(texts)) == 1 and any(reference != references[0] for reference in references):
        found.append(f"writes the same for every row ({texts[0][:60]!r}): no better than a fixed text")
    elif empty := sum(not text for text in texts):
        found.append(f"writes nothing for {empty} of {len(texts)} rows")
    return found


def text_examples(title: str, columns: Mapping[str, Sequence[Any]], rows: Dataset, chosen: Sequence[int]) -> Section:
    """A report's section of chosen rows, with where they come from. columns: name -> one value a row."""
    from nlptk.report import sections

    def shown(value: Any) -> Any:
        return value[:LONGEST_SHOWN] if isinstance(value, str) else value

    found = []
    for index in chosen:
        row = rows[index]
        values = {name: shown(column[index]) for name, column in columns.items()}
        found.append({**values, "row": f"{row['source_file']}, row {row['source_row']}"})
    return sections.examples(title, found)


def _attend_globally(encoder: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Before LED's encoder, whose attention is local: its first token attends to all, as the paper has it (Beltagy et
    al. 2020, arXiv:2004.05150, section 7)."""
    import torch

    if kwargs.get("global_attention_mask") is not None or kwargs.get("input_ids") is None:
        return None
    mask = torch.zeros_like(kwargs["input_ids"])
    mask[:, 0] = 1
    return args, {**kwargs, "global_attention_mask": mask}


def _opening(tokenizer: PreTrainedTokenizerBase) -> int:
    """What a decoder goes on from where the prompt has no token."""
    return int(tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end_token(tokenizer))


def _as_list(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _until(ids: np.ndarray, ends: Sequence[int]) -> np.ndarray:
    """What comes before the first of `ends`."""
    import numpy as np

    found = np.isin(ids, ends).nonzero()[0]
    return ids[: found[0]] if len(found) else ids
