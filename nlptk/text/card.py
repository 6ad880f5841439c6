"""The model card of a pretrained model: what it is, what it read, how well it predicts text it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from nlptk.text.origin import Origin
from nlptk.text.recipe import PretrainRecipe, to_yaml

_PIPELINE_TAGS = {
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForSeq2SeqLM": "text2text-generation",
}
_FIGURES = {"loss": "loss (nats a predicted token)", "perplexity": "perplexity", "bits_per_byte": "bits per byte"}


def model_card(
    recipe: PretrainRecipe,
    origin: Origin,
    *,
    objective: str,
    figures: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, Any],
) -> str:
    """README.md. figures: column (start, unigram baseline, trained) -> figure -> value; facts: name -> value."""
    front = {
        "library_name": "transformers",
        "pipeline_tag": _PIPELINE_TAGS[origin.auto_class],
        "license": recipe.card.license,
        "language": recipe.card.language,
        "tags": ["nlptk"],
    }
    parts = [
        "---",
        yaml.safe_dump({key: value for key, value in front.items() if value is not None}, sort_keys=False).strip(),
        "---",
        f"\n# {origin.name}\n",
        f"A {origin.model.config.model_type} model of {facts['parameters']:,} parameters, pretrained by {objective} "
        f"with `nlptk pretrain`. Load it with `transformers.{origin.auto_class}.from_pretrained`.",
    ]
    if origin.new:
        parts.append(f"\nNot in the checkpoint it was continued from, and made anew: {', '.join(origin.new)}.")
    parts += ["\n## Data\n", *([f"{recipe.card.data}\n"] if recipe.card.data else [])]
    parts += [f"- {name}: {_said(value)}" for name, value in facts.items()]
    if figures:
        parts += ["\n## Held-out text\n", *_table(figures)]
    parts += ["\n## Recipe\n", "```yaml", to_yaml(recipe).strip(), "```\n"]
    return "\n".join(parts)


def _table(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    rows = [
        f"| {label} | {' | '.join(f'{found[name]:.4g}' for found in figures.values())} |"
        for name, label in _FIGURES.items()
    ]
    return [f"| | {' | '.join(figures)} |", f"|---|{'---:|' * len(figures)}", *rows]


def _said(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
