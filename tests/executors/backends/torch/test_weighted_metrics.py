"""Metrics by name of examples with weights are scikit-learn's with `sample_weight`, whatever the task and the cut."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.newest

RANDOM = np.random.RandomState(11)
ROWS = 60
WEIGHT = np.where(RANDOM.rand(ROWS) < 0.2, 0.0, RANDOM.rand(ROWS) * 5)


def compute(names, outputs, label, weight=WEIGHT, sizes=(1, 7, 20, 32), **options):
    """Numbers and tables of a split that comes in batches of those sizes."""
    import torch

    from polytrainer.executors.backends.torch import metrics

    made = metrics.make(names, weighted=True, **options)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        metrics.update(made, *map(torch.tensor, (outputs[part], label[part], weight[part])))
        start += size
    assert start == len(label)
    return metrics.compute_all(made)


def specificity(label, predicted, weight=WEIGHT):
    """Of the weight that is not of a class, the part that is not predicted to be."""
    negative = label == 0
    return weight[negative & (predicted == 0)].sum() / weight[negative].sum()


def test_binary():
    from sklearn import metrics

    outputs, label = RANDOM.randn(ROWS, 1), RANDOM.randint(0, 2, (ROWS, 1))
    likely, actual = 1 / (1 + np.exp(-outputs[:, 0])), label[:, 0]
    predicted, told = (likely > 0.5).astype(int), {"sample_weight": WEIGHT}
    expected = {
        "accuracy": metrics.accuracy_score(actual, predicted, **told),
        "auroc": metrics.roc_auc_score(actual, likely, **told),
        "average_precision": metrics.average_precision_score(actual, likely, **told),
        "f1": metrics.f1_score(actual, predicted, **told),
        "kappa": metrics.cohen_kappa_score(actual, predicted, **told),
        "mcc": metrics.matthews_corrcoef(actual, predicted, **told),
        "precision": metrics.precision_score(actual, predicted, **told),
        "recall": metrics.recall_score(actual, predicted, **told),
        "specificity": specificity(actual, predicted),
    }
    numbers, tables = compute([*expected, "confusion_matrix"], outputs, label, task="binary", num_classes=2)
    assert numbers == pytest.approx(expected, abs=1e-9)
    assert np.allclose(tables["confusion_matrix"], metrics.confusion_matrix(actual, predicted, **told))


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_multiclass(average):
    from sklearn import metrics

    outputs, label = RANDOM.randn(ROWS, 4), RANDOM.randint(0, 4, ROWS)
    likely = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    predicted, told = likely.argmax(1), {"sample_weight": WEIGHT}
    averaged = {**told, "average": average, "zero_division": 0}
    one_hot = np.eye(4)[label]
    counts = [WEIGHT[label == each].sum() for each in range(4)] if average == "weighted" else None
    precisions = [metrics.average_precision_score(one_hot[:, each], likely[:, each], **told) for each in range(4)]
    of_classes = [specificity((label == each).astype(int), (predicted == each).astype(int)) for each in range(4)]
    areas = [metrics.roc_auc_score(one_hot[:, each], likely[:, each], **told) for each in range(4)]
    expected = {
        "accuracy": metrics.accuracy_score(label, predicted, **told),
        "accuracy_top2": metrics.top_k_accuracy_score(label, likely, k=2, **told),
        "auroc": np.average(areas, weights=counts),
        "average_precision": np.average(precisions, weights=counts),
        "f1": metrics.f1_score(label, predicted, **averaged),
        "kappa": metrics.cohen_kappa_score(label, predicted, **told),
        "mcc": metrics.matthews_corrcoef(label, predicted, **told),
        "precision": metrics.precision_score(label, predicted, **averaged),
        "recall": metrics.recall_score(label, predicted, **averaged),
        "specificity": np.average(of_classes, weights=counts),
    }
    options = {"task": "multiclass", "num_classes": 4, "average": average}
    numbers, tables = compute([*expected, "confusion_matrix"], outputs, label, **options)
    assert numbers == pytest.approx(expected, abs=1e-9)
    assert np.allclose(tables["confusion_matrix"], metrics.confusion_matrix(label, predicted, **told))


def test_multilabel():
    from sklearn import metrics

    outputs, label = RANDOM.randn(ROWS, 3), RANDOM.randint(0, 2, (ROWS, 3))
    likely, told = 1 / (1 + np.exp(-outputs)), {"sample_weight": WEIGHT}
    predicted = (likely > 0.5).astype(int)
    averaged = {**told, "average": "macro", "zero_division": 0}
    expected = {
        "accuracy": np.average((predicted == label).mean(1), weights=WEIGHT),
        "auroc": metrics.roc_auc_score(label, likely, average="macro", **told),
        "average_precision": metrics.average_precision_score(label, likely, average="macro", **told),
        "f1": metrics.f1_score(label, predicted, **averaged),
        "precision": metrics.precision_score(label, predicted, **averaged),
        "recall": metrics.recall_score(label, predicted, **averaged),
        "mcc": metrics.matthews_corrcoef(label.ravel(), predicted.ravel(), sample_weight=np.repeat(WEIGHT, 3)),
        "specificity": np.mean([specificity(label[:, each], predicted[:, each]) for each in range(3)]),
    }
    numbers, tables = compute([*expected, "confusion_matrix"], outputs, label, task="multilabel", num_classes=3)
    assert numbers == pytest.approx(expected, abs=1e-9)
    assert np.allclose(
        tables["confusion_matrix"], metrics.multilabel_confusion_matrix(label, predicted, sample_weight=WEIGHT)
    )


@pytest.mark.parametrize("width", [1, 3])
def test_regression(width):
    from sklearn import metrics

    label = RANDOM.randn(ROWS, width) * 10 + 30
    outputs, told = label + RANDOM.randn(ROWS, width), {"sample_weight": WEIGHT}
    pearsons = []
    for one, other in zip(outputs.T, label.T, strict=True):
        off, other_off = one - np.average(one, weights=WEIGHT), other - np.average(other, weights=WEIGHT)
        pearsons.append(
            (WEIGHT * off * other_off).sum() / np.sqrt((WEIGHT * off**2).sum() * (WEIGHT * other_off**2).sum())
        )
    squares = metrics.mean_squared_error(label, outputs, multioutput="raw_values", **told)
    expected = {
        "mae": metrics.mean_absolute_error(label, outputs, **told),
        "mape": metrics.mean_absolute_percentage_error(label, outputs, **told),
        "mse": metrics.mean_squared_error(label, outputs, **told),
        "pearson": np.mean(pearsons),
        "r2": metrics.r2_score(label, outputs, **told),
        "rmse": np.sqrt(squares).mean(),
    }
    numbers, _ = compute([*expected], outputs, label, task="regression", num_classes=width)
    assert numbers == pytest.approx(expected, rel=1e-9)


def every_metric(task):
    from polytrainer.executors.backends.torch import metrics

    known = metrics.REGRESSIONS if task == "regression" else metrics.CLASSIFICATIONS[task]
    return [name for name in known if name != "spearman"]


CASES = {
    "binary": (lambda: RANDOM.randn(ROWS, 1), lambda: RANDOM.randint(0, 2, (ROWS, 1)), 2),
    "multiclass": (lambda: RANDOM.randn(ROWS, 4), lambda: RANDOM.randint(0, 3, ROWS), 4),  # of which one is absent
    "multilabel": (lambda: RANDOM.randn(ROWS, 3), lambda: RANDOM.randint(0, 2, (ROWS, 3)), 3),
    "regression": (lambda: RANDOM.randn(ROWS, 2), lambda: RANDOM.randn(ROWS, 2) + 9, 2),
}


@pytest.mark.parametrize("task", CASES)
def test_with_equal_weights_they_are_what_they_are_without(task):
    import torch

    from polytrainer.executors.backends.torch import metrics

    outputs_of, label_of, count = CASES[task]
    outputs, label, names = outputs_of(), label_of(), every_metric(task)
    numbers, tables = compute(names, outputs, label, np.full(ROWS, 2.0), task=task, num_classes=count)
    plain = metrics.make(names, task=task, num_classes=count)
    metrics.update(plain, torch.tensor(outputs), torch.tensor(label))
    expected, expected_tables = metrics.compute_all(plain)
    assert numbers == pytest.approx(expected, abs=1e-6)
    for name, table in expected_tables.items():
        factor = 2.0 if name == "confusion_matrix" else 1.0
        assert np.allclose(tables[name], np.multiply(table, factor), atol=1e-6)


@pytest.mark.parametrize("task", CASES)
def test_examples_of_weight_0_do_not_count(task):
    outputs_of, label_of, count = CASES[task]
    outputs, label, names = outputs_of(), label_of(), every_metric(task)
    weight = np.ones(ROWS)
    weight[40:] = 0
    options = {"task": task, "num_classes": count}
    numbers, _ = compute(names, outputs, label, weight, **options)
    expected, _ = compute(names, outputs[:40], label[:40], weight[:40], sizes=(40,), **options)
    assert numbers == pytest.approx(expected, abs=1e-9)


def test_a_batch_without_weights_among_others_counts_as_if_all_were_1():
    import torch

    from polytrainer.executors.backends.torch import metrics

    made = metrics.make(["accuracy"], task="multiclass", num_classes=2, weighted=True)
    right, wrong = torch.tensor([[5.0, 0.0]] * 2), torch.tensor([[0.0, 5.0]] * 2)
    metrics.update(made, right, torch.zeros(2, dtype=torch.long), torch.tensor([2.0, 4.0]))
    metrics.update(made, wrong, torch.zeros(2, dtype=torch.long))
    assert metrics.compute(made) == pytest.approx({"accuracy": 6 / 8})


# ---- labels of positions


@pytest.mark.parametrize("of_positions", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_positions_have_the_weight_of_their_example_or_one_of_their_own(task, of_positions):
    channels = {"binary": 1, "multiclass": 3, "multilabel": 3}[task]
    outputs = RANDOM.randn(12, channels, 2, 2)
    label = RANDOM.randint(
        0, 3 if task == "multiclass" else 2, (12, *(() if task == "multiclass" else (channels,)), 2, 2)
    )
    weight = RANDOM.rand(12, 2, 2) if of_positions else RANDOM.rand(12)
    each = np.broadcast_to(weight.reshape(12, *((2, 2) if of_positions else (1, 1))), (12, 2, 2))
    rows = outputs.transpose(0, 2, 3, 1).reshape(-1, channels)
    labels = label.reshape(-1) if task == "multiclass" else label.transpose(0, 2, 3, 1).reshape(-1, channels)
    options = {"task": task, "num_classes": 2 if task == "binary" else 3}
    names = ["accuracy", "f1", "auroc", "specificity"]
    found, _ = compute(names, outputs, label, weight, sizes=(5, 7), **options)
    expected, _ = compute(names, rows, labels, each.reshape(-1), sizes=(48,), **options)
    assert found == pytest.approx(expected, abs=1e-9)


def test_of_two_classes_the_likeliest_can_be_asked_for():
    outputs, label = RANDOM.randn(ROWS, 2), RANDOM.randint(0, 2, ROWS)
    numbers, _ = compute(
        ["accuracy", "accuracy_top1", "accuracy_top2"], outputs, label, task="multiclass", num_classes=2
    )
    assert numbers["accuracy_top1"] == pytest.approx(numbers["accuracy"])
    assert numbers["accuracy_top2"] == pytest.approx(1)


def test_spearman_with_weights_is_refused():
    from polytrainer.executors.backends.torch import metrics

    with pytest.raises(ValueError, match=r"metric spearman: got weights of examples; expected another metric"):
        metrics.make(["spearman"], task="regression", num_classes=1, weighted=True)


def test_weights_that_are_as_many_as_nothing_are_refused():
    with pytest.raises(
        ValueError, match=r"metrics: got weights \[4\] for labels \[12\]; expected one for each example"
    ):
        compute(
            ["mse"], RANDOM.randn(12, 2), RANDOM.randn(12, 2), np.ones(4), sizes=(12,), task="regression", num_classes=2
        )
