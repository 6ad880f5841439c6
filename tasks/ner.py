"""Named entity recognition: typed spans in texts or in lists of tokens; BERT, GPT and T5 forms.

    nlptk train task=ner model=CHECKPOINT data=train.conll output=runs/entities

Rows have `tokens` and `tags` (strings in IOB1, IOB2, BIOES or BILOU, types alone, or ClassLabel), as CoNLL files do, or
`text` and `entities` (`{start, end, label}` in characters, none overlapping).

The words of a text are the runs of letters, digits, combining marks and underscores, and each other character that is
no white space; Chinese characters and Japanese kana are words by themselves. Tokens are words as they are, in a text in
which they stand side by side with a space between; all character offsets count in that text. The text is tokenized as a
whole, so that a byte-level BPE sees the spaces before words as in pretraining. Where an entity begins or ends within a
word, the rest of the word is labelled by itself in training; in evaluation the model does not see where, and misses it.

A word is read at its first subword. A text longer than `max_length` is read in windows, for a cut would lose
entities; they share `stride` tokens (a quarter of `max_length` where it is 0), and each word is read in the window
where it is farthest from an edge. So nothing is cut, and every gold entity counts. Words without any token (control
characters, say) belong to the entity around them.

A decoder (GPT, Llama) sees of each word only what stands to its left; an encoder is the better choice for entities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from nlptk import task
from nlptk.batches import IGNORED
from nlptk.errors import DataError, RecipeError
from nlptk.parts.entities import EntityRow, check_entities, check_tokens, spans_on, type_confusions, type_table
from nlptk.parts.tags import TagScheme, read_tags, spans_of, tag_marks, tag_notes, tags_of, viterbi
from nlptk.parts.windows import window_rows
from nlptk.parts.words import Reads, Tokens
from nlptk.task import Column, Features, LabelSpace, Prediction, Preprocessing, Scores, Section

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    from nlptk.metrics.spans import Span

HARDEST = 20
LONGEST_SHOWN = 400  # characters of a text in the report


class NerOptions(task.TaskOptions):
    """Settings of the ner task."""

    scheme: TagScheme = Field(
        "IOB2", description="Tags of the model; transformers' pipeline puts entities together from IOB2 alone"
    )
    viterbi: bool = Field(
        True, description="The likeliest sequence of tags that the scheme allows; false: the likeliest tag of each word"
    )


class Reading(NamedTuple):
    """What the model says of one row, read by read. A read is a token, and the words `first` to `end` that begin in it.

    logits: (reads, labels); first, end: (reads,) words, end exclusive.
    """

    logits: np.ndarray
    first: np.ndarray
    end: np.ndarray


class Ner(task.Task):
    """Entities with type, place and score."""

    name = "ner"
    summary = "named entities, slots and other typed spans of a text"
    pipeline_tag = "token-classification"
    Options: ClassVar[type[task.TaskOptions]] = NerOptions
    columns = (
        Column("tokens", "json", ("tokens", "words"), required=False),
        Column("tags", "json", ("tags", "ner_tags", "labels"), required=False, target=True),
        Column("text", "text", ("text", "sentence"), required=False),
        Column("entities", "json", ("entities",), required=False, target=True),
    )
    forms = (("tokens", "tags"), ("text", "entities"))
    long_texts = ("window",)
    changeable = frozenset({"viterbi"})

    _within = (0, 0)
    """Of the training entities, those that begin or end within a word, and all."""

    headline = ("precision", "recall", "strict_f1", "macro_f1", "token_accuracy", "partial_f1")

    @property
    def settings(self) -> NerOptions:
        assert isinstance(self.options, NerOptions)
        return self.options

    @classmethod
    def read_row(cls, row: dict[str, Any]) -> dict[str, Any]:
        """Tags in IOB2, entities in order and without white space at their ends. Raises: ValueError."""
        if "tokens" in row:
            check_tokens(row["tokens"])
            if "tags" in row:
                spans, count = read_tags(row["tags"]), len(row["tokens"])
                if len(row["tags"]) != count:
                    raise ValueError(f"{count} tokens and {len(row['tags'])} tags; expected one tag a token")
                return {**row, "tags": tags_of(spans, count)}
        elif isinstance(row.get("text"), str) and "entities" in row:
            return {**row, "entities": check_entities(row["entities"], row["text"])}
        return row

    @classmethod
    def marks(cls, row: dict[str, Any]) -> set[str]:
        return tag_marks(row["tags"]) if "tags" in row else set()

    @classmethod
    def marked(cls, found: Mapping[str, tuple[int, int]]) -> list[str]:
        return tag_notes(found)

    @classmethod
    def look(cls, rows: Mapping[str, list[Any]]) -> task.Look:
        begun = (tag[2:] for tags in rows.get("tags", []) for tag in tags or [] if tag[0] == "B")
        marked = (entity["label"] for entities in rows.get("entities", []) for entity in entities or [])
        counts = {"entities": Counter([*begun, *marked])}
        if within := Counter(name for row in _texts(rows) for name in row.unreachable):
            counts["entities that begin or end within a word"] = within
        texts = {"tokens": [" ".join(tokens or []) for tokens in rows["tokens"]]} if "tokens" in rows else {}
        return task.Look(counts, texts)

    @property
    def space(self) -> LabelSpace:
        if self.labels is None:
            raise RecipeError("ner: no labels; they come from training rows with tags or entities")
        return self.labels

    def primary(self) -> str:
        return "f1"

    def auto_class(self, config: PreTrainedConfig) -> str:
        return "AutoModelForTokenClassification"

    def config_overrides(self) -> dict[str, Any]:
        space = self.space
        return {"num_labels": len(space.names), "id2label": space.id2label, "label2id": space.label2id}

    def fit(self, train: Dataset) -> None:
        """The label space: O, and every tag that the scheme has for a type of the training rows."""
        types = sorted(set().union(*_types(train)))
        if not types:
            raise DataError("train: no row has an entity; give rows with tags other than O")
        texts = list(_texts(_roles(train)))
        self._within = (sum(len(row.unreachable) for row in texts), sum(len(row.entities or []) for row in texts))
        prefixes = "BI" if self.settings.scheme == "IOB2" else "BIES"
        self.labels = LabelSpace(("O", *(f"{prefix}-{name}" for name in types for prefix in prefixes)))

    def unseen(self, rows: Dataset) -> list[tuple[int, str]]:
        known = {name[2:] for name in self.space.names}
        return [(row, name) for row, types in enumerate(_types(rows)) for name in sorted(types - known)]

    def caveats(self, preprocessing: Preprocessing) -> list[str]:
        within, support = self._within
        if not within:
            return []
        return [
            f"train: {within} of {support} entities begin or end within a word, which is cut there to be learnt; what "
            "is found are whole words"
        ]

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """Beside the contract's columns: `positions` of the tokens that are reads, and the words of each."""
        found = [EntityRow.of(values) for values in _each_row(rows)]
        stride = preprocessing.stride or preprocessing.max_length // 4
        windowed = replace(preprocessing, long_text="window", stride=stride)
        encoded = window_rows(tokenizer, [words.text for words in found], None, windowed)
        features: dict[str, list[Any]] = {}
        for index, (words, row) in enumerate(zip(found, encoded, strict=True)):
            tokens = Tokens.of(row.windows, stride)
            reads = tokens.reads(words.places)
            labels, lost = self._labels(words, tokens) if words.entities is not None else (None, 0)
            for number, window in enumerate(row.windows):
                here = tokens.window[reads.token] == number
                feature = {
                    "input_ids": window.ids,
                    "row": index,
                    "length": len(window.ids),
                    "lost": 0,
                    "tokens": row.tokens if number == 0 else 0,
                    "labels_lost": lost if number == 0 else 0,
                    "positions": tokens.position[reads.token[here]].tolist(),
                    "first_word": reads.first[here].tolist(),
                    "end_word": reads.end[here].tolist(),
                }
                if "token_type_ids" in tokenizer.model_input_names:
                    feature["token_type_ids"] = window.type_ids
                if labels is not None:
                    feature["labels"] = labels[number]
                for key, value in feature.items():
                    features.setdefault(key, []).append(value)
        return features

    def _labels(self, words: EntityRow, tokens: Tokens) -> tuple[list[list[int]], int]:
        """Label ids of every window's tokens, and how many entities have no token to stand on."""
        reads = tokens.reads(words.pieces)
        tags, lost = self._gold_tags(words, reads, words.pieces)
        ids = self.space.label2id
        labels = [[IGNORED] * size for size in tokens.sizes]
        for token, tag in zip(reads.token, tags, strict=True):
            labels[tokens.window[token]][tokens.position[token]] = ids.get(tag, IGNORED)  # of an unseen type
        return labels, lost

    def _gold_tags(self, words: EntityRow, reads: Reads, places: np.ndarray) -> tuple[list[str], int]:
        """The gold tag of each read, and the entities that no read is left for."""
        spans, lost = spans_on(reads.characters(places), words.entities or [])
        return tags_of(spans, len(reads.token), self.settings.scheme), lost

    def loss(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        logits = outputs.logits.float()
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def loss_items(self, labels: torch.Tensor) -> int:
        return int((labels != IGNORED).sum())

    def outputs(self, outputs: Any, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        logits = outputs.logits.float().cpu().numpy()
        return [row[:length].copy() for row, length in zip(logits, lengths, strict=True)]

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        """A `Reading` a row, its words in order."""
        import numpy as np

        kept = features.dataset
        parts: list[list[Reading]] = [[] for _ in range(kept["row"][-1] + 1)]
        columns = (kept[name][:] for name in ("row", "positions", "first_word", "end_word"))
        for logits, row, positions, first, end in zip(outputs, *columns, strict=True):
            places = np.asarray(positions, dtype=np.int64)
            parts[row].append(Reading(logits[places], np.asarray(first, np.int64), np.asarray(end, np.int64)))
        return [_merged(found) for found in parts]

    def _read_tags(self, pooled: Sequence[Reading]) -> list[list[str]]:
        """The decided tag of each read."""
        names = self.space.names
        if self.settings.viterbi:
            chosen = viterbi([reading.logits for reading in pooled], names)
        else:
            chosen = [reading.logits.argmax(axis=1) for reading in pooled]
        return [[names[index] for index in row.tolist()] for row in chosen]

    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """`entities`: for each `label`, `text`, `start` and `end` (characters, end exclusive) and `score`, the mean
        over its words of the decided tag's probability; of tokens also `first_token` and `last_token`, and `tags`."""
        predictions: list[Prediction] = []
        for values, reading, row_tags in zip(_each_row(rows), pooled, self._read_tags(pooled), strict=True):
            words, spans = EntityRow.of(values), spans_of(row_tags)
            probabilities = self._probabilities(reading, row_tags)
            found = [_entity(words, reading, span, probabilities) for span in spans]
            prediction: Prediction = {"entities": found, "truncated": False}
            if words.are_tokens:
                prediction["tags"] = tags_of(_on_words(spans, reading), len(words.places))
            predictions.append(prediction)
        return predictions

    def _probabilities(self, reading: Reading, tags: Sequence[str]) -> np.ndarray:
        """Of each read's decided tag; (reads,)."""
        import numpy as np
        from scipy.special import softmax

        chosen = np.asarray([self.space.label2id[tag] for tag in tags], dtype=np.int64)
        decided: np.ndarray = np.take_along_axis(
            softmax(reading.logits.astype(np.float64), axis=1), chosen[:, None], axis=1
        )[:, 0]
        return decided

    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        """seqeval's figures over all gold entities. `strict_` ones take only what the model's scheme allows for an
        entity, which differs from the others only without Viterbi."""
        from nlptk.metrics import entity_figures, entity_spans

        words = [EntityRow.of(values) for values in _each_row(_roles(rows))]
        tags, gold = self._read_tags(pooled), [row.gold for row in words]
        said = _said(words, pooled, map(spans_of, tags))
        figures = entity_figures(said, gold, bootstrap=bootstrap, seed=seed)
        strict = figures
        if not self.settings.viterbi:
            well_formed = _said(words, pooled, entity_spans(tags, scheme=self.settings.scheme))
            strict = entity_figures(well_formed, gold, bootstrap=bootstrap, seed=seed)
        figures |= {f"strict_{name}": strict[name] for name in ("precision", "recall", "f1") if name in strict}
        parts: list[Section] = []
        if sections:
            parts = [type_table(said, gold, bootstrap=bootstrap, seed=seed), type_confusions(said, gold)]
            parts.append(self._hardest(words, pooled, said, rows))
        unseen = sorted({name for _, name in self.unseen(rows)})
        return Scores(figures, parts, _warnings(words, said, unseen))

    def _hardest(
        self, words: Sequence[EntityRow], pooled: Sequence[Reading], said: list[list[str]], rows: Dataset
    ) -> Section:
        import numpy as np
        from scipy.special import log_softmax

        from nlptk.report import sections

        losses = np.zeros(len(rows))
        for index, (row, reading) in enumerate(zip(words, pooled, strict=True)):
            reads = Reads(np.zeros_like(reading.first), reading.first, reading.end)
            tags = enumerate(self._gold_tags(row, reads, row.places)[0])
            if known := [(place, self.space.label2id[tag]) for place, tag in tags if tag in self.space.label2id]:
                losses[index] = -log_softmax(reading.logits, axis=1)[tuple(zip(*known, strict=True))].mean()
        hardest = [
            {
                "text": words[index].text[:LONGEST_SHOWN],
                "gold": words[index].shown(words[index].gold),
                "predicted": words[index].shown(said[index]),
                "loss": float(losses[index]),
                "source": f"{rows[index]['source_file']}, row {rows[index]['source_row']}",
            }
            for index in np.argsort(-losses, kind="stable")[:HARDEST].tolist()
        ]
        return sections.examples("Hardest rows", hardest, note="By the mean loss of their words.")


def _types(rows: Dataset) -> Iterator[set[str]]:
    """The types of each row's gold entities."""
    for values in _each_row(_roles(rows, targets_alone=True)):
        tags, entities = values.get("tags") or [], values.get("entities") or []
        yield {tag[2:] for tag in tags if tag != "O"} | {entity["label"] for entity in entities}


def _texts(columns: Mapping[str, Sequence[Any]]) -> Iterator[EntityRow]:
    """The rows that have a text and its entities, not tokens."""
    return (EntityRow.of(values) for values in _each_row(columns) if values.get("text") and values.get("entities"))


def _roles(rows: Dataset, *, targets_alone: bool = False) -> dict[str, Sequence[Any]]:
    roles = [column.role for column in Ner.columns if column.target or not targets_alone]
    return {role: rows[role] for role in roles if role in rows.column_names}


def _each_row(columns: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _merged(parts: Sequence[Reading]) -> Reading:
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    whole = Reading(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    order = np.argsort(whole.first, kind="stable")
    return Reading(*(column[order] for column in whole))


def _on_words(spans: Sequence[Span], reading: Reading) -> list[Span]:
    """Spans of reads -> of words."""
    return [(name, int(reading.first[start]), int(reading.end[end - 1])) for name, start, end in spans]


def _entity(words: EntityRow, reading: Reading, span: Span, probabilities: np.ndarray) -> dict[str, Any]:
    ((name, first, end_word),) = _on_words([span], reading)
    start, end = int(words.places[first, 0]), int(words.places[end_word - 1, 1])
    score = float(probabilities[span[1] : span[2]].mean())
    found = {"label": name, "text": words.text[start:end], "start": start, "end": end, "score": score}
    return {**found, "first_token": first, "last_token": end_word - 1} if words.are_tokens else found


def _said(words: Sequence[EntityRow], pooled: Sequence[Reading], spans: Iterable[Sequence[Span]]) -> list[list[str]]:
    """Spans of reads -> IOB2 tags of each row's pieces."""
    return [row.said(_on_words(found, at)) for row, at, found in zip(words, pooled, spans, strict=True)]


def _warnings(words: Sequence[EntityRow], said: list[list[str]], unseen: Sequence[str]) -> list[str]:
    """unseen: types of gold entities that training did not have."""
    support = sum(tag[0] == "B" for row in words for tag in row.gold)
    unreachable = sum(len(row.unreachable) for row in words)
    warnings = []
    if support and not any(tag != "O" for row in said for tag in row):
        warnings.append("predicts no entity in any row")
    if unreachable:
        warnings.append(f"{unreachable} of {support} gold entities begin or end within a word, and cannot be found")
    if unseen:
        count = sum(tag[0] == "B" and tag[2:] in unseen for row in words for tag in row.gold)
        warnings.append(
            f"{count} of {support} gold entities are of types that training never saw ({', '.join(unseen)}), and count "
            "as not found (but for the partial_ figures, which compare places alone); the loss leaves their words out"
        )
    return warnings


if __name__ == "__main__":
    from nlptk.__main__ import train_task

    train_task(Ner.name)
