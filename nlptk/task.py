"""The contract between nlptk and a task, and the plain data that passes between them.

A task is one class in one file. It says which columns it reads, turns rows into features, puts the right head on a
checkpoint, and turns the model's outputs back into predictions and figures. Files, splits, caching, strategies,
optimizers, training, evaluation loops, reports and artifacts belong to nlptk and are the same for every task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

ColumnKind = Literal["text", "label", "number", "json"]
LongText = Literal["truncate_tail", "truncate_head_tail", "window"]
Prediction = dict[str, Any]
"""What a user gets for one row: JSON-able, and always with the key `truncated` (bool)."""
Section = dict[str, Any]
"""One part of a report; the kinds and their keys are documented in `nlptk.report`."""


class TaskOptions(BaseModel):
    """Base of every task's own settings: unknown keys are refused, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Column:
    """One column a task reads.

    role: the name the task sees, whatever the file calls it.
    names: the conventional names in files, tried in this order when the recipe maps none.
    target: what is to be predicted; absent from the rows given to `predict`.
    together: rows with equal values (as texts, see `nlptk.data.normalize`) depend on each other. A random split puts
    them on one side, and values that given splits share are noted.
    """

    role: str
    kind: ColumnKind
    names: tuple[str, ...]
    required: bool = True
    target: bool = False
    together: bool = False


@dataclass(frozen=True)
class RowRules:
    """What a task asks of a row beyond its single columns.

    forms: sets of roles, of which a source must have one whole (beside the required columns); () asks for none.
    check: a row's values by role -> the values to keep, by the same roles; raises ValueError with what is wrong.
    marks: the same values -> what is to be counted of them; notes: mark -> how many rows of a source have it, and the
    first one's number -> what there is to say of the source. key: stands for the code of all three in cache keys.
    """

    forms: tuple[tuple[str, ...], ...] = ()
    check: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    key: str = ""
    marks: Callable[[dict[str, Any]], Iterable[str]] | None = None
    notes: Callable[[Mapping[str, tuple[int, int]]], list[str]] | None = None


NO_RULES = RowRules()


@dataclass(frozen=True)
class Look:
    """What a look at some rows shows beyond their columns' own values.

    counts: what is counted -> name -> how often: {"entities": {"PER": 12, "ORG": 3}}.
    texts: role -> the text of each row of a nested column, measured like the texts of text columns.
    lengths: role -> unit -> a number for each row: {"messages": {"messages": [2, 5]}}.
    """

    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lengths: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelSpace:
    """The labels of a task, collected from the training rows only; the position of a name is its id."""

    names: tuple[str, ...]
    multi: bool = False

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "multi": self.multi}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> LabelSpace:
        return cls(names=tuple(state["names"]), multi=bool(state["multi"]))


@dataclass
class Ledger:
    """What did not reach the model. Counts, over one split.

    tokens: tokens the texts have, without special tokens; tokens_lost: those no feature carries; tokens_untrained:
    those that predictions read, but that training and the loss leave out (0 where both read the same).
    rows_truncated: rows that lost a token; rows_windowed: rows spread over several windows, nothing lost.
    labels_lost: gold labels on lost tokens (token-level tasks; 0 elsewhere). target_tokens: tokens the targets have
    (tasks that write; 0 elsewhere); target_tokens_lost: those that neither training nor the loss sees.
    """

    rows: int = 0
    tokens: int = 0
    tokens_lost: int = 0
    tokens_untrained: int = 0
    rows_truncated: int = 0
    rows_windowed: int = 0
    labels_lost: int = 0
    target_tokens: int = 0
    target_tokens_lost: int = 0

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Ledger)})


@dataclass(frozen=True)
class Features:
    """What the model sees, in row order: one or more features a row.

    dataset: the model's inputs (unpadded lists), `labels` where the rows have them, three columns of nlptk's own:
    `row` (index of the row the feature comes from), `length` (tokens in the feature), `lost` (tokens of the row that
    no feature carries; on the row's first feature, 0 on the others), and whatever else `featurize` returned.
    """

    dataset: Dataset
    ledger: Ledger


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95 % bootstrap interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)


