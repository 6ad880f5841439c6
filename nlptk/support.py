"""Which task goes with which family of checkpoints and which strategy: tried on tiny random models, listed nowhere.

python -m nlptk.support README.md     # writes the table anew, between the two marker comments
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

from pydantic import ValidationError

from nlptk import registry
from nlptk.errors import UnsupportedError
from nlptk.task import LabelSpace, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from nlptk.text.recipe import Family

FAMILIES: dict[str, Family] = {"BERT": "bert", "GPT": "gpt2", "T5": "t5"}
LABELS = LabelSpace(("O", "B-x", "I-x"))
BEGIN, END = "<!-- support matrix: begin -->", "<!-- support matrix: end -->"


@dataclass(frozen=True)
class Cell:
    """One pairing. task: its name, with the option that chooses another head where there is one; family: one of
    FAMILIES; refused: the message that training raises, None where it works."""

    task: str
    family: str
    strategy: str
    refused: str | None


def support_matrix() -> list[Cell]:
    """Every registered task x family x registered strategy; tasks with a job of their own (few_shot) are not trained by
    strategies alone, and left out."""
    with TemporaryDirectory() as folder:
        checkpoints = {name: _checkpoint(Path(folder) / family, family) for name, family in FAMILIES.items()}
        return [
            Cell(_named(name, options), family, strategy, refused)
            for name in registry.tasks()
            if registry.get_task(name).job == Task.job
            for options in _forms(registry.get_task(name), list(checkpoints.values()))
            for family, checkpoint in checkpoints.items()
            for strategy, refused in _tried(registry.get_task(name), options, checkpoint).items()
        ]


def _named(task: str, options: Mapping[str, str]) -> str:
    return " ".join([task, *(f"{key}={value}" for key, value in options.items())])


def _tokenizer() -> PreTrainedTokenizerBase:
    """With every special token that a family needs."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    special |= {"bos_token": "<s>", "eos_token": "</s>"}
    vocabulary = {token: index for index, token in enumerate(special.values())}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)  # type: ignore[no-untyped-call]


def _checkpoint(folder: Path, family: Family) -> Path:
    from transformers import AutoModel

    from nlptk.checkpoints import quiet
    from nlptk.text.sizes import make_config

    config, auto = make_config(family, "tiny", _tokenizer(), positions=256, fields={}), cast(Any, AutoModel)
    for layers in ("num_hidden_layers", "num_decoder_layers"):
        if hasattr(config, layers):
            setattr(config, layers, 1)  # more would only be built and copied for every pairing
    with quiet():
        auto.from_config(config).save_pretrained(folder)
    return folder


def _forms(task: type[Task], checkpoints: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Options that put different heads on the checkpoints: the defaults, and each choice that changes a head."""
    usual = _heads(task, {}, checkpoints)
    yield {}
    for name, field in task.Options.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        for choice in choices:
            if _heads(task, {name: choice}, checkpoints) not in (usual, None):
                yield {name: choice}


def _heads(task: type[Task], options: Mapping[str, str], checkpoints: Sequence[Path]) -> list[str] | None:
    """What `auto_class` says of each checkpoint; None for options that do not go without others."""
    from nlptk.checkpoints import load_config

    try:
        made = task(task.Options.model_validate(options), labels=LABELS)
    except ValidationError:
        return None
    heads = []
    for checkpoint in checkpoints:
        try:
            heads.append(made.auto_class(load_config(str(checkpoint))))
        except UnsupportedError:
            heads.append("refused")
    return heads


def _tried(task: type[Task], options: Mapping[str, str], checkpoint: Path) -> dict[str, str | None]:
    """Strategy -> why it is refused, or None."""
    from nlptk.checkpoints import load_model

    made = task(task.Options.model_validate(options), labels=LABELS)
    made.tokenizer = tokenizer = _tokenizer()
    try:
        model = load_model(str(checkpoint), made, tokenizer).model
    except UnsupportedError as error:
        return dict.fromkeys(registry.strategies(), str(error).replace(str(checkpoint), "CHECKPOINT"))
    return {name: _refused(name, deepcopy(model), tokenizer) for name in registry.strategies()}


def _refused(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str | None:
    cls = registry.get_strategy(name)
    strategy = cls(cls.Options())
    try:
        strategy.groups(strategy.prepare(model, strategy.prepare_tokenizer(tokenizer)))
    except UnsupportedError as error:
        return str(error)
    return None


def as_markdown(cells: Sequence[Cell]) -> str:
    """A table of tasks and strategies that names the families which go together, the reasons for the others below."""
    strategies = list(dict.fromkeys(cell.strategy for cell in cells))
    reasons = list(dict.fromkeys(cell.refused for cell in cells if cell.refused))
    rows: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        rows.setdefault(cell.task, {}).setdefault(cell.strategy, []).append(cell)
    lines = [f"| task | {' | '.join(strategies)} |", "|---" * (len(strategies) + 1) + "|"]
    lines += [
        f"| {task} | {' | '.join(_said(row[name], reasons) for name in strategies)} |" for task, row in rows.items()
    ]
    return "\n".join([*lines, "", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))])


def _said(cells: Sequence[Cell], reasons: Sequence[str]) -> str:
    """`BERT, GPT [1]`: the families that work, and the numbers of the reasons why others do not."""
    works = [cell.family for cell in cells if not cell.refused]
    numbers = sorted({reasons.index(cell.refused) + 1 for cell in cells if cell.refused})
    families = ", ".join(works) or "none"
    return " ".join([families if numbers else "all", *(f"[{number}]" for number in numbers)])


def with_matrix(page: str, table: str) -> str:
    """The page with the table between its marker comments. Raises: ValueError where it has not both, in order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN} and {END} in the page; put them where the table belongs")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(path: str) -> None:
    page = Path(path)
    page.write_text(with_matrix(page.read_text(encoding="utf-8"), as_markdown(support_matrix())), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
