"""Metrics by name (torchmetrics), over a whole split: never the mean of batches."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torchmetrics.classification as c
import torchmetrics.regression as r
from torch import Tensor
from torchmetrics import Metric

from polytrainer.executors.backends.torch import auroc, metric_inputs, weighted_metrics
from polytrainer.executors.backends.torch.losses import logits_of
from polytrainer.executors.backends.torch.metric_states import merge, states
from polytrainer.executors.backends.torch.r2_score import R2Score
from polytrainer.executors.backends.torch.registry import look_up
from polytrainer.executors.backends.torch.tasks import BINARY, MULTICLASS, MULTILABEL, REGRESSION, Task, task_of
from polytrainer.proto.problems import Problem

__all__ = ["compute", "compute_all", "compute_tables", "make", "merge", "states", "task_of", "update"]

Makers = dict[str, Callable[..., Metric]]

REGRESSIONS: Makers = {
    "mae": r.MeanAbsoluteError,
    "mape": r.MeanAbsolutePercentageError,
    "mse": r.MeanSquaredError,
    "pearson": r.PearsonCorrCoef,
    "r2": R2Score,
    "rmse": lambda **options: r.MeanSquaredError(squared=False, **options),
    "spearman": r.SpearmanCorrCoef,
}
CLASSIFICATIONS: dict[Task, Makers] = {
    BINARY: {
        "accuracy": c.BinaryAccuracy,
        "auroc": auroc.BinaryAUROC,
        "average_precision": c.BinaryAveragePrecision,
        "confusion_matrix": c.BinaryConfusionMatrix,
        "f1": c.BinaryF1Score,
        "kappa": c.BinaryCohenKappa,
        "mcc": c.BinaryMatthewsCorrCoef,
        "precision": c.BinaryPrecision,
        "recall": c.BinaryRecall,
        "specificity": c.BinarySpecificity,
    },
    MULTICLASS: {
        "accuracy": c.MulticlassAccuracy,
        "auroc": auroc.MulticlassAUROC,
        "average_precision": c.MulticlassAveragePrecision,
        "confusion_matrix": c.MulticlassConfusionMatrix,
        "f1": c.MulticlassF1Score,
        "kappa": c.MulticlassCohenKappa,
        "mcc": c.MulticlassMatthewsCorrCoef,
        "precision": c.MulticlassPrecision,
        "recall": c.MulticlassRecall,
        "specificity": c.MulticlassSpecificity,
    },
    MULTILABEL: {
        "accuracy": c.MultilabelAccuracy,
        "auroc": auroc.MultilabelAUROC,
        "average_precision": c.MultilabelAveragePrecision,
        "confusion_matrix": c.MultilabelConfusionMatrix,
        "f1": c.MultilabelF1Score,
        "mcc": c.MultilabelMatthewsCorrCoef,
        "precision": c.MultilabelPrecision,
        "recall": c.MultilabelRecall,
        "specificity": c.MultilabelSpecificity,
    },
}
# those whose signatures do not show what they take
PARAMETERS_OF: dict[str, Any] = {"r2": r.R2Score, "rmse": r.MeanSquaredError}
TOP_K = re.compile(r"accuracy_top([1-9]\d*)")
CONFUSION_MATRIX = "confusion_matrix"
IGNORED = "polytrainer_ignore_index"
OURS = "polytrainer_task"  # an attribute of the metrics made here: what `update` has to make of outputs and labels


def make(
    names: Iterable[str],
    *,
    task: Task | None = None,
    num_classes: int | None = None,
    average: str = "macro",
    threshold: float = 0.5,
    ignore_index: int | None = None,
    weighted: bool = False,
) -> dict[str, Metric]:
    """Makes metrics, by name.

    Args:
        names: Of `REGRESSIONS`, or of `CLASSIFICATIONS` for the task; for multiclass also `accuracy_top5` and the like.
            `accuracy` is the fraction of labels that are right, whatever `average` says.
        task: What the model is asked for (see `task_of`); may be None for regression.
        num_classes: Classes, or labels of multilabel, or numbers per example of regression.
        average: How precision, recall, f1, specificity, auroc and average_precision of several classes become one:
            `macro`, `weighted`, or where torchmetrics has it `micro`; `none` gives a table.
        threshold: Probability from which on a binary, or multilabel, label counts as predicted.
        ignore_index: A label of multiclass that does not count, e.g. that of padding; None: all count.
        weighted: Whether `update` is given weights of the examples.

    Of several numbers per example, a metric of regression is the mean of theirs (as scikit-learn's "uniform_average");
    that of each is in `compute_tables`.

    Raises:
        ValueError: If a name is unknown for the task, or the task or number of classes is missing.
    """
    made = {}
    for name in names:
        metric = _make(name, task, num_classes, average, threshold)
        if weighted:
            metric = weighted_metrics.weighted(name, metric, threshold=threshold)
        setattr(metric, IGNORED, ignore_index)
        made[name] = metric
    return made


def update(metrics: Mapping[str, Metric], outputs: Any, label: Tensor, weight: Tensor | None = None) -> None:
    """Lets metrics see a batch.

    Those of `make` get probabilities (sigmoid or softmax of the outputs, in float64, so that logits above 17 do not
    become the same 1.0) and labels as integers, or numbers in float64. Others, of one's own, get the outputs' tensor
    and the label as they are, but that `[B, 1]` and `[B]` become the same.

    Args:
        metrics: By name.
        outputs: Logits, or numbers: `[B, C]`, `[B, C, …]`, `[B, 1]`, `[B]`, or a mapping with them.
        label: int64 or float32, `[B]`, `[B, 1]`, or one for each position, or value, of the outputs.
        weight: How much each example counts, `[B]`, or each label, of the label's shape; for the metrics of
            `make(weighted=True)`, to which all count 1 without it, and for others whose `update` has a parameter
            `weight` or `sample_weight`.

    Raises:
        ValueError: If shapes do not fit, or a label is no class.
    """
    logits, label = logits_of(outputs).detach(), label.detach()
    prepared: dict[Any, metric_inputs.Inputs] = {}
    for metric in metrics.values():
        task, ignored = getattr(metric, OURS, None), getattr(metric, IGNORED, None)
        if (task, ignored) not in prepared:
            prepared[task, ignored] = metric_inputs.prepare(task, logits, label, weight, ignored)
        predictions, labels, weights = prepared[task, ignored]
        if labels.numel() == 0:
            continue
        if weights is None and isinstance(metric, weighted_metrics.WeightedMetric):
            weights = metric_inputs.ones_like_rows(predictions)
        if weights is not None and (parameter := weighted_metrics.weight_parameter(metric)):
            metric.update(predictions, labels, **{parameter: weights})
        else:
            metric.update(predictions, labels)


def compute(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Values over all that metrics have seen; of those of several numbers per example the mean.

    What cannot be one number, a confusion matrix for example, is in `compute_tables` alone.
    """
    return scalars(_values(metrics), metrics)


def compute_tables(metrics: Mapping[str, Metric]) -> dict[str, list[Any]]:
    """Values that are no single number, as nested lists: the confusion matrix (row: label, column: prediction), …."""
    return tables(_values(metrics))


def compute_all(metrics: Mapping[str, Metric]) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """`compute` and `compute_tables`, computed once."""
    values = _values(metrics)
    return scalars(values, metrics), tables(values)


def scalars(values: Mapping[str, Tensor], metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Those of the values that are a number, or of which the mean is one."""
    numbers = {}
    for name, value in values.items():
        if value.numel() == 1:
            numbers[name] = float(value)
        elif value.ndim == 1 and getattr(metrics.get(name), OURS, None) == REGRESSION:
            numbers[name] = float(value.double().mean())
    return numbers


def tables(values: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """Those of the values that are no single number, as nested lists."""
    return {name: value.tolist() for name, value in values.items() if value.numel() != 1}


def names_of_numbers(metrics: Mapping[str, Metric]) -> tuple[set[str], set[str]]:
    """Names of the numbers that metrics will give, and beginnings of further ones that cannot be known before.

    A metric of a user's may give a mapping, whose numbers are `<name>_<key>`.
    """
    ours = {name for name, metric in metrics.items() if hasattr(metric, OURS) and not _is_table(name, metric)}
    own = {name for name, metric in metrics.items() if not hasattr(metric, OURS)}
    return ours | own, {f"{name}_" for name in own}


def _is_table(name: str, metric: Metric) -> bool:
    """Whether a metric by name gives a number for each class."""
    return name == CONFUSION_MATRIX or getattr(metric, "average", "macro") in (None, "none")


# ---- how metrics are made


def _make(name: str, task: Task | None, num_classes: int | None, average: str, threshold: float) -> Metric:
    if name in REGRESSIONS:
        task = REGRESSION
    if task is None:
        known = ", ".join(sorted(REGRESSIONS))
        raise ValueError(str(Problem(f"metric {name}", "no task", f"a task, or a metric that needs none: {known}")))
    if task in (MULTICLASS, MULTILABEL) and not num_classes:
        raise ValueError(str(Problem(f"metric {name}", f"task {task} without num_classes", "their number")))
    options = {"average": "micro" if name.startswith("accuracy") else average, "threshold": threshold}
    options |= {"num_classes": num_classes, "num_labels": num_classes, "num_outputs": num_classes or 1}
    options |= {"validate_args": False}  # at each batch, for each metric; `update` looks itself, once
    top = TOP_K.fullmatch(name) if task == MULTICLASS else None
    if top:
        options["top_k"] = _top_k(name, int(top[1]), num_classes or 0)
    makers = REGRESSIONS if task == REGRESSION else CLASSIFICATIONS[task]
    maker = look_up(f"metric for {task}", "accuracy" if top else name, makers)
    accepted = inspect.signature(PARAMETERS_OF.get(name, maker)).parameters
    metric = maker(**{key: value for key, value in options.items() if key in accepted}, sync_on_compute=False)
    if task == REGRESSION:
        metric.set_dtype(torch.float64)  # sums over a split
    setattr(metric, OURS, task)
    return metric


def _top_k(name: str, top_k: int, num_classes: int) -> int:
    if top_k > num_classes:
        raise ValueError(str(Problem(f"metric {name}", f"{num_classes} classes", f"at least {top_k}")))
    return top_k


# ---- what metrics say


def _values(metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for name, metric in metrics.items():
        # of nothing torchmetrics says 0, or fails
        is_undefined = metric.update_count == 0 and hasattr(metric, OURS) and name != CONFUSION_MATRIX
        value = torch.tensor(torch.nan) if is_undefined else metric.compute()
        several = (
            {f"{name}_{key}": part for key, part in value.items()} if isinstance(value, Mapping) else {name: value}
        )
        values.update({key: torch.as_tensor(part) for key, part in several.items()})
    return values
