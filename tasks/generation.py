"""Generation: a causal language model (GPT, Llama) fine-tuned to go on from a prompt; T5 too, for prompts.

    nlptk train task=generation model=CHECKPOINT data=stories.txt output=runs/stories

Rows have one of three forms:

- `text`: plain text (a .txt file gives a row a line). Training reads blocks of `preprocessing.max_length` tokens in
  which the texts stand end to end, the end of text between them; nothing is lost, and `preprocessing.long_text` is of
  prompts to go on from alone. Each text is measured alone, in windows that share `preprocessing.stride` tokens (half of
  `max_length` where that is 0), each token counted once (see `nlptk.parts.blocks`).
- `prompt` and `completion`, joined as they stand; the loss is that of the completion.
- `messages`: a list of {"role": ..., "content": ...}, put together by the tokenizer's chat template; the loss is that
  of the assistant's turns (see `nlptk.parts.chat`). What does not fit is cut off at the end, or, with
  `long_text=window`, read in windows of its own.

Encoder-decoders read a whole text before they write, so they take rows of prompt and completion alone.

To predict, rows have `prompt` (or `text`), or `messages`, of which the assistant's turn at the end, if there is one, is
written anew. A prompt that is too long loses its beginning (with `long_text=truncate_head_tail` its middle); of
messages the oldest go first, the system's stays. Columns of other names are mapped as `data.columns.prompt` or
`.messages` there; those to learn from as `.text`, `.prompt` and `.completion`, or `.conversation`.

`perplexity` and `bits_per_byte` are those of the tokens that spell text, and of its UTF-8 bytes; `loss` is what
training lessens: that of the blocks as they stand, the ends of the texts among the tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from nlptk import task
from nlptk.batches import IGNORED, pad_batch, unpadded
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.parts.blocks import Block, block_features, lay_out, spans
from nlptk.parts.chat import ASSISTANT, check_messages, conversation_ids, conversation_prompt, to_answer, turn_ends
from nlptk.parts.generating import TextToText, text_examples, text_warnings
from nlptk.parts.generation_settings import GenerationOptions
from nlptk.parts.prompts import Prompt, PromptIds, end_token
from nlptk.parts.windows import special_tokens, window_rows
from nlptk.task import Column, Features, Inferred, Look, Prediction, Preprocessing, Scores, Section

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BEGINNING = 17  # tokens of a text that the model goes on from where plain text is measured
WHOLE = Preprocessing(1 << 30)  # cuts nothing
LOOPING = 0.5
SHOWN = 20
COUNTED = {
    "perplexity": "of the tokens that spell text: the ends of texts, and other special tokens, are not counted",
    "bits per byte": "of the same tokens, over the bytes of their text in UTF-8",
    "loss": "nats a token as in training: ends of texts count, and texts of one block are read one after the other",
}
"""What stands beside the figures in a report: others count the ends, which are often easier to foresee than words."""


class CompletionOptions(GenerationOptions):
    """Settings of the generation task."""

    samples: int = Field(
        50,
        ge=0,
        description="Plain text: of every 1,000 rows measured, at most so many are continued from their first words",
    )


@dataclass
class Measured:
    """One row. nats: negative log-likelihood of its text, which has so many tokens and, in UTF-8, bytes (size); prompt:
    what the model was to go on from; written: what it wrote, None where it was not asked to."""

    nats: float = 0.0
    tokens: int = 0
    size: int = 0
    prompt: str = ""
    written: str | None = None


class Generation(TextToText):
    """What comes after a text."""

    name = "generation"
    summary = "the text that comes after a prompt or in a conversation"
    pipeline_tag = "text-generation"
    Options: ClassVar[type[task.TaskOptions]] = CompletionOptions
    # what is learnt from whole is another role than what is to be gone on from, although their columns have one name
    columns = (
        Column("text", "text", ("text", "content"), required=False, target=True),
        Column("prompt", "text", ("prompt", "instruction", "text"), required=False),
        Column("completion", "text", ("completion", "response", "output"), required=False, target=True),
        Column("conversation", "json", ("messages", "conversation"), required=False, target=True),
        Column("messages", "json", ("messages", "conversation"), required=False),
    )
    forms = (("text",), ("prompt", "completion"), ("conversation",))
    measuring = ("context", "windows", "prompt")
    long_texts = task.Task.long_texts
    headline = ("bits_per_byte", "perplexity", "distinct_1", "distinct_2", "seq_rep_4")
    lower_is_better = frozenset({"loss", "bits_per_byte", "perplexity", "seq_rep_4"})
    quality = "perplexity"
    answer = "completion"

    @property
    def settings(self) -> CompletionOptions:
        assert isinstance(self.options, CompletionOptions)
        return self.options

    @classmethod
    def read_row(cls, row: dict[str, Any]) -> dict[str, Any]:
        learnt = [role for role in ("text", "completion", "conversation") if role in row]
        if len(learnt) > 1:
            raise ValueError(f"has {' and '.join(learnt)}; expected one of them: rename or drop the others' columns")
        if not learnt and ("prompt" in row) == ("messages" in row):
            raise ValueError("expected a prompt or messages, one of them")
        for role in ("prompt", "completion"):
            if role in row and not str(row[role]).strip():
                raise ValueError(f"{role} is empty")
        for role in ("conversation", "messages"):
            if role in row:
                row = {**row, role: check_messages(row[role])}
        if "conversation" in row and all(message["role"] != ASSISTANT for message in row["conversation"]):
            raise ValueError("no message is the assistant's, so there is nothing to learn")
        if "conversation" in row and not to_answer(row["conversation"]):
            raise ValueError("no message but the assistant's, so there is nothing that it answers")
        if "messages" in row and not to_answer(row["messages"]):
            raise ValueError("no message but the assistant's, so there is nothing to answer")
        return row

    @classmethod
    def look(cls, rows: Mapping[str, list[Any]]) -> Look:
        if "conversation" not in rows:
            return Look()
        found = [messages or [] for messages in rows["conversation"]]
        turns = Counter(message["role"] for messages in found for message in messages)
        texts = ["\n".join(message["content"] for message in messages) for messages in found]
        return Look({"messages of": turns}, {"conversation": texts}, {"conversation": {"messages": [*map(len, found)]}})

    def prepare_model(self, model: PreTrainedModel) -> None:
        super().prepare_model(model)
        settings = model.generation_config
        assert settings is not None
        ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        if more := [token for token in turn_ends(self.tokenizer) if token not in ends]:
            settings.eos_token_id = [*ends, *more]

    def prompts(self, rows: Mapping[str, list[Any]]) -> list[Prompt]:
        return [Prompt("", text) for text in rows["prompt"]]

    def targets(self, rows: Mapping[str, list[Any]]) -> list[str] | None:
        return rows.get("completion")

    def cut(self, ids: PromptIds, room: int, preprocessing: Preprocessing) -> list[int]:
        """A prompt that keeps its end, which the writing goes on from."""
        if preprocessing.long_text == "truncate_head_tail":
            return super().cut(ids, room, preprocessing)
        kept = room - len(ids.head) - len(ids.tail)
        return [*ids.head, *ids.text[-kept:], *ids.tail]

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """Blocks for plain text, else one feature a row, or one a window of a conversation.

        spans: place of a row among those of the batch from the feature's own `row` on, and bytes of its text, for each
        of the feature's windows, flat. Labelled rows have it.
        """
        given = {role: values for role, values in rows.items() if any(value is not None for value in values)}
        learnt = [role for role in ("text", "completion", "conversation") if role in given]
        if len(learnt) > 1:
            raise DataError(f"rows of several forms: some have {' and some '.join(learnt)}; give rows of one form")
        if learnt == ["completion"] or (not learnt and "prompt" in given):
            return self._completions(given, tokenizer, preprocessing)
        if not self.is_decoder:
            raise UnsupportedError(
                f"task {self.name}: an encoder-decoder reads a text whole before it writes, so it cannot learn "
                f"{'text' if 'text' in given else 'messages'} token by token; give rows of prompt and completion, or a "
                "decoder (GPT, Llama)"
            )
        if "text" in given:
            return self._blocks(given["text"], tokenizer, preprocessing)
        if "conversation" in given:
            return self._conversations(given["conversation"], tokenizer, preprocessing)
        room = self.room(preprocessing)
        found = [conversation_prompt(tokenizer, to_answer(messages), room) for messages in given["messages"]]
        return {
            "input_ids": [ids for ids, _ in found],
            "row": list(range(len(found))),
            "length": [len(ids) for ids, _ in found],
            "lost": [lost for _, lost in found],
            "tokens": [len(ids) + lost for ids, lost in found],
        }

    def _completions(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        features = super().featurize(rows, tokenizer, preprocessing)
        targets = self.targets(rows)
        if targets is None:
            return features
        if preprocessing.long_text == "window":
            raise RecipeError(
                "preprocessing.long_text: window: a prompt cannot be read in windows when its completion is learnt; "
                "give truncate_tail or truncate_head_tail, or leave it out"
            )
        special = special_tokens(tokenizer)
        spans = []
        for place, text in enumerate(targets):
            if self.is_decoder and rows["prompt"][place].endswith(" "):  # which is then the completion's
                text = f" {text}"
            if features["target_tokens_lost"][place]:
                kept = [label for label in features["labels"][place] if label != IGNORED and label not in special]
                text = str(tokenizer.decode(kept))
            spans.append([0, len(text.encode())])
        return {**features, "spans": spans}

    def _blocks(
        self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        length, end = preprocessing.max_length, end_token(tokenizer)
        start = (*_reads_after(tokenizer), end)[0]
        encodings = [row.windows[0] for row in window_rows(tokenizer, texts, None, WHOLE)]
        ids = [[t for t, special in zip(e.ids, e.special_tokens_mask, strict=True) if not special] for e in encodings]
        blocks = lay_out(ids, start=start, end=end, length=length, shared=preprocessing.stride or length // 2)
        skipped = 0 if encodings[0].special_tokens_mask[0] else 1  # prompts too begin as the tokenizer has it
        room = length - self.settings.max_new_tokens
        return block_features(blocks, texts, ids) | self._continued(blocks, skipped=skipped, room=room)

    def _continued(self, blocks: Sequence[Block], *, skipped: int, room: int) -> dict[str, list[Any]]:
        """The beginning of the first text of some blocks, spread evenly, for the model to go on from.

        skipped: tokens before it, of those that a text is read after.
        """
        chosen: dict[int, tuple[int, list[int]]] = {}
        count = min(self.settings.samples, len(blocks)) if room > 0 else 0
        for number in {len(blocks) * n // count for n in range(count)}:
            block = blocks[number]
            window = next((window for window in block.windows if window.first), None)
            if window is None:
                continue
            begin, end = window.begin + skipped, window.begin + skipped + min(room, BEGINNING)
            if end < window.stop:
                chosen[number] = (window.text - block.text, [*block.context, *block.ids][begin:end])
        places = range(len(blocks))
        return {
            "prompt": [chosen[n][1] if n in chosen else [] for n in places],
            "prompt_row": [chosen[n][0] if n in chosen else 0 for n in places],
        }

    def _conversations(
        self, rows: Sequence[Any], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        names = ("input_ids", "labels", "row", "length", "lost", "tokens", "labels_lost", "spans", "prompt")
        features: dict[str, list[Any]] = {name: [] for name in names}
        length, room = preprocessing.max_length, self.room(preprocessing)
        for row, messages in enumerate(rows):
            found = conversation_ids(tokenizer, messages)
            labels = [token if own else IGNORED for token, own in zip(found.ids, found.spoken, strict=True)][1:]
            sizes = [size if own else 0 for size, own in zip(found.sizes, found.spoken, strict=True)][1:]
            kept = len(labels) if preprocessing.long_text == "window" else min(length, len(labels))
            windows = list(spans(kept, 0, kept, length=length, shared=preprocessing.stride))
            first = found.ids[:1] if found.ids[0] == tokenizer.bos_token_id and preprocessing.stride else []
            features["input_ids"] += [[*first, *found.ids[begin + len(first) : end]] for begin, _, end in windows]
            features["labels"] += [[IGNORED] * (new - begin) + labels[new:end] for begin, new, end in windows]
            features["spans"] += [[0, sum(sizes[new:end])] for _, new, end in windows]
            features["length"] += [end - begin for begin, _, end in windows]
            features["row"] += [row] * len(windows)
            lost = sum(label != IGNORED for label in labels[kept:])
            prompt, _ = conversation_prompt(tokenizer, to_answer(messages), room)
            once = {"tokens": len(found.ids), "lost": len(labels) - kept, "labels_lost": lost}
            for name, count in once.items():
                features[name] += [count, *[0] * (len(windows) - 1)]
            features["prompt"] += [prompt, *[[] for _ in windows[1:]]]
        return features

    def infer(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> Inferred:
        """An array a feature: nats and tokens of each window (labelled rows), how long the prompt is, the prompt, and
        what the model writes after it."""
        import numpy as np

        rows = len(batch["input_ids"])
        scored: list[list[float]] = [[] for _ in range(rows)]
        loss = None
        if (labels := batch.get("labels")) is not None:
            outputs = self.forward(model, batch)
            loss = self.loss(outputs, labels)
            scored = self._alone(model, batch) if "windows" in batch else self._scored(outputs.logits, labels)
        prompts = unpadded(batch["prompt"]) if "prompt" in batch else self.prompts_of(batch)
        asked = [row for row in range(rows) if prompts[row]]
        written = self.generate(model, [prompts[row] for row in asked]) if asked else []
        by_row = dict(zip(asked, written, strict=True))
        kept = [[*scored[row], len(prompts[row]), *prompts[row], *by_row.get(row, ())] for row in range(rows)]
        return Inferred([np.array(values, dtype=np.float64) for values in kept], loss)

    def _scored(self, logits: torch.Tensor, labels: torch.Tensor) -> list[list[float]]:
        """Nats and number of the labels that spell text, row by row. logits: (rows, tokens, vocabulary)."""
        import torch
        from torch.nn import functional

        nats = functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
        ends = torch.tensor(list(special_tokens(self.tokenizer)), device=labels.device)
        spelled = (labels != IGNORED) & ~torch.isin(labels, ends)
        summed = (nats.view_as(labels).double() * spelled).sum(dim=1)
        return torch.stack([summed, spelled.sum(dim=1).double()], dim=1).tolist()

    def _alone(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> list[list[float]]:
        """Nats and tokens of each window of each block, its text read alone; at once no more tokens than the batch."""
        device, first = batch["input_ids"].device, _reads_after(self.tokenizer)
        jobs: list[tuple[int, dict[str, list[int]]]] = []
        lists = (unpadded(batch["context"]), batch["input_ids"].tolist(), batch["labels"].tolist())
        for row, (context, ids, labels, flat) in enumerate(zip(*lists, unpadded(batch["windows"]), strict=True)):
            whole, known = [*context, *ids], [IGNORED] * len(context) + labels
            for begin, scored, stop in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
                counted = [IGNORED] * (scored - begin) + known[scored:stop]
                jobs.append((row, {"input_ids": [*first, *whole[begin + len(first) : stop]], "labels": counted}))
        found: dict[int, list[float]] = {}
        order = sorted(range(len(jobs)), key=lambda job: -len(jobs[job][1]["input_ids"]))
        while order:
            size = max(1, batch["input_ids"].numel() // len(jobs[order[0]][1]["input_ids"]))
            now, order = order[:size], order[size:]
            part = pad_batch([jobs[job][1] for job in now], self.tokenizer.pad_token_id)
            part = {key: value.to(device) for key, value in part.items()}
            found |= dict(zip(now, self._scored(self.forward(model, part).logits, part["labels"]), strict=True))
        kept: list[list[float]] = [[] for _ in batch["input_ids"]]
        for job, (row, _) in enumerate(jobs):
            kept[row] += found[job]
        return kept

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        """`Measured` of each row."""
        rows = [Measured() for _ in range(features.ledger.rows)]
        names = [n for n in ("row", "spans", "prompt_row") if n in features.dataset.column_names]
        for feature, kept in zip(features.dataset.select_columns(names), outputs, strict=True):
            flat = feature.get("spans") or []
            for n in range(0, len(flat), 2):
                row = rows[feature["row"] + flat[n]]
                row.nats, row.tokens = row.nats + float(kept[n]), row.tokens + int(kept[n + 1])
                row.size += flat[n + 1]
            length, ids = int(kept[len(flat)]), kept[len(flat) + 1 :].astype(int)
            if length:
                row = rows[feature["row"] + feature.get("prompt_row", 0)]
                row.prompt, row.written = self._texts(ids, length)
        return rows

    def _texts(self, ids: np.ndarray, length: int) -> tuple[str, str]:
        """The texts of a prompt of `length` tokens and of what was written after it; a decoder's with the white space
        that joins the two."""
        prompt, both = (
            str(self.tokenizer.decode(part.tolist(), skip_special_tokens=True)) for part in (ids[:length], ids)
        )
        joined = self.is_decoder and both.startswith(prompt)
        return prompt, both[len(prompt) :] if joined else self.text(ids[length:])

    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """`completion`, which follows the prompt as it stands, and `truncated`, where the prompt lost tokens."""
        texts = [row.written for row in pooled]
        for place, prompt in enumerate(rows.get("prompt", ())):
            if prompt is not None and prompt.endswith(" "):
                texts[place] = texts[place].removeprefix(" ")
        return super().decode(texts, rows, features)

    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        from nlptk.metrics import generation_figures

        asked = [place for place, row in enumerate(pooled) if row.written is not None]
        texts = [pooled[place].written for place in asked]
        figures = generation_figures(
            [row.nats for row in pooled],
            [row.tokens for row in pooled],
            [row.size for row in pooled],
            generated=texts or None,
            bootstrap=bootstrap,
            seed=seed,
        )
        warnings = text_warnings(texts, asked) if texts else []
        if "seq_rep_4" in figures and figures["seq_rep_4"].value > LOOPING:
            warnings.append(
                f"{figures['seq_rep_4'].value:.0%} of the 4-grams it writes repeat earlier ones of the same text; try "
                "task.do_sample=true or task.no_repeat_ngram_size=4"
            )
        return Scores(figures, self._sections(pooled, rows, asked) if sections else [], warnings)

    def _sections(self, pooled: Sequence[Measured], rows: Dataset, asked: Sequence[int]) -> list[Section]:
        import numpy as np

        from nlptk.report import sections

        bits = [row.nats / np.log(2) / row.size if row.size else 0.0 for row in pooled]
        columns = _shown(rows)
        written = {**columns, "text": [row.prompt for row in pooled], "written": [row.written for row in pooled]}
        worst = np.argsort([-value for value in bits], kind="stable")[:SHOWN].tolist()
        parts = [sections.facts("What the figures count", COUNTED)]
        parts += [text_examples("Written", written, rows, asked[:SHOWN])] if asked else []
        return [*parts, text_examples("Least expected rows", {**columns, "bits per byte": bits}, rows, worst)]

    def caveats(self, preprocessing: Preprocessing) -> list[str]:
        if not self.is_decoder or preprocessing.max_length > self.settings.max_new_tokens:
            return []
        return [
            f"task.max_new_tokens: {self.settings.max_new_tokens} leaves no room for a prompt in "
            f"preprocessing.max_length {preprocessing.max_length}, so the model cannot be asked to write: lower it "
            'here or later (nlptk.pipeline(DIR, options={"max_new_tokens": ...}))'
        ]

    def has_marks(self) -> bool:
        return self.tokenizer.chat_template is not None


def _reads_after(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token that the tokenizer puts before whatever a model reads, if any: without it some (Gemma) foresee nothing.

    In the middle of a text it takes the place of a window's first token, which is context.
    """
    start = tokenizer.bos_token_id
    return [start] if tokenizer("a")["input_ids"][0] == start else []


def _shown(rows: Dataset) -> dict[str, list[Any]]:
    """The texts of the rows, for the report."""
    if "conversation" in rows.column_names:
        return {"text": ["\n".join(f"{m['role']}: {m['content']}" for m in row) for row in rows["conversation"]]}
    if "completion" in rows.column_names:
        return {"text": rows["prompt"][:], "completion": rows["completion"][:]}
    return {"text": rows["text"][:]}


if __name__ == "__main__":
    from nlptk.__main__ import train_task

    train_task(Generation.name)
