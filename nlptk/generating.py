"""The base of the tasks that write text: prompts and targets as tokens, the loss on the targets, and generation.

Encoder-decoders (T5, BART, Marian, ...) read the source and write the target. Decoders (GPT, Llama, ...) go on from a
prompt; their prompt and target stand in one sequence, and the loss counts the target alone. In both forms `labels[i]`
is the token that position i of the decoder is to predict, -100 where nothing is asked; what the decoder reads are token
ids throughout.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from nlptk.batches import IGNORED, pad
from nlptk.errors import UnsupportedError
from nlptk.task import Features, Inferred, Prediction, Preprocessing, Task, TaskOptions
from nlptk.windows import window_rows

if TYPE_CHECKING:
    import numpy as np
    import torch
    from tokenizers import Encoding
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DECODER = "decoder"
WHOLE = 1 << 30  # a max_length that cuts nothing
SAMPLING = ("temperature", "top_k", "top_p")
BEAM_SEARCH = ("length_penalty", "early_stopping")
OWN_NAMES = ("min_new_tokens", "num_beams", *SAMPLING, "repetition_penalty", "no_repeat_ngram_size", *BEAM_SEARCH)
"""Options that are generation settings of transformers by the same name; None leaves what the checkpoint says."""


class GenerationOptions(TaskOptions):
    """Settings of every task that writes text."""

    max_new_tokens: int = Field(64, ge=1, description="Tokens of the longest text to write; longer targets are cut")
    min_new_tokens: int | None = Field(None, ge=0, description="Tokens of the shortest text to write")
    num_beams: int | None = Field(None, ge=1, description="Beams of the search; default: the checkpoint's, or 1")
    do_sample: bool = Field(False, description="Draw tokens at random instead of taking the likeliest")
    temperature: float | None = Field(None, gt=0, description="Of the distribution drawn from; needs do_sample")
    top_k: int | None = Field(None, ge=0, description="Draw among the k likeliest tokens, 0: all; needs do_sample")
    top_p: float | None = Field(None, gt=0, le=1, description="Draw among tokens of this mass; needs do_sample")
    repetition_penalty: float | None = Field(None, gt=0, description="Above 1: tokens seen already become unlikelier")
    no_repeat_ngram_size: int | None = Field(None, ge=0, description="No n-gram of this size twice, 0: no such rule")
    length_penalty: float | None = Field(None, description="Above 0 favours long texts; needs num_beams over 1")
    early_stopping: bool | Literal["never"] | None = Field(None, description="When beams end; needs num_beams over 1")
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="Share of the target spread over all tokens")
    generate_in_training: bool = Field(
        False, description="Generate and score at every evaluation; otherwise these give the loss alone, which is quick"
    )
    form: str | None = Field(None, description="Form of the checkpoint; filled in when it is loaded")

    @field_validator(*SAMPLING)
    @classmethod
    def _only_of_drawing(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and not info.data.get("do_sample"):
            raise ValueError("without effect unless do_sample=true; set that too, or leave this out")
        return value

    @field_validator(*BEAM_SEARCH)
    @classmethod
    def _only_of_beams(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and (info.data.get("num_beams") or 1) == 1:
            raise ValueError("without effect unless num_beams is over 1; set that too, or leave this out")
        return value

    @field_validator("min_new_tokens")
    @classmethod
    def _not_above_the_most(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > info.data.get("max_new_tokens", value):
            raise ValueError(f"more than max_new_tokens {info.data['max_new_tokens']}")
        return value


@dataclass(frozen=True)
class Prompt:
    """What a model reads of one row. text: the part that is cut where the whole does not fit."""

    before: str
    text: str
    after: str = ""


@dataclass(frozen=True)
class Cut:
    """Token ids that fit. tokens: how many the text has, special tokens not counted; lost: those not in ids."""

    ids: list[int]
    tokens: int
    lost: int


class TextToText(Task):
    """A task whose answer is a text. A subclass says `prompts`, `targets` and `score`."""

    Options: ClassVar[type[TaskOptions]] = GenerationOptions
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "decoder_input_ids", "labels")
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
        """What it is to write, one a row; None at prediction. Default: the column `target`."""
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
            return "EncoderDecoderModel"
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
        end = end_token(self.tokenizer)
        ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        settings.eos_token_id = settings.eos_token_id if end in ends else end
        settings.pad_token_id = self.tokenizer.pad_token_id
        if config.is_encoder_decoder:
            settings.decoder_start_token_id = config.decoder_start_token_id
        _set_generation(settings, self.settings)
        form = f"encoder-decoder from {config.decoder_start_token_id}" if config.is_encoder_decoder else DECODER
        self.options = self.settings.model_copy(update={"form": form})
        limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
        if config.is_encoder_decoder and isinstance(limit, int) and self.settings.max_new_tokens >= limit:
            raise UnsupportedError(
                f"task.max_new_tokens: {self.settings.max_new_tokens} does not fit the {limit} positions of the "
                f"decoder; give at most {limit - 1}"
            )

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """One feature a row; `prompt_length` says how many of its tokens the prompt has.

        The ledger counts the prompt's tokens, and as `labels_lost` those of the target. A decoder's prompt leaves room
        for `max_new_tokens`, in training as at prediction; its target never takes more.
        """
        prompts, targets = self.prompts(rows), self.targets(rows)
        read = self._read(tokenizer, prompts, preprocessing)
        features: dict[str, list[Any]] = {
            "input_ids": [cut.ids for cut in read],
            "row": list(range(len(read))),
            "length": [len(cut.ids) for cut in read],
            "lost": [cut.lost for cut in read],
            "tokens": [cut.tokens for cut in read],
            "prompt_length": [len(cut.ids) for cut in read],
        }
        if targets is None:
            return features
        written = self._written(tokenizer, prompts, targets)
        features["labels_lost"] = [cut.lost for cut in written]
        if self.is_decoder:
            pairs = list(zip(read, written, strict=True))
            features["input_ids"] = [(prompt.ids + target.ids)[:-1] for prompt, target in pairs]
            features["labels"] = [[IGNORED] * (len(prompt.ids) - 1) + target.ids for prompt, target in pairs]
            features["length"] = [len(ids) for ids in features["input_ids"]]
        else:
            start = self._decoder_start()
            features["labels"] = [cut.ids for cut in written]
            features["decoder_input_ids"] = [[start, *cut.ids[:-1]] for cut in written]
        return features

    def _read(
        self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], preprocessing: Preprocessing
    ) -> list[Cut]:
        room = preprocessing.max_length - (self.settings.max_new_tokens if self.is_decoder else 0)
        if room < 1:
            raise UnsupportedError(
                f"task.max_new_tokens: {self.settings.max_new_tokens} leaves no room for the prompt in "
                f"preprocessing.max_length {preprocessing.max_length}; lower the one or raise the other"
            )
        head_tail = preprocessing.long_text == "truncate_head_tail"
        whole = [prompt.before + prompt.text + prompt.after for prompt in prompts]
        if self.is_decoder:  # a space before the target is the target's, as it is for the tokenizers of decoders
            whole = [text.rstrip(" ") for text in whole]
        encodings = encode(tokenizer, whole)
        pairs = zip(encodings, prompts, strict=True)
        cuts = [_cut_prompt(e, prompt, room, head_tail=head_tail, open_end=self.is_decoder) for e, prompt in pairs]
        empty = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end_token(tokenizer)
        return [cut if cut.ids else Cut([empty], cut.tokens, cut.lost) for cut in cuts]

    def _written(
        self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], targets: Sequence[str]
    ) -> list[Cut]:
        """Targets as the decoder writes them, the end included unless it was cut off."""
        limit, end = self.settings.max_new_tokens, end_token(tokenizer)
        if self.is_decoder:
            spaced = [" " * _ends_in_space(prompt) + text for prompt, text in zip(prompts, targets, strict=True)]
            return [_cut_target([], _plain(e), [end], limit) for e in encode(tokenizer, spaced)]
        start, named = self._decoder_start(), set(tokenizer.all_special_ids)
        cuts = []
        for encoding in encode(tokenizer, targets, as_target=True):
            before, after = _around(encoding)
            head = [token for token in before if token in named and token != start]
            cuts.append(_cut_target(head, _plain(encoding), after if end in after else [*after, end], limit))
        return cuts

    def _decoder_start(self) -> int:
        return int(str(self.settings.form).rpartition(" ")[2])

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
        return int((labels != IGNORED).sum())

    def infer(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> Inferred:
        """What the model writes after each prompt, as token ids, and the loss of the targets where they are known."""
        labels = batch.get("labels")
        loss = None if labels is None else self.loss(self.forward(model, batch), labels)
        return Inferred(self.generate(model, self.prompt_ids(batch)), loss)

    def prompt_ids(self, batch: Mapping[str, torch.Tensor]) -> list[list[int]]:
        """The prompts of a batch, without padding and targets."""
        lengths = batch["attention_mask"].sum(dim=1)
        if self.is_decoder and "labels" in batch:
            lengths = (batch["labels"] != IGNORED).int().argmax(dim=1) + 1
        rows = batch["input_ids"].tolist()
        return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]

    def generate(self, model: torch.nn.Module, prompts: Sequence[list[int]]) -> list[np.ndarray]:
        """Token ids that the model writes after each prompt of one batch, up to its end; what the prompts are padded
        with changes nothing. model: as it is, or wrapped by accelerate or PEFT."""
        import torch
        from accelerate.utils import extract_model_from_parallel

        plain = extract_model_from_parallel(model)
        device = next(plain.parameters()).device
        padding = self.tokenizer.pad_token_id
        ids = pad(prompts, padding, left=self.is_decoder)
        mask = pad([[1] * len(prompt) for prompt in prompts], 0, left=self.is_decoder)
        with torch.no_grad():
            written = plain.generate(input_ids=ids.to(device), attention_mask=mask.to(device))
        start = ids.shape[1] if self.is_decoder else 1
        ends = plain.generation_config.eos_token_id
        return [_until(row, ends if isinstance(ends, list) else [ends]) for row in written[:, start:].cpu().numpy()]

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        """The written text of each row."""
        return [self.text(ids) for ids in outputs]

    def text(self, ids: np.ndarray) -> str:
        """Token ids -> text, without special tokens and white space around it."""
        text: Any = self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return str(text).strip()

    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """The text under `answer`; `truncated`, where the prompt lost tokens."""
        lost = features.dataset["lost"]
        return [{self.answer: text, "truncated": n > 0} for text, n in zip(pooled, lost, strict=True)]


def _set_generation(settings: GenerationConfig, options: GenerationOptions) -> None:
    """Lengths and drawing are the task's; what it leaves open stays as the checkpoint has it."""
    settings.max_length = settings.min_length = settings.min_new_tokens = None
    settings.max_new_tokens, settings.do_sample = options.max_new_tokens, options.do_sample
    if not options.do_sample:
        for name in (*SAMPLING, "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"):
            setattr(settings, name, None)
    if options.num_beams == 1:
        for name in BEAM_SEARCH:
            setattr(settings, name, None)
    for name in OWN_NAMES:
        if (value := getattr(options, name)) is not None:
            setattr(settings, name, value)


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that ends a text: `</s>`, `<|endoftext|>`, or BERT's `[SEP]`. Raises: UnsupportedError."""
    found = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if found is None:
        raise UnsupportedError(
            f"tokenizer {tokenizer.name_or_path}: it has no token that ends a text, so generation would never stop; "
            "give it one: tokenizer.add_special_tokens({'eos_token': '</s>'}), and save it"
        )
    return int(found)


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, as_target: bool = False) -> list[Encoding]:
    """Whole texts with the tokenizer's special tokens around them, or with those of the target language.

    Special tokens that a text spells out are text: no row ends the writing early (see `nlptk.windows`).
    """
    if as_target and hasattr(tokenizer, "_switch_to_target_mode"):
        tokenizer._switch_to_target_mode()
    try:
        return [row.windows[0] for row in window_rows(tokenizer, texts, None, Preprocessing(WHOLE))]
    finally:
        if as_target and hasattr(tokenizer, "_switch_to_input_mode"):
            tokenizer._switch_to_input_mode()


