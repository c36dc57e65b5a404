"""Metrics of a comparison beside scikit-learn's, on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import rows_of

pytestmark = pytest.mark.line
ROWS = 300


@pytest.fixture
def random():
    return np.random.RandomState(0)


def probabilities(random, *shape):
    return np.round(random.dirichlet(np.ones(shape[-1]), shape[:-1]), 3).astype(np.float32)


def test_multiclass(comparing, random):
    from sklearn import metrics

    labels = random.randint(0, 4, ROWS)
    cities = [[b"Oslo", b"Rome"][number % 2] for number in range(ROWS)]
    told = {name: probabilities(random, ROWS, 4) for name in ("one", "two")}
    for name, scores in told.items():
        comparing.give(name, rows_of(scores, labels, city=cities))
    found = comparing.run(task="MULTICLASS", slices=[{"features": ["city"]}])
    for name, scores in told.items():
        of_all = found["candidates"][name]
        parts = [(of_all, slice(None))] + [
            (part, np.array(cities) == part["slice"]["city"].encode()) for part in of_all["slices"]
        ]
        assert [part["slice"] for part in of_all["slices"]] == [{"city": "Oslo"}, {"city": "Rome"}]
        for part, chosen in parts:
            actual, predicted = labels[chosen], scores[chosen].argmax(axis=1)
            sums = scores[chosen].sum(axis=1, keepdims=True)
            macro = {"average": "macro", "zero_division": 0}
            expected = {
                "accuracy": metrics.accuracy_score(actual, predicted),
                "precision_macro": metrics.precision_score(actual, predicted, **macro),
                "recall_macro": metrics.recall_score(actual, predicted, **macro),
                "f1_macro": metrics.f1_score(actual, predicted, **macro),
                "log_loss": metrics.log_loss(actual, scores[chosen] / sums, labels=range(4)),
            }
            assert {key: each["trained"] for key, each in part["metrics"].items()} == pytest.approx(expected, abs=1e-6)
            assert part["confusion_matrix"]["trained"] == metrics.confusion_matrix(actual, predicted).tolist()
            assert part["rows"] == len(actual)
            for metric, value in expected.items():
                low, high = part["intervals"][metric]
                assert low < value < high


def test_binary_with_weights_as_one_probability_or_two(comparing, random):
    from sklearn import metrics

    labels = random.randint(0, 2, ROWS)
    scores = np.clip(np.round(random.rand(ROWS) * 0.7 + labels * 0.3, 3), 0, 1).astype(np.float32)
    weights = np.round(random.rand(ROWS), 2).astype(np.float32)
    comparing.give("one", rows_of(scores, labels, weight=weights))
    comparing.give("two", rows_of(np.stack([1 - scores, scores], axis=1), labels, weight=weights))
    found = comparing.run(task="BINARY", example_weight_key="weight")["candidates"]
    assert found["one"]["metrics"] == found["two"]["metrics"]
    assert found["one"]["against"]["two"]["auc"] == {"interval": [0, 0], "verdict": "not distinguishable"}
    found = found["one"]
    predicted, weighted = scores > 0.5, {"sample_weight": weights}
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted, **weighted),
        "precision": metrics.precision_score(labels, predicted, **weighted),
        "recall": metrics.recall_score(labels, predicted, **weighted),
        "f1": metrics.f1_score(labels, predicted, **weighted),
        "auc": metrics.roc_auc_score(labels, scores, **weighted),
        "log_loss": metrics.log_loss(labels, np.stack([1 - scores, scores], axis=1), **weighted),
    }
    assert {key: each["trained"] for key, each in found["metrics"].items()} == pytest.approx(expected, abs=1e-6)
    for metric, value in expected.items():
        low, high = found["intervals"][metric]
        assert low < value < high
    matrix = metrics.confusion_matrix(labels, predicted, **weighted)
    np.testing.assert_allclose(found["confusion_matrix"]["trained"], matrix, rtol=1e-5)


def test_multilabel(comparing, random):
    from sklearn import metrics

    labels = random.randint(0, 2, (ROWS, 3))
    labels[:, 2] = 0  # never there
    scores = np.round(random.rand(ROWS, 3) * 0.9 + 0.05, 3).astype(np.float32)
    comparing.give("one", rows_of(list(scores), list(labels)))
    found = comparing.run(task="MULTILABEL")["candidates"]["one"]
    predicted = scores > 0.5
    expected = {"accuracy": (predicted == labels).mean(), "exact_match": metrics.accuracy_score(labels, predicted)}
    for average in ("macro", "micro"):
        for name in ("precision", "recall", "f1"):
            score = getattr(metrics, f"{name}_score")
            expected[f"{name}_{average}"] = score(labels, predicted, average=average, zero_division=0)
    each = [metrics.log_loss(labels[:, label], scores[:, label], labels=[0, 1]) for label in range(3)]
    expected["log_loss"] = np.mean(each)
    assert {key: value["trained"] for key, value in found["metrics"].items()} == pytest.approx(expected, abs=1e-6)
    assert found["confusion_matrix"]["trained"] == metrics.multilabel_confusion_matrix(labels, predicted).tolist()
    low, high = found["intervals"]["exact_match"]
    assert low < expected["exact_match"] < high


def test_regression(comparing, random):
    from sklearn import metrics

    labels = (random.randn(ROWS, 2) + np.array([1000, 0])).astype(np.float32)
    told = labels + random.randn(ROWS, 2).astype(np.float32)
    weights = np.round(random.rand(ROWS), 2).astype(np.float32)
    labels[:3] = labels[0]
    cities = ["Rome", "Rome", "Rome", *["Oslo"] * (ROWS - 3)]
    comparing.give("one", rows_of(list(told), list(labels), weight=weights, city=cities))
    slices = [{"features": ["city"]}]
    found = comparing.run(task="REGRESSION", example_weight_key="weight", slices=slices)["candidates"]["one"]
    labels, told = labels.astype(np.float64), told.astype(np.float64)
    squared = metrics.mean_squared_error(labels, told, sample_weight=weights)
    expected = {
        "mse": squared,
        "rmse": squared**0.5,
        "mae": metrics.mean_absolute_error(labels, told, sample_weight=weights),
        "r2": metrics.r2_score(labels, told, sample_weight=weights),
    }
    assert {key: each["trained"] for key, each in found["metrics"].items()} == pytest.approx(expected, abs=1e-6)
    low, high = found["intervals"]["r2"]
    assert low < expected["r2"] < high
    assert "confusion_matrix" not in found
    assert found["slices"][1]["slice"] == {"city": "Rome"}
    assert found["slices"][1]["metrics"]["r2"]["trained"] is None  # its labels are all the same
