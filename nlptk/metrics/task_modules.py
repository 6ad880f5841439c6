"""`evaluate.Metric` modules of the text tasks: the inputs, scales and result keys of the Hub modules of the same name.

They stand on the functions that make the tasks' figures. What differs from the Hub's: what is undefined is None where
those say 0, and `seq_rep_4`, `partial_f1`, `distinct` and `novelty` have no counterpart there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Features, List, Value

from nlptk.errors import DataError
from nlptk.metrics.answers import answer_figures
from nlptk.metrics.correlations import similarity_figures
from nlptk.metrics.modules import LocalMetric
from nlptk.metrics.rows import check_references
from nlptk.metrics.spans import Scheme, entity_figures, per_type
from nlptk.metrics.summaries import NOVELTY_ORDERS, ROUGE, RougeWords, novelty_counts, rouge_scores
from nlptk.metrics.texts import DISTINCT_ORDERS, generation_figures
from nlptk.metrics.translations import (
    BleuTokens,
    corpus_metrics,
    measurable,
    sentence_statistics,
    translation_signatures,
)
from nlptk.metrics.words import words
from nlptk.task import Figure

Result = dict[str, Any]

_TEXT, _NUMBER = Value("string"), Value("float64")
TAGS = [Features({"predictions": List(_TEXT), "references": List(_TEXT)})]
TEXTS = [Features({"predictions": _TEXT, "references": kind}) for kind in (List(_TEXT), _TEXT)]
NUMBERS = [Features({"predictions": _NUMBER, "references": _NUMBER})]
PREDICTIONS = [Features({"predictions": _TEXT})]
WITH_SOURCES = [Features({"predictions": _TEXT, "sources": _TEXT})]
LIKELIHOODS = [Features({"nll": _NUMBER, "tokens": _NUMBER, "text_bytes": _NUMBER})]
ANSWERS = [
    Features(
        {
            "predictions": {"id": _TEXT, "prediction_text": _TEXT, "no_answer_probability": _NUMBER},
            "references": {"id": _TEXT, "answers": {"text": List(_TEXT), "answer_start": List(Value("int32"))}},
        }
    )
]
SCHEME = "scheme: None for seqeval's default mode, or 'IOB1', 'IOB2', 'IOE2', 'BIOES', 'BILOU' for its strict mode."


def value_of(figures: dict[str, Figure], name: str) -> float | None:
    """A figure's value; None where it is absent, hence undefined."""
    return figures[name].value if name in figures else None


class Seqeval(LocalMetric):
    summary = "Entity precision, recall and F1 of tag sequences: per type, over all entities, and token accuracy."
    options = SCHEME
    inputs = TAGS

    def _compute(self, *, predictions: Any, references: Any, scheme: Scheme | None = None) -> Result:
        figures = entity_figures(predictions, references, scheme=scheme)
        result: Result = {
            row["label"]: {
                "precision": row["precision"],
                "recall": row["recall"],
                "f1": row["f1"],
                "number": row["support"],
            }
            for row in per_type(predictions, references, scheme=scheme)
        }
        names = {"precision": "precision", "recall": "recall", "f1": "f1", "accuracy": "token_accuracy"}
        return result | {f"overall_{theirs}": value_of(figures, ours) for theirs, ours in names.items()}


class PartialF1(LocalMetric):
    summary = "Entity F1 in which an overlap counts one half, whatever the types (SemEval-2013 task 9, 'partial')."
    options = SCHEME
    inputs = TAGS

    def _compute(self, *, predictions: Any, references: Any, scheme: Scheme | None = None) -> Result:
        figures = entity_figures(predictions, references, scheme=scheme)
        names = ("partial_precision", "partial_recall", "partial_f1")
        return {name: value_of(figures, name) for name in names}


class SquadV2(LocalMetric):
    summary = "Exact match and F1 of SQuAD 2.0, in percent."
    options = (
        "predictions: dicts with id, prediction_text and no_answer_probability; references: dicts with id and answers, "
        "itself a dict with the lists text and answer_start. no_answer_threshold: answers with a higher probability of "
        "no answer are withheld, 1.0 by default."
    )
    inputs = ANSWERS

    def _compute(self, *, predictions: Any, references: Any, no_answer_threshold: float = 1.0) -> Result:
        given = {row["id"]: row for row in predictions}
        lacking = [row["id"] for row in references if row["id"] not in given]
        if lacking or len(given) != len(references):
            place = f"no prediction for id {lacking[0]!r}" if lacking else f"{len(given)} ids, {len(references)} gold"
            raise DataError(f"squad_v2: {place}; expected one prediction a reference, each id once")
        ordered = [given[row["id"]] for row in references]
        figures = answer_figures(
            [row["prediction_text"] for row in ordered],
            [row["answers"]["text"] for row in references],
            no_answer_scores=[row["no_answer_probability"] for row in ordered],
            threshold=no_answer_threshold,
        )
        return squad_keys(figures)


def squad_keys(figures: dict[str, Figure]) -> Result:
    """Figures under the keys and in the scale of SQuAD 2.0's script; those of an empty group are left out, as there."""
    shares = {
        "exact": "exact_match",
        "f1": "f1",
        "HasAns_exact": "has_answer_exact_match",
        "HasAns_f1": "has_answer_f1",
        "NoAns_exact": "no_answer_exact_match",
        "NoAns_f1": "no_answer_exact_match",
        "best_exact": "best_exact_match",
        "best_f1": "best_f1",
    }
    result: Result = {theirs: 100 * figures[ours].value for theirs, ours in shares.items() if ours in figures}
    groups = {"HasAns_total": figures["has_answer_rows"].value, "NoAns_total": figures["no_answer_rows"].value}
    result |= {name: int(rows) for name, rows in groups.items() if rows}
    result["total"] = int(sum(groups.values()))
    result["best_exact_thresh"] = figures["best_exact_match_threshold"].value
    result["best_f1_thresh"] = figures["best_f1_threshold"].value
    return result