def _plain(encoding: Encoding) -> list[int]:
    return [token for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not special]


def _around(encoding: Encoding) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    ids, mask = encoding.ids, encoding.special_tokens_mask
    first = next((i for i, special in enumerate(mask) if not special), len(ids))
    last = next((i for i in range(len(ids), first, -1) if not mask[i - 1]), first)
    return ids[:first], ids[last:]


def _ends_in_space(prompt: Prompt) -> bool:
    return (prompt.before + prompt.text + prompt.after).endswith(" ")


def _cut_target(before: list[int], plain: list[int], after: list[int], limit: int) -> Cut:
    """A target that is cut has no end: it would teach to stop in the middle."""
    if len(before) + len(plain) + len(after) <= limit:
        return Cut([*before, *plain, *after], len(plain), 0)
    kept = plain[: max(limit - len(before), 1)]
    return Cut([*before, *kept], len(plain), len(plain) - len(kept))


def _cut_prompt(encoding: Encoding, prompt: Prompt, room: int, *, head_tail: bool, open_end: bool) -> Cut:
    """A prompt in at most `room` tokens: its text gives way, from the end, or from the middle (head_tail).

    Where even the rest does not fit, that gives way too. open_end: without special tokens after the text.
    """
    ids, offsets = encoding.ids, encoding.offsets
    after = _around(encoding)[1] if open_end else []
    plain = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    surplus = len(ids) - len(after) - room
    if surplus <= 0:
        return Cut(ids[: len(ids) - len(after)], len(plain), 0)
    start, end = len(prompt.before), len(prompt.before) + len(prompt.text)
    inner = [i for i in plain if start <= offsets[i][0] and offsets[i][1] <= end]
    inner = inner if len(inner) > surplus else plain
    kept = len(inner) - surplus
    if kept < 1:
        raise UnsupportedError(
            f"preprocessing.max_length: room for {room} tokens of prompt, and {len(ids) - len(plain) - len(after)} of "
            "them are special ones; give a larger one"
        )
    head = max(1, kept // 4) if head_tail else kept
    dropped = set(inner[head : head + surplus])
    fitting = [token for i, token in enumerate(ids[: len(ids) - len(after)]) if i not in dropped]
    return Cut(fitting, len(plain), surplus)


def _until(ids: np.ndarray, ends: Sequence[int]) -> np.ndarray:
    """What comes before the first of `ends`."""
    import numpy as np

    found = np.isin(ids, ends).nonzero()[0]
    return ids[: found[0]] if len(found) else ids
