"""One job as data: strict models, YAML in, `key=value` overrides, the resolved recipe out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nlptk import registry
from nlptk.errors import NlptkError, RecipeError
from nlptk.faults import faults
from nlptk.nearest import did_you_mean

_DEFAULT_NAMES = {"strategy": "full", "optimizer": "adamw"}
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
FileFormat = Literal["csv", "tsv", "json", "jsonl", "parquet", "conll", "squad", "text"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Strict):
    """Where the rows are and what is done about bad ones. A string stands for `train`."""

    train: str | list[str] | None = Field(
        None, description="File, glob, folder, save_to_disk folder or Hub data set (list: several files of one kind)"
    )
    validation: Fraction | str | list[str] | None = Field(
        None,
        description="Like train, a fraction of the training rows, or none. Not given: the source's own split; "
        "else 0.1 of train, unless only test is left out",
    )
    test: Fraction | str | list[str] | None = Field(
        None,
        description="Like train, a fraction of the training rows, or none. Not given: the source's own split; "
        "else 0.1 of train where validation is not given either",
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="Role -> column name, where the names are not the conventional ones"
    )
    config: str | None = Field(None, description="Configuration name of a Hub data set")
    revision: str | None = Field(None, description="Revision of a Hub data set")
    group: str | None = Field(
        None, description="Column whose equal values must stay in one split (a customer, a document)"
    )
    label_names: list[str] | None = Field(None, description="Names of integer labels 0, 1, 2, ...")
    label_separator: str | None = Field(
        None, min_length=1, description="Splits a label cell into several labels (multi-label csv)"
    )
    unseen_labels: Literal["refuse", "drop", "keep"] = Field(
        "refuse", description="Rows whose label training never saw; keep (ner): their entities count as not found"
    )
    duplicates: Literal["refuse", "drop", "keep"] = Field(
        "refuse", description="Rows of validation or test whose text is also in an earlier split"
    )
    bad_rows: Literal["refuse", "drop"] = Field("refuse", description="Empty or NaN text or label, ragged lines")
    format: FileFormat | None = Field(None, description="Of the files, whatever their extensions say")
    encoding: str = Field("utf-8", description="Of text files")
    max_rows: int | None = Field(
        None,
        gt=0,
        description="At most so many rows of each split, for a trial run: a sample drawn with `seed`, with every label "
        "where there is room; predict and evaluate take the first rows",
    )

    @field_validator("validation", "test", mode="before")
    @classmethod
    def _rows_held_out(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not 0 < value < 1:  # False and True are numbers, too
            raise ValueError("expected a file, a fraction between 0 and 1, or none for no such rows")
        return value

    def whole(self) -> DataSettings:
        """With nothing set aside from the training rows but what is asked for."""
        return self.model_copy(update={s: "none" for s in ("validation", "test") if getattr(self, s) is None})


class PreprocessingSettings(_Strict):
    """How texts become tokens."""

    max_length: int | None = Field(
        None, gt=0, description="Tokens in a feature; default: what the model can take, at most 512"
    )
    long_text: Literal["truncate_tail", "truncate_head_tail", "window"] | None = Field(
        None, description="What happens to a text longer than max_length; default: the first that the task can do"
    )
    stride: int = Field(0, ge=0, description="Tokens that two neighbouring windows share")

    @field_validator("long_text", mode="before")
    @classmethod
    def _not_of_the_task(cls, value: Any) -> Any:
        if value == "map_reduce":
            raise ValueError(
                "map_reduce is the task's own: set task.long_text=map_reduce (summarization), and leave this out"
            )
        return value


class HeadSettings(_Strict):
    """The classification head."""

    norm: Literal["none", "batch"] = Field(
        "none", description="batch: batch normalization before the classifier, folded into it when saved"
    )


class DropoutSettings(_Strict):
    """Dropout probabilities; None keeps the checkpoint's own."""

    hidden: float | None = Field(None, ge=0.0, lt=1.0)
    attention: float | None = Field(None, ge=0.0, lt=1.0)
    head: float | None = Field(
        None, ge=0.0, lt=1.0, description="Before the classifier; not given, none where it trains on stored features"
    )


class EarlyStopping(_Strict):
    """Stop when `training.metric_for_best_model` has not improved for `patience` evaluations."""

    patience: int = Field(2, ge=1)
    threshold: float = Field(0.0, ge=0.0, description="Smallest change that counts as an improvement")


