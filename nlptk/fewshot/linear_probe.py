"""linear_probe: frozen features and logistic regression."""

from __future__ import annotations

from nlptk.fewshot.contract import Material, Method
from nlptk.parts.methods import LinearProbeOptions
from nlptk.parts.support import Head, logistic_head


class LinearProbe(Method):
    """Nothing of the encoder trains."""

    options: LinearProbeOptions

    def head(self, material: Material) -> Head:
        penalty = self.options.inverse_penalty
        return logistic_head(
            material.vectors, material.labels, material.names, inverse_penalty=penalty, seed=material.seed
        )