@dataclass(frozen=True)
class Scores:
    """What a task measured on labelled rows.

    figures: metric name -> figure; sections: parts of the report (confusion matrix, hardest examples, ...).
    warnings: what whoever uses the model must know and figures alone may hide, each a line that fits behind the name of
    the rows and a colon; printed after training and evaluation, and shown at the top of the report.
    """

    figures: dict[str, Figure]
    sections: list[Section] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Inferred:
    """What one batch gave. kept: one array a feature, in batch order; loss: summed over the batch, where known."""

    kept: list[np.ndarray]
    loss: torch.Tensor | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How texts become tokens; saved with the model so that serving repeats training exactly.

    max_length: tokens in a feature, special tokens included.
    long_text: what happens to a longer text. stride: tokens two neighbouring windows share.
    """

    max_length: int
    long_text: LongText = "truncate_tail"
    stride: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Task(ABC):
    """Base of every task; a subclass in tasks/, or in a plugin, is the whole of a new task.

    Importing the file must not import torch or transformers: `nlptk --help` and `nlptk tasks` read it.
    A task is made from its options and, when a model is loaded, from what the artifact saved of it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    pipeline_tag: ClassVar[str]
    """transformers' name of the pipeline that serves the same model."""
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    columns: ClassVar[tuple[Column, ...]]
    forms: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Sets of roles, of which a source must have one whole: rows that come in several shapes. () asks for none."""
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "token_type_ids", "labels")
    """Columns of the features that a batch is made of, those that are there."""
    measuring: ClassVar[tuple[str, ...]] = ()
    """Columns, lists of numbers, that `infer` reads beside `inputs`, padded with -100; training batches leave them out,
    and neither the model nor the loss sees them."""
    sets_aside: ClassVar[bool] = True
    """Whether validation and test rows are set aside from those of training where a recipe names none."""
    long_texts: ClassVar[tuple[LongText, ...]] = ("truncate_tail", "truncate_head_tail", "window")
    """What the task can do with a text that is longer than `max_length`; the first one is its default."""
    long_text_cure: ClassVar[str] = ""
    """What a user may set where these are not enough, such as an option of the task's own."""
    changeable: ClassVar[frozenset[str]] = frozenset()
    """Options that may be given anew when a trained model is loaded: how it answers, not what it learnt."""
    headline: ClassVar[tuple[str, ...]] = ()
    """Metrics at the top of a report, after the primary one."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss"})
    """Metrics of which a smaller value is the better one."""
    job: ClassVar[str] = "nlptk.training.run"
    """Module whose `run(recipe, where=...)` trains a model of the task."""

    def __init__(
        self, options: TaskOptions, labels: LabelSpace | None = None, decision: Mapping[str, Any] | None = None
    ):
        self.options = options
        self.labels = labels
        self.decision: dict[str, Any] = dict(decision or {})
        """What was tuned on validation (thresholds, ...); JSON-able, saved in the artifact."""

    tokenizer: PreTrainedTokenizerBase
    """Set by nlptk before rows are featurized; for turning ids back into text."""

    @classmethod
    def read_row(cls, row: dict[str, Any]) -> dict[str, Any]:
        """Check one row's values, by role, and bring them into one form; targets are absent at prediction.

        Raises: ValueError with what is wrong, for the message that names the row.
        """
        return row

    @classmethod
    def marks(cls, row: dict[str, Any]) -> Iterable[str]:
        """What of a row that `read_row` takes is to be counted, as it came, for `marked`. Nothing is the default."""
        return ()

    @classmethod
    def marked(cls, found: Mapping[str, tuple[int, int]]) -> list[str]:
        """What there is to say of a source that rows of it were given a form they did not have. found: mark -> how many
        rows have it, and the number of the first."""
        return []

    @classmethod
    def rules(cls) -> RowRules:
        """`forms`, `read_row` and `marks` as the data room takes them."""
        if cls.read_row.__func__ is Task.read_row.__func__:  # type: ignore[attr-defined]  # of a bound class method
            return RowRules(cls.forms)
        return RowRules(cls.forms, cls.read_row, _source_key(cls), cls.marks, cls.marked)

    @classmethod
    def look(cls, rows: Mapping[str, list[Any]]) -> Look:
        """What `nlptk inspect` shows of one batch of labelled rows (role -> values, None where a row has none), beside
        what it finds of columns by itself. Nothing is the default."""
        return Look()

    @abstractmethod
    def primary(self) -> str:
        """The metric that model selection uses where the recipe names none."""

    @abstractmethod
    def auto_class(self, config: PreTrainedConfig) -> str:
        """Name of the transformers Auto class that carries the head, such as `AutoModelForSequenceClassification`.

        Raises: UnsupportedError where a checkpoint of this configuration makes no sense for the task.
        """

    def config_overrides(self) -> dict[str, Any]:
        """Configuration fields set when the head is built (`num_labels`, `id2label`, `problem_type`, ...)."""
        return {}

    def prepare_model(self, model: PreTrainedModel) -> None:
        """Set on a model just loaded what it is to be saved with (generation settings, ...)."""

    def fit(self, train: Dataset) -> None:
        """Learn from the training rows: labels that stand inside nested columns, class weights, ... Called once."""

    def check_rows(self, rows: Dataset, split: str) -> None:
        """Refuse labelled rows that the task, with its options, cannot learn from or be measured on.

        Raises: DataError with file and row.
        """

    def unseen(self, rows: Dataset) -> list[tuple[int, str]]:
        """(index of the row, label) for gold labels that `fit` did not meet; nlptk refuses, drops or keeps these rows.

        A task that overrides this takes such labels when it featurizes and scores.
        """
        return []

    @abstractmethod
    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """One batch of rows -> its features, `row` counted from 0 within the batch, `length` and `lost` as in Features.

        rows: role -> values; targets are absent at prediction. Also returned: `tokens` (of the row, on its first
        feature, 0 on the others) and, as Ledger has them, `untrained`, `labels_lost`, `target_tokens` and
        `target_tokens_lost` where there can be such; and any column that `pool` or `decode` will want.
        """

    def collate(self, features: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
        """Features -> one batch. Default: `inputs` and `measuring` padded on the right, labels of tokens with -100."""
        from nlptk.batches import IGNORED, pad, pad_batch

        plain = [{key: feature[key] for key in self.inputs if key in feature} for feature in features]
        more = [name for name in self.measuring if name in features[0]]
        return pad_batch(plain, pad_id) | {name: pad([f[name] for f in features], IGNORED) for name in more}

    def forward(self, model: torch.nn.Module, batch: Mapping[str, Any]) -> Any:
        """The model's outputs for a batch, in training and for the loss. Calls the model once. Default: without labels,
        for the loss is the task's own."""
        return model(**{key: value for key, value in batch.items() if key not in ("labels", *self.measuring)})

    @abstractmethod
    def loss(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        """The summed loss of a batch, a scalar; nlptk divides by `loss_items`."""

    def loss_items(self, labels: torch.Tensor) -> int:
        """How many terms the summed loss has: the rows, unless a task counts tokens. 0 where a batch has no label."""
        return int(labels.shape[0])

    def outputs(self, outputs: Any, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        """One array a feature, in batch order: what decoding needs of the model's outputs."""
        raise NotImplementedError(f"{type(self).__name__}: neither outputs nor infer is written")

    def infer(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> Inferred:
        """What decoding needs of one batch, and its loss where it has labels. Default: one `forward`, its `outputs`.
        A generative task generates here."""
        outputs = self.forward(model, batch)
        labels = batch.get("labels")
        return Inferred(self.outputs(outputs, batch), None if labels is None else self.loss(outputs, labels))

    def measured_in_training(self) -> bool:
        """Whether evaluations during training infer and score; if not they give the loss alone, as must `primary`."""
        return True

    @abstractmethod
    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        """What `infer` kept of all features, in order -> one item a row (windows merged)."""

    def tune(self, pooled: Sequence[Any], rows: Dataset) -> None:
        """Choose on validation rows what `decision` holds. Nothing to choose is the default."""

    @abstractmethod
    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """One prediction a row. rows: role -> values, as `featurize` saw them."""

    @abstractmethod
    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        """Measure against the targets in rows. bootstrap: resamples for the intervals, 0 for none.
        sections: also make the report's parts (costs time; off during training)."""

    def caveats(self, preprocessing: Preprocessing) -> list[str]:
        """What whoever uses the model elsewhere must know before anything is measured, a line each; printed after
        training, and shown at the top of the report."""
        return []

    def save_extra(self, folder: Path, model: PreTrainedModel, preprocessing: Preprocessing) -> None:
        """Write into the model's folder what belongs to the model and has no place in its weights or the manifest:
        what `load_extra` reads, and what other libraries want there."""

    def load_extra(self, folder: Path) -> None:
        """Read from an artifact what `save_extra` wrote and the task needs. Raises: ArtifactError."""


def input_forms(forms: Sequence[Sequence[str]], columns: Sequence[Column]) -> list[tuple[str, ...]]:
    """The forms without the targets: what rows to predict have one of."""
    targets = {column.role for column in columns if column.target}
    return [tuple(role for role in form if role not in targets) for form in forms]


def _source_key(cls: type) -> str:
    """sha256 of the file a class is written in and of the parts that it may use, so that a changed one never meets what
    an older one cached."""
    import hashlib
    import inspect

    files = [Path(inspect.getfile(cls)), *sorted((Path(__file__).parent / "parts").glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
