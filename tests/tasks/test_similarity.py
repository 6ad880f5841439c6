"""The similarity task by itself: losses, poolings, windows, scales, thresholds, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from pydantic import ValidationError
from scipy.stats import spearmanr
from sentence_transformers.sentence_transformer.losses import (
    ContrastiveLoss,
    CoSENTLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Pooling
from sklearn.metrics import accuracy_score, f1_score

from nlptk import registry
from nlptk.errors import DataError, RecipeError
from nlptk.parts.embeddings import in_batch_negatives, pool_tokens
from nlptk.task import Features, LabelSpace, Ledger, Preprocessing, Task
from tests.strategies.families import tokenizer

PAIRS, DIM = 6, 8
LABELS = LabelSpace(("not_same", "same"))
SCORED: dict[str, Any] = {"score_range": [0.0, 5.0], "pooling": "mean"}


def _task(
    labels: LabelSpace | None = None, decision: dict[str, Any] | None = None, **options: Any
) -> Any:  # with what the task has beside the contract
    cls = registry.get_task("similarity")
    return cls(cls.Options.model_validate(options), labels=labels, decision=decision)


def _embedded(task: Task, *, equal: tuple[int, int] | None = None) -> Any:
    """A batch of random vectors, as `forward` gives them; equal: two pairs whose second texts are the same."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.arange(PAIRS * 2 * 3).view(PAIRS, 2, 3)
    if equal is not None:
        ids[equal[1], 1] = ids[equal[0], 1]
    vectors = torch.randn(PAIRS, 2, DIM, generator=generator).requires_grad_()

    def model(**_: Any) -> Any:
        return type("Output", (), {"last_hidden_state": vectors.flatten(0, 1)[:, None, :]})

    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)[:, :, :1]}
    return task.forward(model, batch)  # type: ignore[arg-type]  # no module is needed


def _rows(**columns: list[Any]) -> Dataset:
    count = len(next(iter(columns.values())))
    texts = {"sentence1": ["one"] * count, "sentence2": ["two"] * count}
    places = {"source_file": ["rows.csv"] * count, "source_row": list(range(count))}
    return Dataset.from_dict({**texts, **columns, **places})


def _features(rows: list[int], fresh: list[Any], lost: list[int] | None = None) -> Features:
    return Features(Dataset.from_dict({"row": rows, "fresh": fresh, "lost": lost or [0] * len(rows)}), Ledger())


@pytest.mark.parametrize(
    ("loss", "theirs", "labelled"),
    [("cosent", CoSENTLoss, False), ("mse", CosineSimilarityLoss, False), ("contrastive", ContrastiveLoss, True)],
)
def test_losses_are_those_of_sentence_transformers(loss: str, theirs: Any, labelled: bool) -> None:
    task = _task(LABELS, None if labelled else SCORED, loss=loss)
    task.decision["pooling"] = "mean"
    labels = torch.tensor([0.0, 1, 1, 0, 1, 0] if labelled else [0.0, 5, 2.5, 2.5, 4, 1])
    outputs = _embedded(task)
    ours = task.loss(outputs, labels) / task.loss_items(labels)
    model: Any = torch.nn.Identity()
    expected = theirs(model).compute_loss_from_embeddings(
        list(outputs.vectors.unbind(1)), labels if labelled else labels / 5
    )
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(x, outputs.vectors, retain_graph=True)[0] for x in (ours, expected))
    )


def test_in_batch_negatives_is_the_multiple_negatives_ranking_loss() -> None:
    task = _task(LABELS, {"pooling": "mean"}, loss="in_batch_negatives")
    outputs, labels = _embedded(task), torch.ones(PAIRS)
    model: Any = torch.nn.Identity()
    expected = MultipleNegativesRankingLoss(model).compute_loss_from_embeddings(list(outputs.vectors.unbind(1)), labels)
    torch.testing.assert_close(task.loss(outputs, labels) / task.loss_items(labels), expected)


def test_pairs_that_do_not_belong_together_are_only_candidates() -> None:
    task = _task(LABELS, {"pooling": "mean"}, loss="in_batch_negatives")
    outputs, labels = _embedded(task), torch.tensor([1.0, 0, 1, 1, 0, 0])
    first, second = torch.nn.functional.normalize(outputs.vectors, dim=2).unbind(1)
    by_pair = torch.nn.functional.cross_entropy(20 * first @ second.T, torch.arange(PAIRS), reduction="none")
    torch.testing.assert_close(task.loss(outputs, labels), by_pair[[0, 2, 3]].sum())
    assert task.loss_items(labels) == 3
    none = torch.zeros(PAIRS)
    assert (task.loss(outputs, none).item(), task.loss_items(none)) == (0.0, 0)


