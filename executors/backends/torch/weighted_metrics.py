"""Metrics of examples that have weights, by scikit-learn: torchmetrics has none."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from polytrainer.executors.backends.torch import auroc
from polytrainer.executors.backends.torch.tasks import BINARY, MULTICLASS, MULTILABEL, REGRESSION
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

OURS = "polytrainer_task"  # as in metrics
_TOP_K = re.compile(r"accuracy_top([1-9]\d*)")
_PARAMETERS = ("weight", "weights", "sample_weight", "sample_weights")


class WeightedMetric(Metric):
    """A metric by name that counts each example by its weight.

    Keeps predictions, labels and weights of a whole split, and computes once.

    Args:
        name: As in `metrics.make`.
        task: Of the model.
        average: Over classes.
        threshold: Probability from which on a label counts as predicted.
    """

    full_state_update = False

    def __init__(self, name: str, task: str, average: str | None, threshold: float):
        super().__init__(sync_on_compute=False)
        self._name, self._threshold = name, threshold
        self.average = None if average == "none" else average
        setattr(self, OURS, task)
        for state in ("predictions", "labels", "weights"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, labels: Tensor, weight: Tensor) -> None:
        """Takes a batch: probabilities, or numbers, `[n]` or `[n, k]`; labels likewise; and a weight for each row."""
        rows = len(predictions)
        self.predictions.append(predictions.reshape(rows, -1).double())
        self.labels.append(labels.reshape(rows, -1).double())
        self.weights.append(weight.double())

    def compute(self) -> Tensor:
        """The metric over all that was seen; NaN where nothing was, or nothing counts."""
        arrays = [
            dim_zero_cat(part).cpu().numpy() if len(part) else np.zeros((0, 1))
            for part in (self.predictions, self.labels, self.weights)
        ]
        predictions, labels, weights = arrays
        if not len(labels) or (not weights.sum() > 0 and self._name != "confusion_matrix"):
            return torch.tensor(torch.nan)
        with warnings.catch_warnings():  # of classes that are absent, which is said otherwise
            warnings.simplefilter("ignore")
            return torch.as_tensor(self._value(predictions, labels, weights), dtype=torch.float64)

    def _value(self, predictions: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> Any:
        task = getattr(self, OURS)
        if task == REGRESSION:
            return _regression(self._name, predictions, labels, weights)
        if self._name == "auroc":
            return _auroc(task, predictions, labels, weights, self.average)
        if self._name == "average_precision":
            return _average_precision(task, predictions, labels, weights, self.average)
        if top := _TOP_K.fullmatch(self._name):
            likeliest = np.argsort(-predictions, axis=1, kind="stable")[:, : int(top[1])]
            return np.average((likeliest == labels[:, :1]).any(1), weights=weights)
        return _of_classes(self._name, task, predictions, labels, weights, self.average, self._threshold)


def weighted(name: str, metric: Metric, *, threshold: float) -> WeightedMetric:
    """The metric of the same name, and average over classes, for examples with weights.

    Raises:
        ValueError: If there is none.
    """
    if name == "spearman":
        got, expected = "weights of examples", "another metric: a weighted rank correlation has no accepted definition"
        raise ValueError(str(Problem(f"metric {name}", got, expected)))
    return WeightedMetric(name, getattr(metric, OURS), getattr(metric, "average", "macro"), threshold)


def weight_parameter(metric: Metric) -> str | None:
    """The parameter of a metric's `update` that takes weights; None if it has none."""
    parameters = inspect.signature(metric.update).parameters
    return next((name for name in _PARAMETERS if name in parameters), None)


def _regression(name: str, predictions: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> Any:
    from sklearn import metrics

    if name == "pearson":
        pairs = zip(predictions.T, labels.T, strict=True)
        return np.array([_correlation(one, other, weights) for one, other in pairs]).squeeze()
    functions: Mapping[str, Callable[..., Any]] = {
        "mae": metrics.mean_absolute_error,
        "mape": metrics.mean_absolute_percentage_error,
        "mse": metrics.mean_squared_error,
        "r2": metrics.r2_score,
        "rmse": lambda *args, **options: np.sqrt(metrics.mean_squared_error(*args, **options)),
    }
    values = functions[name](labels, predictions, sample_weight=weights, multioutput="raw_values")
    return np.asarray(values).squeeze()


def _correlation(one: NDArray[Any], other: NDArray[Any], weights: NDArray[Any]) -> float:
    covariance = np.cov(one, other, aweights=weights)
    scale = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1] / scale) if scale > 0 else float("nan")


