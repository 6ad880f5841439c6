"""What a report shows of rows that were given labels: one each, or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nlptk.task import LabelSpace, Section

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

HARDEST = 20
LONGEST_SHOWN = 400  # characters of a text in the report


def label_warnings(decided: np.ndarray, references: np.ndarray, space: LabelSpace) -> list[str]:
    """Whether the rows all have, or are all given, the same, or are given what none has. decided, references: (rows,),
    or (rows, labels) of 0 and 1."""
    if not (references != references[0]).any():
        return [f"every row has {label_names(references[0], space)!r}: the figures say nothing of other labels"]
    if (decided != decided[0]).any():
        return _unfounded(decided, references, space)
    names = label_names(decided[0], space)
    if not space.multi:
        return [f"predicts only {names!r}: no better than always naming it"]
    if not decided[0].any():
        return ["predicts no label for any row: no better than never naming one"]
    return [f"predicts the same labels for every row ({names}): no better than always naming them"]


def _unfounded(decided: np.ndarray, references: np.ndarray, space: LabelSpace) -> list[str]:
    """A warning of labels that are predicted and that no row has."""
    import numpy as np

    places = np.arange(len(space.names))
    given, has = (values.any(axis=0) if space.multi else np.isin(places, values) for values in (decided, references))
    names = [space.names[place] for place in np.flatnonzero(given & ~has)]
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [
        f"no row has {', '.join(map(repr, names[:3]))}{more}, which some are given: in macro F1 each such label counts "
        "as 0"
    ]


def labelled_sections(
    probabilities: np.ndarray,
    decided: np.ndarray,
    references: np.ndarray,
    rows: Dataset,
    space: LabelSpace,
    *,
    thresholds: Sequence[float] = (),
) -> list[Section]:
    """By label, what was confused, reliability, hardest rows.

    probabilities: (rows, labels). thresholds: of a multi-label space's labels.
    """
    from nlptk.metrics import confusion, expected_calibration_error, per_class, reliability_bins
    from nlptk.report import sections

    names = list(space.names)
    classes = per_class(decided, references, space)
    keys = ("label", "precision", "recall", "f1", "support")
    parts = [sections.table("By label", list(keys), [list(row.values()) for row in classes])]
    counted = confusion(decided, references, space)
    if space.multi:
        columns = ["label", "true positives", "false positives", "false negatives", "true negatives", "threshold"]
        table = [
            [name, int(found[1, 1]), int(found[0, 1]), int(found[1, 0]), int(found[0, 0]), threshold]
            for name, found, threshold in zip(names, counted, thresholds, strict=True)
        ]
        parts.append(sections.table("Right and wrong by label", columns, table))
    else:
        parts.append(
            sections.matrix(
                "Confusion matrix",
                counted.tolist(),
                row_labels=names,
                column_labels=names,
                row_axis="gold",
                column_axis="predicted",
            )
        )
    bins = reliability_bins(probabilities, references, space)
    ece = expected_calibration_error(probabilities, references, space)
    parts.append(sections.reliability("Reliability", bins, ece=ece))
    parts.append(sections.examples("Hardest rows", _hardest(probabilities, decided, references, rows, space)))
    return parts


def _hardest(
    probabilities: np.ndarray, decided: np.ndarray, references: np.ndarray, rows: Dataset, space: LabelSpace
) -> list[dict[str, Any]]:
    import numpy as np

    clipped = np.clip(probabilities, 1e-12, 1 - 1e-12)
    if space.multi:
        losses = -(references * np.log(clipped) + (1 - references) * np.log1p(-clipped)).mean(axis=1)
    else:
        losses = -np.log(clipped[np.arange(len(references)), references])
    hardest = []
    for row in np.argsort(-losses, kind="stable")[:HARDEST].tolist():
        source = rows[row]
        texts = [source["text"], source.get("text_pair")]
        hardest.append(
            {
                "text": " ⟂ ".join(text[:LONGEST_SHOWN] for text in texts if text),
                "gold": label_names(references[row], space),
                "predicted": label_names(decided[row], space),
                "loss": float(losses[row]),
                "source": f"{source['source_file']}, row {source['source_row']}",
            }
        )
    return hardest


def label_names(decision: Any, space: LabelSpace) -> str:
    """A row's label, or its labels; decision: an id, or 0 and 1 for every label."""
    if not space.multi:
        return space.names[int(decision)]
    return ", ".join(space.names[i] for i, chosen in enumerate(decision) if chosen) or "none"