def test_a_repeated_second_text_is_no_negative_of_its_own_pair() -> None:
    task = _task(LABELS, {"pooling": "mean"}, loss="in_batch_negatives")
    outputs = _embedded(task, equal=(0, 1))
    first, second = torch.nn.functional.normalize(outputs.vectors, dim=2).unbind(1)
    logits = 20 * first @ second.T
    kept = [[j for j in range(PAIRS) if i == j or {i, j} != {0, 1}] for i in range(PAIRS)]
    expected = sum((logits[i, kept[i]].logsumexp(0) - logits[i, i]).item() for i in range(PAIRS))
    assert task.loss(outputs, torch.ones(PAIRS)).item() == pytest.approx(expected, rel=1e-5)


def test_another_right_answer_to_the_same_first_text_is_no_negative() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.nn.functional.normalize(torch.randn(2, 3, DIM, generator=generator), dim=2)
    ids = torch.tensor([[[1], [2]], [[1], [3]], [[1], [4]]])  # one question; the last answer is a wrong one
    positive = torch.tensor([True, True, False])
    logits = 20 * first @ second.T
    expected = sum(logits[i, [i, 2]].logsumexp(0) - logits[i, i] for i in (0, 1))
    torch.testing.assert_close(in_batch_negatives(first, second, positive, ids=ids), expected)


