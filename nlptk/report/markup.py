"""Text and numbers as they appear in HTML and SVG: escaped, and of a sensible length."""

from __future__ import annotations

import html
import math
import re
from typing import Any

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
"""Control characters, which HTML and SVG do not allow even escaped."""

NAMES = {
    "roc_auc": "ROC AUC",
    "mcc": "Matthews correlation",
    "ece": "Calibration error (ECE)",
    "brier": "Brier score",
    "micro_f1": "Micro F1",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "f1": "F1",
    "log_loss": "Log loss",
    "macro_labels": "Labels in the macro averages",
    "roc_auc_labels": "Labels in ROC AUC",
    "average_precision_labels": "Labels in average precision",
}
LOWER_IS_BETTER = ("log_loss", "loss", "brier", "ece", "hamming_loss", "perplexity", "error")


def escape(value: object) -> str:
    """Any value as text that is safe between tags and in quoted attributes."""
    return html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(value)), quote=True)


def name_of(figure: str) -> str:
    """A figure's key as people write it: macro_f1 -> Macro F1."""
    words = figure.replace("_", " ").strip()
    return NAMES.get(figure, words[:1].upper() + words[1:])


def number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits; large ones grouped, tiny ones as 2.5e-05, integers whole."""
    if not math.isfinite(value):
        return "—"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace("-", "−")
    text = f"{value:.{digits}g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def measured(value: float | None) -> str:
    """A figure's value: three decimals below 10 (0.931), four significant digits above."""
    if value is None:
        return "—"
    return f"{value:.3f}".replace("-", "−") if abs(value) < 10 and value != int(value) else number(value)


def interval(low: float | None, high: float | None) -> str:
    """[0.919, 0.942], or an empty string where there is no interval."""
    return "" if low is None or high is None else f"[{decimal(low)}, {decimal(high)}]"


def decimal(value: float) -> str:
    """An interval's end, always with decimals below 10: 1.000 beside 0.931."""
    return f"{value:.3f}".replace("-", "−") if abs(value) < 10 else number(value)


def is_number(value: Any) -> bool:
    """Whether a cell is a number; a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def cell(value: Any) -> str:
    """A table cell or a fact as escaped HTML."""
    if value is None or value == "":
        return '<span class="none">—</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        return number(value)
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value) or '<span class="none">—</span>'
    if isinstance(value, dict):
        return ", ".join(f"{escape(key)} {cell(item)}" for key, item in value.items()) or "—"
    return f"<bdi>{escape(value)}</bdi>"


def shortened(text: str, length: int) -> str:
    """The text, or its beginning and an ellipsis, at most `length` characters; not escaped."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
