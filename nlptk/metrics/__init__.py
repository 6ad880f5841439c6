"""Local metrics: `evaluate.Metric` modules that never touch the network, and every figure of a task in one call.

    >>> import numpy as np
    >>> from nlptk.metrics import classification_figures
    >>> from nlptk.task import LabelSpace
    >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    >>> figures = classification_figures(probabilities, [0, 1, 1, 0], LabelSpace(("no", "yes")))
    >>> figures["accuracy"].value, figures["roc_auc"].value
    (0.75, 1.0)

Each task has its function, with bootstrap intervals: `classification_figures`, `entity_figures`, `answer_figures`,
`summary_figures`, `similarity_figures`, `generation_figures`, `translation_figures`.

Importing this package loads numpy and nothing heavier: scikit-learn, scipy, evaluate, seqeval, rouge-score, sacrebleu
are imported when needed.
"""

from nlptk.metrics.answers import answer_figures, best_threshold
from nlptk.metrics.calibration import expected_calibration_error, reliability_bins
from nlptk.metrics.correlations import similarity_figures
from nlptk.metrics.figures import classification_figures
from nlptk.metrics.registry import load, names
from nlptk.metrics.rejection import out_of_scope_figures, rejection_figures
from nlptk.metrics.spans import entity_figures, entity_spans, per_type
from nlptk.metrics.summaries import rouge_scores, summary_figures
from nlptk.metrics.tables import confusion, per_class
from nlptk.metrics.texts import generation_figures
from nlptk.metrics.thresholds import tune_thresholds
from nlptk.metrics.translations import chrf_scores, translation_figures, translation_signatures
from nlptk.metrics.words import MOSTLY, share_of_letters

__all__ = [
    "MOSTLY",
    "answer_figures",
    "best_threshold",
    "chrf_scores",
    "classification_figures",
    "confusion",
    "entity_figures",
    "entity_spans",
    "expected_calibration_error",
    "generation_figures",
    "load",
    "names",
    "out_of_scope_figures",
    "per_class",
    "per_type",
    "rejection_figures",
    "reliability_bins",
    "rouge_scores",
    "share_of_letters",
    "similarity_figures",
    "summary_figures",
    "translation_figures",
    "translation_signatures",
    "tune_thresholds",
]
