"""Local metrics: `evaluate.Metric` modules that never touch the network, and every figure of a classifier in one call.

    >>> import numpy as np
    >>> from nlptk.metrics import classification_figures
    >>> from nlptk.task import LabelSpace
    >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    >>> figures = classification_figures(probabilities, [0, 1, 1, 0], LabelSpace(("no", "yes")))
    >>> figures["accuracy"].value, figures["roc_auc"].value
    (0.75, 1.0)

Importing this package loads numpy and nothing heavier: scikit-learn, scipy and evaluate are imported when needed.
"""

from nlptk.metrics.calibration import expected_calibration_error, reliability_bins
from nlptk.metrics.figures import classification_figures
from nlptk.metrics.registry import load, names
from nlptk.metrics.tables import confusion, per_class
from nlptk.metrics.thresholds import tune_thresholds

__all__ = [
    "classification_figures",
    "confusion",
    "expected_calibration_error",
    "load",
    "names",
    "per_class",
    "reliability_bins",
    "tune_thresholds",
]