class Recipe(_Strict):
    """One training job. `nlptk recipe schema` prints this as JSON schema."""

    task: dict[str, Any] = Field(description="Task name, or {name: ..., and its own settings}")
    model: str = Field(min_length=1, description="Checkpoint folder or Hub name")
    model_revision: str | None = Field(None, description="Revision of a Hub checkpoint")
    data: DataSettings
    strategy: dict[str, Any] = Field(
        default_factory=lambda: {"name": _DEFAULT_NAMES["strategy"]},
        description="Strategy name, or {name: ..., and its own settings}",
    )
    optimizer: dict[str, Any] = Field(
        default_factory=lambda: {"name": _DEFAULT_NAMES["optimizer"]},
        description="Optimizer name, or {name: ..., and its own settings}; learning rate: see training",
    )
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    head: HeadSettings = HeadSettings()
    dropout: DropoutSettings = DropoutSettings()
    early_stopping: EarlyStopping | None = None
    packing: Literal["auto"] | bool = Field(
        "auto", description="Train without padding; auto: where the model form allows it"
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Any field of transformers.TrainingArguments, by its own name"
    )
    bootstrap: int = Field(1000, ge=0, description="Resamples for the 95 % intervals; 0 leaves them out")
    seed: int = Field(0, ge=0, lt=2**32, description="Of splits, initialization, order and dropout")
    output: str = Field("runs/nlptk", description="Folder of the run: model/, report.html, checkpoints, metrics files")

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthands(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        expanded = dict(values)
        for key in _NAMED:
            if isinstance(expanded.get(key), str):
                expanded[key] = {"name": expanded[key]}
        if isinstance(expanded.get("data"), str | list):
            expanded["data"] = {"train": expanded["data"]}
        if expanded.get("early_stopping") is True:
            expanded["early_stopping"] = {}
        return expanded


_NAMED = ("task", "strategy", "optimizer")
_SHORT = {**dict.fromkeys(_NAMED, "name"), "data": "train", "task.method": "name", "task.meta": "train"}
"""Blocks that a text may stand for, and the key it stands for: what an override adds to such a text goes beside it."""


class _YamlLoader(yaml.SafeLoader):
    """YAML 1.1 reads 5e-5 as a string, `save_strategy: no` as false, `output: 2026-01-31` as a date and a key `1` as a
    number; people who write recipes do not."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        return dict(super().construct_mapping(node, deep))


_OTHERWISE = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
_YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in _OTHERWISE]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def parse_value(text: str) -> Any:
    """A value as written in YAML: `5e-5` is a float, `true` a bool, `[1, 2]` a list."""
    return yaml.load(text, Loader=_YamlLoader)  # noqa: S506  # a SafeLoader subclass


def read_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a YAML (or JSON) file, unchecked. Raises: RecipeError."""
    try:
        values = parse_value(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
        raise RecipeError(f"{path}: no such recipe{near}") from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: a folder; give the YAML file of the recipe, or key=value words alone") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        came = "nothing" if values is None else f"a {type(values).__name__}"
        raise RecipeError(
            f"{path}: expected a mapping of keys to values (task: ..., model: ..., data: ...), found {came}"
        )
    return values


def recipe_name(source: object) -> str:
    """How messages about a recipe begin: its file, where it has one."""
    return str(source) if isinstance(source, str | Path) else "recipe"


def given_values(
    source: str | Path | Mapping[str, Any] | None,
    keys: Mapping[str, Any],
    overrides: Sequence[str],
    **defaults: Any,
) -> dict[str, Any]:
    """What a caller gave of a recipe, unchecked: defaults, the file or mapping, keys, overrides, each over the last."""
    values = read_recipe(Path(source)) if isinstance(source, str | Path) else source or {}
    given = {**defaults, **values, **keys}
    data = given.get("data")
    for split, rows in data.items() if isinstance(data, Mapping) else [("train", data)]:
        if isinstance(rows, list | tuple) and any(isinstance(row, Mapping) for row in rows):
            raise RecipeError(
                f"data.{split}: {len(rows)} rows in memory, and a recipe must be able to say where its rows are; write "
                "them to a file (a JSON object a line, .jsonl) and give its path"
            )
    return apply_overrides(plain_values(given), overrides)


def plain_values(value: Any) -> Any:
    """Paths as strings, so that what Python callers pass is what a recipe file says."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of numpy's
        return value.item()
    if hasattr(value, "to_dict") or hasattr(value, "column_names"):
        raise RecipeError(
            f"recipe: a {type(value).__name__} is in memory, and a recipe must be able to say where its rows are; "
            "save it (Dataset.save_to_disk, DataFrame.to_parquet) and give the path"
        )
    raise RecipeError(f"recipe: {type(value).__name__} {value!r} is not a value a recipe can hold")


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`a.b=value` strings laid over a mapping. A component given by name alone keeps its name:
    `strategy: lora` with `strategy.rank=4` is `{name: lora, rank: 4}`."""
    merged = json.loads(json.dumps(values))
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key.strip():
            raise RecipeError(f"override {override!r}: expected key=value, such as training.num_train_epochs=1")
        try:
            value = _override_value(text)
        except yaml.YAMLError as error:
            raise RecipeError(
                f"override {override!r}: not a YAML value: {' '.join(str(error).split())}; a text that begins so is "
                f"written in quotes that reach nlptk: '{key}=\"...\"' in a shell"
            ) from error
        _set(merged, key.strip().split("."), value, override)
    return dict(merged)


def _override_value(text: str) -> Any:
    """What a word on the command line means: a YAML value, but where YAML would see a mark of its own (`|`, `>`, `,`)
    or a comment, the text itself.

    >>> [_override_value(text) for text in ("5e-5", "null", "", "|", " ", "runs/a #1", "'|'")]
    [5e-05, None, None, '|', ' ', 'runs/a #1', '|']
    """
    if text[:1] in ("[", "{", '"', "'"):
        return parse_value(text)
    try:
        value = parse_value(text)
    except yaml.YAMLError:
        return text
    lost = value is None and text not in ("", "~", "null", "Null", "NULL")
    return text if lost or (isinstance(value, str) and value != text.strip()) else value


def _set(values: dict[str, Any], path: list[str], value: Any, override: str) -> None:
    for depth, part in enumerate(path[:-1]):
        inner = values.get(part)
        if inner is None:
            inner = {}
        elif isinstance(inner, str) and (key := _SHORT.get(".".join(path[: depth + 1]))):
            inner = {key: inner}
        elif not isinstance(inner, dict):
            raise RecipeError(f"override {override!r}: {'.'.join(path[: depth + 1])} is a value, not a block of keys")
        values[part] = inner
        values = inner
    values[path[-1]] = value


def make_recipe(values: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
    """The checked recipe; `where` begins every message. Raises: RecipeError naming the key, what came and the cure."""
    try:
        recipe = Recipe.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError(faults(error, Recipe, where=where, components=_component_options(values))) from None
    return recipe.model_copy(
        update={
            "task": _component(recipe.task, "task", where),
            "strategy": _component(recipe.strategy, "strategy", where),
            "optimizer": _optimizer(recipe.optimizer, where),
        }
    )


def _component_options(values: Mapping[str, Any]) -> dict[str, type[BaseModel]]:
    """The settings of the recipe's task and strategy, where these can be told and loaded: for hints alone."""
    found: dict[str, type[BaseModel]] = {}
    for kind, load in (("task", registry.get_task), ("strategy", registry.get_strategy)):
        given = values.get(kind)
        name = given.get("name") if isinstance(given, Mapping) else given
        try:
            found[kind] = load(str(name or _DEFAULT_NAMES.get(kind))).Options
        except NlptkError:  # the recipe is refused for another reason already
            continue
    return found


def _component(values: dict[str, Any], kind: Literal["task", "strategy"], where: str) -> dict[str, Any]:
    """{name, options} with every option checked and filled in by the component's own model."""
    name, options = _split_name(values, kind, where)
    try:
        cls: Any = registry.get_task(name) if kind == "task" else registry.get_strategy(name)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    try:
        return {"name": name, **cls.Options.model_validate(options).model_dump(mode="json")}
    except ValidationError as error:
        raise RecipeError(faults(error, cls.Options, where=where, prefix=f"{kind}.")) from None


def _optimizer(values: dict[str, Any], where: str) -> dict[str, Any]:
    name, options = _split_name(values, "optimizer", where)
    for key in ("learning_rate", "lr", "weight_decay"):
        if key in options:
            field = "learning_rate" if key == "lr" else key
            raise RecipeError(f"{where}: optimizer.{key}: this is training.{field} (TrainingArguments' own name)")
    return {"name": name, **options}


def _split_name(values: dict[str, Any], kind: str, where: str) -> tuple[str, dict[str, Any]]:
    options = dict(values)
    name = options.pop("name", None)
    if name is None:
        for key in options:
            if did_you_mean(key, ["name"]):
                raise RecipeError(f"{where}: {kind}.{key}: unknown key; did you mean 'name'?")
        name = _DEFAULT_NAMES.get(kind)
    if not isinstance(name, str):
        raise RecipeError(f"{where}: {kind}.name: missing; give {kind}: NAME or {kind}: {{name: NAME}}")
    return name, options


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `nlptk train` accepts again."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def schema() -> dict[str, Any]:
    """JSON schema of a recipe file, with every registered task's and strategy's own settings."""
    result = Recipe.model_json_schema()
    for kind, entries in (("task", registry.tasks()), ("strategy", registry.strategies())):
        choices: list[dict[str, Any]] = [{"type": "string", "enum": sorted(entries)}]
        for name, entry in entries.items():
            try:
                cls: Any = entry.load()
            except NlptkError:  # a broken plugin has no settings; `nlptk tasks` and `nlptk strategies` say why
                continue
            options = cls.Options.model_json_schema()
            options["properties"] = {"name": {"const": name}, **options.get("properties", {})}
            named = [] if name == _DEFAULT_NAMES.get(kind) else ["name"]
            options["required"] = [*named, *options.get("required", [])]
            options["title"] = f"{kind} {name}"
            result.setdefault("$defs", {}).update(options.pop("$defs", {}))
            choices.append(options)
        result["properties"][kind] = {"anyOf": choices, "description": result["properties"][kind].get("description")}
    result["properties"]["optimizer"]["anyOf"] = [{"type": "string"}, {"type": "object"}]
    result["properties"]["optimizer"].pop("type", None)
    data = result["properties"]["data"]
    result["properties"]["data"] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, data]}
    return result
