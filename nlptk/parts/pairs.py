"""Pairs of texts: features with a window of each, what merges them, decisions, and what a report shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nlptk.errors import RecipeError
from nlptk.task import Features, Figure, LabelSpace, Section

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from tokenizers import Encoding

YES_NAMES = (("0", "1"), ("false", "true"), ("no", "yes"), ("negative", "positive"))
"""Labels of which the second is that of pairs that belong together."""
SCORE_BINS = 5
HARDEST = 20
LONGEST_SHOWN = 300  # characters of a text in the report


def pair_features(encoded: Sequence[Sequence[Any]], *, types: bool) -> dict[str, list[Any]]:
    """encoded: for each side its rows, as `window_rows` gives them. `input_ids`: of a feature, one list a side.

    A feature has one window of every side; the side with fewer of them repeats its last. fresh: which are no repeats.
    """
    names = ("input_ids", *(("token_type_ids",) if types else ()), "fresh", "row", "length", "lost", "tokens")
    features: dict[str, list[Any]] = {name: [] for name in names}
    for index, sides in enumerate(zip(*encoded, strict=True)):
        for position in range(max(len(side.windows) for side in sides)):
            windows: list[Encoding] = [side.windows[min(position, len(side.windows) - 1)] for side in sides]
            features["input_ids"].append([window.ids for window in windows])
            if types:
                features["token_type_ids"].append([window.type_ids for window in windows])
            features["fresh"].append([position < len(side.windows) for side in sides])
            features["row"].append(index)
            features["length"].append(max(len(window.ids) for window in windows))
            features["lost"].append(sum(side.lost for side in sides) if position == 0 else 0)
            features["tokens"].append(sum(side.tokens for side in sides) if position == 0 else 0)
    return features


def merged_windows(outputs: Sequence[np.ndarray], features: Features) -> np.ndarray:
    """The mean over the windows of a row, repeats left out: (rows, *shape of an output)."""
    import numpy as np

    rows = np.asarray(features.dataset["row"])
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    values, fresh = np.asarray(outputs), np.asarray(features.dataset["fresh"], dtype=np.float32)
    weights = fresh.reshape(*fresh.shape, *(1,) * (values.ndim - fresh.ndim))
    merged: np.ndarray = np.add.reduceat(values * weights, starts) / np.add.reduceat(weights, starts)
    return merged


def positive_name(names: Sequence[str]) -> str:
    """The label of pairs that belong together, by its name. Raises: RecipeError where it does not tell."""
    folded = {name.casefold(): name for name in names}
    for pair in YES_NAMES:
        if set(folded) == set(pair):
            return folded[pair[1]]
    for name, other in (names, reversed(names)):
        if other.endswith(name):  # not_paraphrase, paraphrase
            return name
    raise RecipeError(
        f"task.positive_label: missing; which of {list(names)} is the label of pairs that belong together?"
    )


def decision_figures(said: np.ndarray, gold: np.ndarray, *, bootstrap: int, seed: int) -> dict[str, Figure]:
    """F1 and accuracy of a decision; said, gold: (rows,)."""
    from nlptk.metrics import classification_figures

    decided = said[:, None].astype(int)
    found = classification_figures(
        decided.astype(float),
        gold[:, None].astype(int),
        LabelSpace(("yes",), multi=True),
        predictions=decided,
        bootstrap=bootstrap,
        seed=seed,
    )
    names = {"micro_f1": "f1", "subset_accuracy": "accuracy"}
    return {ours: found[name] for name, ours in names.items() if name in found}


TIED = (
    "Pearson and Spearman are those of the similarities (a bi-encoder's cosines). The scores, as predicted, are those "
    "on the scale of the data, cut off at the ends of its range, where some of them are tied."
)


def score_sections(scores: np.ndarray, gold: np.ndarray, rows: Dataset, *, span: tuple[float, float]) -> list[Section]:
    """The mean predicted score by gold score, hardest rows. scores, gold: (rows,); span: least and greatest score."""
    import numpy as np

    from nlptk.report import sections

    edges = np.linspace(*span, SCORE_BINS + 1)
    bins = np.digitize(gold, edges[1:-1])
    lines = [
        [f"{edges[b]:g} to {edges[b + 1]:g}", int((bins == b).sum()), float(scores[bins == b].mean())]
        for b in np.unique(bins).tolist()
    ]
    order = np.argsort(-np.abs(scores - gold), kind="stable")
    shown = [(row, f"{gold[row]:g}", f"{scores[row]:.2f}") for row in order[:HARDEST].tolist()]
    return [
        sections.table("By gold score", ["gold score", "rows", "mean predicted score"], lines, note=TIED),
        sections.examples("Hardest rows", _pair_examples(shown, rows)),
    ]


def decision_sections(
    similar: np.ndarray, gold: np.ndarray, rows: Dataset, *, names: tuple[str, str], threshold: float
) -> list[Section]:
    """What was confused, similarities by label, hardest rows. similar: (rows,); gold: (rows,) 0 and 1, by `names`."""
    import numpy as np

    from nlptk.report import sections

    said = similar >= threshold
    edges = np.histogram_bin_edges(similar, bins=30)
    counts = {name: np.histogram(similar[gold == yes], edges)[0].tolist() for yes, name in enumerate(names)}
    outcomes = [[int(((gold == g) & (said == s)).sum()) for s in (0, 1)] for g in (0, 1)]
    wrong = np.flatnonzero(said != gold)
    order = wrong[np.argsort(-np.abs(similar[wrong] - threshold), kind="stable")]
    shown = [(row, names[int(gold[row])], f"{similar[row]:.2f}") for row in order[:HARDEST].tolist()]
    return [
        sections.matrix("Confusion matrix", outcomes, row_labels=names, column_labels=names),
        sections.histogram(
            "Similarity by label",
            counts,
            edges=edges.tolist(),
            x_label="similarity",
            marks={"threshold": threshold},
        ),
        sections.examples("Hardest rows", _pair_examples(shown, rows)),
    ]


def _pair_examples(shown: Sequence[tuple[int, str, str]], rows: Dataset) -> list[dict[str, Any]]:
    found = []
    for row, gold, predicted in shown:
        source = rows[row]
        texts = (source[role][:LONGEST_SHOWN] for role in ("sentence1", "sentence2"))
        place = f"{source['source_file']}, row {source['source_row']}"
        found.append({"text": " ⟂ ".join(texts), "gold": gold, "predicted": predicted, "source": place})
    return found
