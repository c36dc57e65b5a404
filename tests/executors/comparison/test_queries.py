"""Rankings: what is compared are queries, each with its documents."""

from __future__ import annotations

import re

import numpy as np
import pytest
from comparisons import rows_of

pytestmark = pytest.mark.line
QUERIES, DOCUMENTS = 60, 7
RANKING = {"task": "RANKING", "query_key": "query", "key_features": ["number"]}


@pytest.fixture
def random():
    return np.random.RandomState(0)


def documents_of(labels, scores, **features):
    """Rows of test results: `[queries, documents]` → a row for each document."""
    queries = [f"query {query}" for query in range(len(labels)) for _ in labels[query]]
    columns = {"query": queries, **features}
    return rows_of(scores.ravel().astype(np.float32), labels.ravel(), **columns)


def expected_of(labels, scores, weights=None):
    """What scikit-learn says of queries, `[queries, documents]`; of each alone, so that ties are those of its own."""
    from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

    each = []
    for relevance, told in zip(labels, scores, strict=True):
        ranks = np.array([(told >= score).sum() for score in told])
        ndcg, ndcg_at_3 = (ndcg_score([relevance], [told], k=k) for k in (None, 3))
        precision = label_ranking_average_precision_score([relevance > 0], [told])
        each.append([ndcg, 1 / ranks[relevance > 0].min(), precision, ndcg_at_3])
    return dict(zip(("ndcg", "mrr", "map", "ndcg@3"), np.average(each, axis=0, weights=weights), strict=True))


def test_metrics_are_scikit_learns_of_the_queries_with_a_relevant_document(comparing, random):
    """Of all documents and of those of a slice; with scores that are equal, and with weights.

    A slice in which nothing is relevant holds no threshold.
    """
    labels = random.randint(0, 4, (QUERIES, DOCUMENTS)) * (random.rand(QUERIES, DOCUMENTS) < 0.4)
    labels[:5] = 0
    labels[5:, 0] = 1
    labels[6:9, 1::2] = 0
    weights = np.round(random.rand(QUERIES), 2).astype(np.float32)
    labels[:, -1] = 0
    colours = np.array([*["red", "blue"] * 3, "green"])
    of_rows = {"colour": np.tile(colours, QUERIES), "weight": weights.repeat(DOCUMENTS)}
    told = {
        name: np.round(labels * share + random.rand(*labels.shape), 1) for name, share in (("one", 0.2), ("two", 1))
    }
    for name, scores in told.items():
        comparing.give(name, documents_of(labels, scores, **of_rows))
    found = comparing.run(
        **RANKING,
        metrics=["ndcg", "mrr", "map", "ndcg@3"],
        example_weight_key="weight",
        slices=[{"features": ["colour"]}],
        thresholds=[{"metric": "mrr", "lower": 0.1, "slice_features": ["colour"]}],
    )
    assert found["rows"] == QUERIES * DOCUMENTS
    for name, scores in told.items():
        of_all = found["candidates"][name]
        blue, green, red = of_all["slices"]
        assert [part["slice"]["colour"] for part in (blue, green, red)] == ["blue", "green", "red"]
        for part in (of_all, blue, red):
            chosen = colours == part.get("slice", {}).get("colour", colours)
            relevant = (labels[:, chosen] > 0).any(axis=1)
            expected = expected_of(labels[relevant][:, chosen], scores[relevant][:, chosen], weights[relevant])
            assert {key: each["trained"] for key, each in part["metrics"].items()} == pytest.approx(expected, abs=1e-6)
            assert (part["rows"], part["queries"]) == (QUERIES * chosen.sum(), relevant.sum())
            for metric, value in expected.items():
                low, high = part["intervals"][metric]
                assert low < value < high or low == value == high == pytest.approx(1)
        assert (green["rows"], green["queries"], green["metrics"]["ndcg"]["trained"]) == (QUERIES, 0, None)
        assert green["intervals"]["ndcg"] is None
        assert of_all["reasons"] == ["Mrr where colour = green is not defined; asked for is at least 0.1."]
    assert found["candidates"]["two"]["against"]["one"]["ndcg"]["verdict"] == "better"
    assert (found["best"], found["blessed"]) == ("two", False)


def test_a_better_ranking_is_blessed_and_an_equal_or_a_worse_one_is_not(comparing, random):
    """By one metric; a candidate with scores that are no numbers stays out."""
    labels = np.eye(DOCUMENTS)[random.randint(0, DOCUMENTS, QUERIES)]
    noise, own = random.randn(2, QUERIES, DOCUMENTS)
    scores = {"better": labels * 4, "baseline": labels, "equal": labels + own * 0.1, "worse": labels * 0}
    for name, of_name in scores.items():
        comparing.give(name, documents_of(labels, of_name + noise))
    comparing.give("broken", documents_of(labels, np.where(labels > 0, np.nan, noise)))
    found = comparing.run(**RANKING, metrics=["ndcg"])
    assert (found["best"], found["blessed"]) == ("better", True)
    candidates = found["candidates"]
    assert [name for name, each in candidates.items() if each["blessable"]] == ["better"]
    [why] = candidates.pop("broken")["reasons"]
    assert why.startswith(f"{QUERIES} of {QUERIES * DOCUMENTS} predictions are not finite numbers")
    said = {name: each["against"]["baseline"]["ndcg"]["verdict"] for name, each in candidates.items()}
    assert said == {"better": "better", "equal": "not distinguishable", "worse": "worse"}


def test_everything_that_is_wrong_with_queries_is_said_at_once(comparing):
    from polytrainer.executors.comparison.errors import ComparisonError

    rows = documents_of(np.zeros((4, 3)), np.zeros((4, 3)), weight=[1.0] * 12)
    rows[0]["query"] = []
    rows[1]["query"] = ["a", "b"]
    rows[2]["label"] = -1.0
    rows[4]["weight"] = 0.5
    other = [dict(row) for row in rows]
    other[6]["query"] = "query 3"
    other[7]["prediction"] = [0.5, 0.5]
    comparing.give("one", rows)
    comparing.give("two", other[:-1])
    with pytest.raises(ComparisonError) as caught:
        comparing.run(**RANKING, example_weight_key="weight")
    for expected in (
        r"the query 'query' in test results of one: got none, or several values, in 2 rows, e\.g\. test/number=0; ",
        r"one: got 1 labels that do not fit, .* \[-1.0\], expected a relevance, one number, 0 or more",
        r"the weight 'weight': got different ones in 1 queries, e\.g\. test/query 1; expected the same in all rows",
        r"two: got 1 rows in other queries .*: test/query 3 instead of test/query 2; expected the same query",
        r"two: got 1 predictions that do not fit, .* \[0.5, 0.5\], expected one score",
        r"two: got 1 rows missing that others have, e\.g\. test/number=11",
        r"the labels: got 3 queries without a relevant document; expected one document with a label above 0",
    ):
        assert re.search(expected, str(caught.value)), (expected, str(caught.value))