class Rouge(LocalMetric):
    summary = "ROUGE-1, 2, L and Lsum: mean F-measures of rouge-score, in [0, 1]; the best of several references."
    options = "use_stemmer: Porter's. rouge_words: 'latin' for rouge-score's words, 'any' for words of any script."
    inputs = TEXTS

    def _compute(
        self, *, predictions: Any, references: Any, use_stemmer: bool = False, rouge_words: RougeWords = "latin"
    ) -> Result:
        each = rouge_scores(predictions, references, rouge_words=rouge_words, stemmer=use_stemmer)
        means = {ROUGE[name]: float(np.mean(values)) for name, values in each.items()}
        return {name: None if np.isnan(value) else value for name, value in means.items()}


class Sacrebleu(LocalMetric):
    summary = "Corpus BLEU by sacrebleu, in [0, 100], with its statistics and its signature."
    options = "tokenize: '13a', 'intl', 'zh', 'char' or 'none'. lowercase: False by default."
    inputs = TEXTS

    def _compute(
        self, *, predictions: Any, references: Any, tokenize: BleuTokens = "13a", lowercase: bool = False
    ) -> Result:
        score = _corpus_score("bleu", predictions, references, tokenize=tokenize, lowercase=lowercase)
        names = ("score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len")
        signature = translation_signatures(references, tokenize=tokenize, lowercase=lowercase)["bleu"]
        result = {name: getattr(score, name) for name in names} | {"signature": signature}
        return result if measurable(references) else result | {"score": None}


class Chrf(LocalMetric):
    summary = "Corpus chrF by sacrebleu, in [0, 100], with its signature."
    options = "word_order: 0 for chrF (the default), 2 for chrF++. lowercase: False by default."
    inputs = TEXTS

    def _compute(self, *, predictions: Any, references: Any, word_order: int = 0, lowercase: bool = False) -> Result:
        name = {0: "chrf", 2: "chrf++"}.get(word_order)
        if name is None:
            raise DataError(f"chrf: word_order {word_order!r}; expected 0 (chrF) or 2 (chrF++)")
        score = _corpus_score(name, predictions, references, tokenize="none", lowercase=lowercase)
        result = {key: getattr(score, key) for key in ("score", "char_order", "word_order", "beta")}
        result["signature"] = translation_signatures(references, lowercase=lowercase)[name]
        return result if measurable(references) else result | {"score": None}


def _corpus_score(name: str, predictions: Any, references: Any, *, tokenize: BleuTokens, lowercase: bool) -> Any:
    metric = corpus_metrics(tokenize, lowercase=lowercase)[name]
    statistics = sentence_statistics(metric, list(predictions), check_references(references))
    return metric._compute_score_from_stats(statistics.sum(axis=0).astype(int).tolist())


class Pearsonr(LocalMetric):
    summary = "Pearson correlation, in [-1, 1]; None where one side is constant."
    inputs = NUMBERS

    def _compute(self, *, predictions: Any, references: Any) -> Result:
        return {"pearsonr": value_of(similarity_figures(predictions, references), "pearson")}


class Spearmanr(LocalMetric):
    summary = "Spearman rank correlation, in [-1, 1]; ties have their mean rank. None where one side is constant."
    inputs = NUMBERS

    def _compute(self, *, predictions: Any, references: Any) -> Result:
        return {"spearmanr": value_of(similarity_figures(predictions, references), "spearman")}


class Distinct(LocalMetric):
    summary = "Different n-grams by words over all texts together, n = 1, 2, 3 (Li et al. 2016); None without words."
    inputs = PREDICTIONS

    def _compute(self, *, predictions: Any) -> Result:
        figures = generation_figures(generated=predictions)
        return {name: value_of(figures, name) for name in (f"distinct_{n}" for n in DISTINCT_ORDERS)}


class SeqRep4(LocalMetric):
    summary = "Share of repeated 4-grams of a text, mean over texts that have any (Welleck et al. 2020)."
    inputs = PREDICTIONS

    def _compute(self, *, predictions: Any) -> Result:
        return {"seq_rep_4": value_of(generation_figures(generated=predictions), "seq_rep_4")}


class Novelty(LocalMetric):
    summary = "Share of the predictions' n-grams that their sources lack, n = 1 ... 4; None where there are none."
    inputs = WITH_SOURCES

    def _compute(self, *, predictions: Any, sources: Any) -> Result:
        counts = novelty_counts([words(text) for text in predictions], map(words, sources))
        totals = {name: float(values.sum()) for name, values in counts.items()}
        return {
            f"novelty_{n}": totals[f"novel_{n}"] / totals[f"ngrams_{n}"] if totals[f"ngrams_{n}"] else None
            for n in NOVELTY_ORDERS
        }


class Perplexity(LocalMetric):
    summary = "Perplexity and bits per byte from summed negative log-likelihoods in nats. Lower is better."
    options = (
        "nll, tokens, text_bytes: a row's sum over its predicted tokens, their number, and the text's UTF-8 bytes."
    )
    inputs = LIKELIHOODS

    def _compute(self, *, nll: Any, tokens: Any, text_bytes: Any) -> Result:
        figures = generation_figures(nll, tokens, text_bytes)
        return {name: value_of(figures, name) for name in ("perplexity", "bits_per_byte")}