def _auroc(
    task: str, predictions: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any], average: str | None
) -> Any:
    from sklearn.metrics import roc_auc_score

    return _mean_over_classes("auroc", roc_auc_score, task, predictions, labels, weights, average)


def _average_precision(
    task: str, predictions: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any], average: str | None
) -> Any:
    from sklearn.metrics import average_precision_score

    return _mean_over_classes("average_precision", average_precision_score, task, predictions, labels, weights, average)


def _mean_over_classes(
    name: str,
    function: Callable[..., Any],
    task: str,
    predictions: NDArray[Any],
    labels: NDArray[Any],
    weights: NDArray[Any],
    average: str | None,
) -> Any:
    """A metric of ranked scores: each class against the rest, averaged over the classes that occur."""
    one_hot = labels[:, :1] == np.arange(predictions.shape[1]) if task == MULTICLASS else labels > 0
    if average == "micro":
        return function(one_hot.ravel(), predictions.ravel(), sample_weight=np.repeat(weights, one_hot.shape[1]))
    counts = (one_hot * weights[:, None]).sum(0)
    others = (~one_hot * weights[:, None]).sum(0)
    defined = (counts > 0) & ((others > 0) | (name == "average_precision"))  # whose curve needs no other labels
    values = np.array(
        [
            function(one_hot[:, number], predictions[:, number], sample_weight=weights) if there else np.nan
            for number, there in enumerate(defined)
        ]
    )
    if average is None:
        return values
    if not defined.all():
        auroc.say_absent(name, list(np.flatnonzero(~defined)), len(defined))
    if not defined.any():
        return np.nan
    return np.average(values[defined], weights=counts[defined] if average == "weighted" else None)


def _of_classes(
    name: str,
    task: str,
    predictions: NDArray[Any],
    labels: NDArray[Any],
    weights: NDArray[Any],
    average: str | None,
    threshold: float,
) -> Any:
    """A metric of the classes that are predicted."""
    from sklearn import metrics

    if task == MULTICLASS:
        predicted, actual = predictions.argmax(1), labels[:, 0].astype(int)
        classes = np.arange(predictions.shape[1])
    else:
        predicted, actual = (predictions > threshold).astype(int), labels.astype(int)
        classes = np.arange(2)
    if task == BINARY:
        predicted, actual, average = predicted[:, 0], actual[:, 0], "binary"
    if name == "accuracy":
        return np.average((predicted == actual).reshape(len(actual), -1).mean(1), weights=weights)
    if name == "specificity":
        counted = [1] if task == BINARY else classes if task == MULTICLASS and average is None else None
        return _specificity(actual, predicted, weights, average, counted)
    if name == "mcc" and task == MULTILABEL:  # as torchmetrics has it: over all labels
        weights = np.repeat(weights, actual.shape[1])
        predicted, actual = predicted.ravel(), actual.ravel()
    averaged = {"average": average, "zero_division": 0, "labels": None if task != MULTICLASS or average else classes}
    functions: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "kappa": (metrics.cohen_kappa_score, {}),
        "mcc": (metrics.matthews_corrcoef, {}),
        "confusion_matrix": (
            (metrics.multilabel_confusion_matrix, {})
            if task == MULTILABEL
            else (metrics.confusion_matrix, {"labels": classes})
        ),
        "f1": (metrics.f1_score, averaged),
        "precision": (metrics.precision_score, averaged),
        "recall": (metrics.recall_score, averaged),
    }
    function, options = functions[name]
    return function(actual, predicted, sample_weight=weights, **options)


def _specificity(
    actual: NDArray[Any], predicted: NDArray[Any], weights: NDArray[Any], average: str | None, labels: Any
) -> Any:
    """Of the examples that are not of a class, the part that is not predicted to be."""
    from sklearn.metrics import multilabel_confusion_matrix

    matrices = multilabel_confusion_matrix(actual, predicted, sample_weight=weights, labels=labels)
    if average == "micro":
        matrices = matrices.sum(0, keepdims=True)
    negatives = matrices[:, 0].sum(1)
    values = np.divide(matrices[:, 0, 0], negatives, out=np.zeros(len(matrices)), where=negatives > 0)
    if average is None:
        return values
    return np.average(values, weights=matrices[:, 1].sum(1) if average == "weighted" else None)
