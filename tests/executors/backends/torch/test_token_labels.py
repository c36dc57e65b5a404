"""Labels of positions, padded: what is ignored by the loss does not count in metrics by name either."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torch_fits import schema_of, state

pytestmark = pytest.mark.newest

RANDOM = np.random.RandomState(5)
METRICS = ["accuracy", "accuracy_top2", "f1", "precision", "recall", "kappa", "mcc", "auroc", "confusion_matrix"]


def by_scikit_learn(outputs, label, weight=None):
    """Of `[B, T, C]` and `[B, T]`, those labels that are 0 or more."""
    from sklearn import metrics

    counts = label >= 0
    outputs, label = outputs[counts], label[counts]
    weight = None if weight is None else np.broadcast_to(weight[:, None], counts.shape)[counts]
    likely = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    predicted, averaged = likely.argmax(1), {"average": "macro", "zero_division": 0, "sample_weight": weight}
    areas = [metrics.roc_auc_score(label == each, likely[:, each], sample_weight=weight) for each in range(3)]
    table = metrics.confusion_matrix(label, predicted, labels=range(3), sample_weight=weight)
    return {
        "accuracy": metrics.accuracy_score(label, predicted, sample_weight=weight),
        "accuracy_top2": metrics.top_k_accuracy_score(label, likely, k=2, sample_weight=weight),
        "f1": metrics.f1_score(label, predicted, **averaged),
        "precision": metrics.precision_score(label, predicted, **averaged),
        "recall": metrics.recall_score(label, predicted, **averaged),
        "kappa": metrics.cohen_kappa_score(label, predicted, sample_weight=weight),
        "mcc": metrics.matthews_corrcoef(label, predicted, sample_weight=weight),
        "auroc": np.mean(areas),
    }, table


def padded(rows, length, ignored):
    """Labels of 0 to 2; from somewhere on those of a row are ignored, of one row all, of some none."""
    label = RANDOM.randint(0, 3, (rows, length))
    for row, kept in enumerate(RANDOM.randint(0, length + 1, rows)):
        label[row, kept:] = ignored
    label[0], label[1:3] = ignored, RANDOM.randint(0, 3, (2, length))
    return label


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [-100, -1])
def test_metrics_are_those_of_the_labels_that_are_not_ignored(ignored, weighted):
    import torch

    from polytrainer.executors.backends.torch import metrics

    outputs, label = RANDOM.randn(12, 3, 6), padded(12, 6, ignored)
    weight = RANDOM.rand(12) if weighted else None
    made = metrics.make(METRICS, task="multiclass", num_classes=3, ignore_index=ignored, weighted=weighted)
    for part in (
        slice(0, 1),
        slice(1, 3),
        slice(3, 4),
        slice(4, 12),
    ):  # one in which all are ignored, one in which none
        some = None if weight is None else torch.tensor(weight[part])
        metrics.update(made, torch.tensor(outputs[part]), torch.tensor(label[part]), some)
    expected, table = by_scikit_learn(outputs.transpose(0, 2, 1), np.where(label == ignored, -1, label), weight)
    assert metrics.compute(made) == pytest.approx(expected, abs=1e-6)
    assert np.allclose(metrics.compute_tables(made)["confusion_matrix"], table)


def test_where_all_labels_are_ignored_metrics_are_not_numbers_and_no_error():
    import torch

    from polytrainer.executors.backends.torch import metrics

    made = metrics.make(METRICS, task="multiclass", num_classes=3, ignore_index=-100)
    metrics.update(made, torch.randn(2, 3, 4), torch.full((2, 4), -100))
    numbers, tables = metrics.compute_all(made)
    assert {name for name, value in numbers.items() if math.isnan(value)} == {*METRICS} - {"confusion_matrix"}
    assert np.sum(tables["confusion_matrix"]) == 0


def tagger(self):
    """Scores of three classes for each of four positions, `[B, 3, 4]`."""
    import torch
    from torch import nn

    torch.manual_seed(2)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 12)

        def forward(self, x):
            return self.layer(x).view(-1, 3, 4)

    return Tagger()


def own_loss(self, outputs, label):
    from torch.nn import functional

    return functional.cross_entropy(outputs, label, reduction="sum"), (label >= 0).sum()


@pytest.mark.parametrize(
    ("ignored", "options"),
    [
        (-100, {}),
        (-1, {"loss_options": {"ignore_index": -1}}),
        (-100, {"loss_fn": own_loss}),
    ],
)
def test_a_training_on_padded_labels(made, fit, written, ignored, options):
    x, label = RANDOM.randn(30, 2).round(3), padded(30, 4, ignored)
    rows = [{"x": a, "label": b} for a, b in zip(x.tolist(), label.tolist(), strict=True)]
    trainer = made(metrics=METRICS, model_fn=tagger, save=lambda self, model=None: {}, **options)
    files = {"train_files": written(rows), "eval_files": written(rows, "eval")}
    schema = schema_of("x: 2 floats, label: 4 ints")
    result = fit(trainer, **files, schema=schema, eval_args={"batch_size": 7}, early_stopping={"metric": "accuracy"})
    layer = trainer.model.layer
    outputs = x @ layer.weight.detach().numpy().T.astype(float) + layer.bias.detach().numpy()
    outputs = outputs.reshape(-1, 3, 4).transpose(0, 2, 1)
    expected, table = by_scikit_learn(outputs, np.where(label == ignored, -1, label))
    logarithms = outputs - np.log(np.exp(outputs).sum(2, keepdims=True))
    counts = label != ignored
    expected["loss"] = -np.take_along_axis(logarithms, np.where(counts, label, 0)[..., None], 2)[counts].mean()
    assert result.metrics == pytest.approx(expected, abs=2e-6)
    assert state(fit)["tables"]["confusion_matrix"] == table.tolist()