@pytest.mark.parametrize(("ours", "theirs"), [("mean", "mean"), ("cls", "cls"), ("last", "lasttoken")])
def test_poolings_are_those_of_sentence_transformers(ours: Any, theirs: Any) -> None:
    hidden = torch.randn(3, 5, DIM, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    expected = Pooling(DIM, theirs)({"token_embeddings": hidden, "attention_mask": mask})["sentence_embedding"]
    torch.testing.assert_close(pool_tokens(hidden, mask, ours), expected)


def test_a_cross_encoder_learns_the_share_of_the_range_by_cross_entropy() -> None:
    task = _task(decision=SCORED, form="cross_encoder")
    logits, labels = torch.tensor([[0.3], [-1.0], [2.0]]), torch.tensor([5.0, 0.0, 3.0])
    loss = task.loss(type("Output", (), {"logits": logits}), labels) / task.loss_items(labels)
    expected = torch.nn.functional.binary_cross_entropy(logits[:, 0].sigmoid(), torch.tensor([1.0, 0.0, 0.6]))
    torch.testing.assert_close(loss, expected)


def test_windows_of_a_text_are_averaged_and_repeats_left_out() -> None:
    generator = np.random.default_rng(0)
    a, b, c, d = generator.normal(size=(4, DIM)).astype(np.float32)
    # the second text of row 1 has one window, which goes with both windows of the first text
    outputs = [np.stack([a, b]), np.stack([a, c]), np.stack([b, c])]
    fresh = [[True, True], [True, True], [True, False]]
    found = _task(decision=SCORED).pool(outputs, _features([0, 1, 1], fresh))

    def cosine(x: Any, y: Any) -> float:
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    assert found == pytest.approx([cosine(a, b), cosine((a + b) / 2, c)], abs=1e-6)
    embedded = _task(decision=SCORED).text_embeddings([x[None] for x in (a, b, d)], _features([0, 0, 1], [[True]] * 3))
    np.testing.assert_allclose(embedded, [(a + b) / 2, d], rtol=1e-6)


def test_a_feature_has_a_window_of_each_text_and_every_token_is_in_one() -> None:
    tokens = tokenizer()
    words = [f"w{index}" for index in range(1, 30)]
    texts = {"sentence1": [" ".join(words[:20]), words[0]], "sentence2": [" ".join(words[:6]), words[1]]}
    found = _task(decision=SCORED).featurize(texts, tokens, Preprocessing(8, "window"))
    assert found["row"] == [0] * 4 + [1]
    assert found["fresh"] == [[True, True]] + [[True, False]] * 3 + [[True, True]]
    for side, role in enumerate(texts):
        plain = tokens(texts[role][0], add_special_tokens=False)["input_ids"]
        windows = [
            ids[side][1:-1]  # without [CLS] and </s>
            for ids, fresh in zip(found["input_ids"][:4], found["fresh"], strict=False)
            if fresh[side]
        ]
        assert [token for window in windows for token in window] == plain
    assert sum(found["lost"]) == 0
    assert found["tokens"] == [26, 0, 0, 0, 2]


def test_tokens_cut_from_either_text_are_counted_and_the_pair_flagged() -> None:
    tokens = tokenizer()
    words = [f"w{index}" for index in range(1, 30)]
    texts = {"sentence1": [" ".join(words[:20]), words[0]], "sentence2": [" ".join(words[:9]), words[1]]}
    task = _task(decision=SCORED)
    found = task.featurize(texts, tokens, Preprocessing(8))
    room = 8 - tokens.num_special_tokens_to_add()
    assert found["lost"] == [20 - room + 9 - room, 0]
    features = Features(Dataset.from_dict({key: found[key] for key in ("row", "fresh", "lost")}), Ledger())
    assert [row["truncated"] for row in task.decode([0.5, 0.5], texts, features)] == [True, False]


def test_a_score_is_on_the_scale_of_the_data_and_within_its_range() -> None:
    task = _task(decision={"score_range": [1.0, 5.0], "pooling": "mean"}, loss="mse")
    found = task.decode([-0.5, 0.0, 0.25, 1.0], {}, _features([0, 1, 2, 3], [[True, True]] * 4))
    assert [row["score"] for row in found] == [1.0, 1.0, 2.0, 5.0]


def test_cosines_that_are_only_ranked_are_put_on_the_scale_by_least_squares() -> None:
    cosines, gold = np.array([0.5, 0.6, 0.8, 0.9]), [0.0, 1.0, 3.5, 4.0]
    task = _task(decision=dict(SCORED))
    task.tune(list(cosines), _rows(score=gold))
    design = np.stack([cosines, np.ones(4)], axis=1)
    expected = design @ np.linalg.lstsq(design, np.array(gold), rcond=None)[0]
    found = task.decode(list(cosines), {}, _features([0, 1, 2, 3], [[True, True]] * 4))
    assert [row["score"] for row in found] == pytest.approx(np.clip(expected, 0, 5).tolist())


@pytest.mark.parametrize("cosines", [[0.5, 0.5, 0.5], [0.9, 0.5, 0.1]])
def test_a_line_that_does_not_rise_is_not_taken(cosines: list[float]) -> None:
    task = _task(decision={**SCORED, "line": [7.0, 7.0]})
    task.tune(cosines, _rows(score=[0.0, 2.0, 4.0]))
    assert "line" not in task.decision


def test_the_threshold_is_tuned_and_measured_on_other_rows() -> None:
    generator = np.random.default_rng(0)
    gold = generator.random(300) < 0.3
    similar = np.clip(0.5 + 0.2 * gold + 0.1 * generator.normal(size=300), -1, 1)
    task = _task(LABELS, {"pooling": "mean"})
    assert task.threshold() == 0.75  # halfway between the margin and 1, before anything is tuned
    task.tune(list(similar[:150]), _rows(label=gold[:150].astype(int).tolist()))
    cuts = np.unique(similar[:150])
    best = max(f1_score(gold[:150], similar[:150] >= cut) for cut in cuts)
    assert f1_score(gold[:150], similar[:150] >= task.threshold()) == best
    scores = task.score(list(similar[150:]), _rows(label=gold[150:].astype(int).tolist()), bootstrap=50, sections=True)
    said = similar[150:] >= task.threshold()
    assert scores.figures["f1"].value == pytest.approx(f1_score(gold[150:], said))
    assert scores.figures["accuracy"].value == pytest.approx(accuracy_score(gold[150:], said))
    assert scores.figures["f1"].low is not None
    assert scores.figures["best_f1"].value >= scores.figures["f1"].value


def test_a_given_threshold_decides() -> None:
    task = _task(LABELS, {"pooling": "mean"}, threshold=0.3)
    task.tune([0.1, 0.9], _rows(label=[0, 1]))
    found = task.decode([0.29, 0.3], {}, _features([0, 1], [[True, True]] * 2))
    assert [row["label"] for row in found] == ["not_same", "same"]
    assert [row["score"] for row in found] == [0.29, 0.3]


def test_figures_of_scores_are_scipys_with_intervals_and_sections() -> None:
    generator = np.random.default_rng(0)
    gold = generator.random(100) * 5
    cosines = np.clip(gold / 5 + 0.2 * generator.normal(size=100), -1, 1)
    scores = _task(decision=SCORED).score(list(cosines), _rows(score=gold.tolist()), bootstrap=50, sections=True)
    figure = scores.figures["spearman"]
    assert figure.value == pytest.approx(spearmanr(cosines, gold).statistic)
    assert figure.low is not None
    assert figure.low < figure.value
    assert [part["title"] for part in scores.sections] == ["By gold score", "Hardest rows"]
    assert sum(row[1] for row in scores.sections[0]["rows"]) == 100
    assert scores.sections[0]["note"].startswith("Pearson and Spearman are those of the similarities")


@pytest.mark.parametrize(("cosines", "gold"), [([0.5, 0.5], [1.0, 2.0]), ([0.1, 0.5], [2.0, 2.0])])
def test_what_no_correlation_is_defined_for_counts_as_0_with_a_warning(cosines: list[float], gold: list[float]) -> None:
    scores = _task(decision=SCORED).score(cosines, _rows(score=gold))
    assert scores.figures["spearman"].value == 0.0
    assert "spearman is undefined" in scores.warnings[0]


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("0", "1"), "1"),
        (("False", "True"), "True"),
        (("not_paraphrase", "paraphrase"), "paraphrase"),
        (("related", "unrelated"), "related"),
        (("-1", "1"), "1"),
    ],
)
def test_the_positive_label_is_told_by_its_name(names: tuple[str, str], positive: str) -> None:
    task = _task(LabelSpace(names), {"pooling": "mean"})
    task.fit(_rows(label=[0, 1]))
    assert [p["label"] for p in task.decode([1.0], {}, _features([0], [[True, True]]))] == [positive]


