"""TF-IDF with logistic regression on the built-in messages: what the demo's fine-tuned model is to be compared with.

    python benchmarks/sample_baseline.py

C is chosen on the validation rows. The messages are synthetic, and their wordings were written while a baseline's test
score was in view, so the figures say how hard the sample is, not how good a method is on real messages.
"""

from __future__ import annotations

import json

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from nlptk.samples import sample_path


def read(split: str) -> tuple[list[str], list[str]]:
    """Texts and labels of a split."""
    lines = sample_path(f"messages_{split}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["text"] for row in rows], [row["label"] for row in rows]


def main() -> None:
    """Test accuracy with words, and with character n-grams."""
    train, validation, test = (read(split) for split in ("train", "validation", "test"))
    analyzers = {"words": ("word", (1, 2)), "characters": ("char_wb", (2, 5))}
    for name, (analyzer, ngrams) in analyzers.items():
        found = []
        for c in (0.3, 1.0, 3.0, 10.0, 30.0):
            vectors = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, sublinear_tf=True)
            model = make_pipeline(vectors, LogisticRegression(C=c, max_iter=2000)).fit(*train)
            found.append((model.score(*validation), c, model.score(*test)))
        best, c, accuracy = max(found)
        print(f"TF-IDF of {name:<10} C={c:<4} validation {best:.3f}   test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
