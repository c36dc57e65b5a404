"""Metrics of one query, by hand and beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.line
METRICS = ("ndcg", "mrr", "map", "ndcg@1", "ndcg@9")


def values(relevance, scores):
    from polytrainer.executors.comparison.ranking import values

    found = values(METRICS, np.array(relevance, np.float64), np.array(scores, np.float64))
    return dict(zip(METRICS, found, strict=True))


def test_by_hand():
    second = 1 / np.log2(3)
    expected = {"ndcg": (1 + 2 * second) / (2 + second), "mrr": 1, "map": 1, "ndcg@1": 0.5}
    assert values([2, 1, 0], [0.1, 0.3, 0]) == pytest.approx({**expected, "ndcg@9": expected["ndcg"]})
    assert values([0, 0, 1], [3, 2, 1]) == pytest.approx(
        {"ndcg": 0.5, "mrr": 1 / 3, "map": 1 / 3, "ndcg@1": 0, "ndcg@9": 0.5}
    )
    assert values([3], [-1e9]) == dict.fromkeys(METRICS, 1)


def test_equal_scores_gain_nothing():
    """Not by the order in which the documents come: of ndcg it is the mean over the orders, of mrr and map the last."""
    first, *others = (values(relevance, [1, 1, 1, 1]) for relevance in ([1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]))
    mean = (1 / np.log2(np.arange(4) + 2)).mean()
    assert first == pytest.approx({"ndcg": mean, "mrr": 0.25, "map": 0.25, "ndcg@1": 0.25, "ndcg@9": mean})
    assert others == [first, first]


def test_random_rankings_are_scikit_learns():
    from sklearn.metrics import average_precision_score, ndcg_score

    random = np.random.RandomState(0)
    for documents in range(2, 60):
        relevance, scores = random.randint(0, 5, documents), np.round(random.rand(documents), 1)
        relevance[0] = 4
        found = values(relevance, scores)
        for name, k in (("ndcg", None), ("ndcg@1", 1), ("ndcg@9", 9)):
            assert found[name] == pytest.approx(ndcg_score([relevance], [scores], k=k), abs=1e-12)
        assert found["map"] == pytest.approx(average_precision_score(relevance > 0, scores), abs=1e-12)
        assert found["mrr"] == 1 / (scores >= scores[relevance > 0].max()).sum()