def test_a_positive_label_that_no_name_tells_must_be_given() -> None:
    space = LabelSpace(("different", "same"))
    with pytest.raises(RecipeError, match="positive_label"):
        _task(space).fit(_rows(label=[0, 1]))
    task = _task(space, {"pooling": "mean"}, positive_label="different")
    task.fit(_rows(label=[0, 1]))
    assert task.decode([1.0], {}, _features([0], [[True, True]]))[0]["label"] == "different"


@pytest.mark.parametrize(
    ("options", "columns", "labels", "said"),
    [
        ({"positive_label": "sane"}, {"label": [0, 1]}, LABELS, "sane"),
        ({}, {"label": [0, 1, 2]}, LabelSpace(("a", "b", "c")), "expected two"),
        ({}, {"label": [[0], [1]]}, LabelSpace(("0", "1"), multi=True), "one label a pair"),
        ({"loss": "contrastive"}, {"score": [0.0, 1.0]}, None, "learns from labels"),
        ({"score_range": (0, 4)}, {"score": [0.0, 5.0]}, None, "hold"),
        ({}, {"score": [3.0, 3.0]}, None, "every pair has the score 3"),
        ({}, {}, None, "neither score nor label"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    options: dict[str, Any], columns: dict[str, Any], labels: LabelSpace | None, said: str
) -> None:
    rows = _rows(**columns) if columns else Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"]})
    with pytest.raises((RecipeError, DataError), match=said):
        _task(labels, **options).fit(rows)


@pytest.mark.parametrize("options", [{"loss": "mse"}, {"pooling": "cls"}])
def test_a_cross_encoder_has_neither_loss_nor_pooling(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="only a bi_encoder"):
        _task(form="cross_encoder", **options)


def test_a_range_is_from_less_to_more() -> None:
    with pytest.raises(ValidationError, match="least score before"):
        _task(score_range=(5, 0))


def test_rows_with_another_target_than_the_model_was_trained_on_are_refused() -> None:
    with pytest.raises(DataError, match="no score; this model learns from scores"):
        _task(decision=SCORED).score([0.1, 0.2], _rows(label=[0, 1]))


def test_a_pair_without_a_score_among_scored_ones_is_refused() -> None:
    rows = {"sentence1": ["one", "three"], "sentence2": ["two", "four"], "score": [1.0, None], "label": [None, 1]}
    with pytest.raises(DataError, match="'three' and 'four': no score"):
        _task(decision=SCORED).featurize(rows, tokenizer(), Preprocessing(16))
