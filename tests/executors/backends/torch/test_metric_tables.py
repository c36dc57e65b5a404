"""Metrics that are no single number, or not finite, are never dropped in silence."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from torch_fits import linear, schema_of, state

pytestmark = pytest.mark.newest

RANDOM = np.random.RandomState(3)


def no_export(self, model=None):
    return {}


def update(names, outputs, label, weight=None, **options):
    import torch

    from polytrainer.executors.backends.torch import metrics

    made = metrics.make(names, **options)
    metrics.update(made, torch.tensor(outputs), torch.tensor(label), None if weight is None else torch.tensor(weight))
    return made


# ---- a confusion matrix


@pytest.mark.parametrize("output", ["out", None])
def test_a_confusion_matrix_is_a_table_of_each_split(made, fit, small, output):
    trainer = made(metrics=["accuracy", "confusion_matrix"], save=no_export)
    files = {"eval_files": {"eval": small.eval, "other": small.other}, "test_files": {"held": small.other}}
    if output is None:  # without a folder there are no test results: another way through the code
        result = fit(trainer, **files, output_dir=None)
        tables = trainer.engine.state.tables
    else:
        result = fit(trainer, **files)
        tables = state(fit)["tables"]
    assert set(result.metrics) == {
        f"{split}{name}" for split in ("", "eval.", "other.", "held.") for name in ("loss", "accuracy")
    }
    names = ["confusion_matrix", "eval.confusion_matrix", "other.confusion_matrix", "held.confusion_matrix"]
    assert sorted(tables) == sorted(names)
    counts = {name: np.array(tables[name]).sum() for name in names}
    assert counts == dict(zip(names, (51, 41, 10, 10), strict=True))
    for name in names:
        prefix = name.removesuffix("confusion_matrix")
        assert np.trace(tables[name]) / counts[name] == pytest.approx(result.metrics[f"{prefix}accuracy"])


def test_it_is_of_the_whole_split_where_evaluations_are_limited(made, fit):
    fit(made(metrics=["confusion_matrix"], save=no_export), eval_args={"num_steps": 1})
    assert np.sum(state(fit)["tables"]["confusion_matrix"]) == 41


def test_nothing_can_be_selected_by_a_table(made, fit):
    from polytrainer.executors.errors import PreflightError

    message = r"keep_checkpoints.metric: got 'confusion_matrix'; expected one of \['accuracy', 'loss'\]"
    keep = {"metric": "confusion_matrix", "mode": "max", "best": 1}
    with pytest.raises(PreflightError, match=message):
        fit(made(metrics=["accuracy", "confusion_matrix"]), keep_checkpoints=keep)


def test_nor_by_a_metric_of_each_class(made, fit):
    from polytrainer.executors.backends.torch import metrics
    from polytrainer.executors.errors import PreflightError

    def metrics_fn(self):
        return metrics.make(["f1"], task="multiclass", num_classes=2, average="none")

    with pytest.raises(PreflightError, match=r"early_stopping.metric: got 'f1'; expected one of \['loss'\]"):
        fit(made(metrics_fn=metrics_fn), early_stopping={"metric": "f1", "mode": "max"})


# ---- several numbers per example


REGRESSIONS = ["mse", "rmse", "mae", "mape", "r2", "pearson", "spearman"]


def by_scikit_learn(predicted, label):
    from scipy.stats import pearsonr, spearmanr
    from sklearn import metrics

    columns = list(zip(predicted.T, label.T, strict=True))
    return {
        "mse": metrics.mean_squared_error(label, predicted),
        "rmse": np.mean(np.sqrt(metrics.mean_squared_error(label, predicted, multioutput="raw_values"))),
        "mae": metrics.mean_absolute_error(label, predicted),
        "mape": metrics.mean_absolute_percentage_error(label, predicted),
        "r2": metrics.r2_score(label, predicted),
        "pearson": np.mean([pearsonr(*pair)[0] for pair in columns]),
        "spearman": np.mean([spearmanr(*pair)[0] for pair in columns]),
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_of_several_numbers_are_the_mean_over_them_and_a_table(weighted):
    from sklearn.metrics import r2_score

    from polytrainer.executors.backends.torch import metrics

    label = RANDOM.randn(30, 3) * [1, 10, 100]
    predicted = label + RANDOM.randn(30, 3) * [1, 2, 3]
    weight = np.ones(30, np.float32) if weighted else None
    names = [name for name in REGRESSIONS if not weighted or name != "spearman"]
    made = update(names, predicted, label, weight, task="regression", num_classes=3, weighted=weighted)
    expected = by_scikit_learn(predicted, label)
    assert metrics.compute(made) == pytest.approx({name: expected[name] for name in names}, rel=1e-6)
    tables = metrics.compute_tables(made)
    assert {name: np.mean(table) for name, table in tables.items() if name != "mape"} == pytest.approx(
        {name: expected[name] for name in names if name != "mape"}, rel=1e-6
    )
    assert tables["r2"] == pytest.approx(r2_score(label, predicted, multioutput="raw_values"), rel=1e-6)


def test_a_training_can_be_selected_by_them(made, fit, written):
    rows = [{"x": [a, b], "label": [a, 2 * b, a + b]} for a, b in RANDOM.randn(40, 2).tolist()]
    schema = schema_of("x: 2 floats, label: 3 floats")
    files = {"train_files": written(rows), "eval_files": written(rows, "eval"), "schema": schema}
    trainer = made(metrics=REGRESSIONS, model_fn=linear(2, 3), save=no_export)
    result = fit(trainer, **files, early_stopping={"metric": "mse"}, keep_checkpoints={"metric": "r2", "mode": "max"})
    assert set(result.metrics) == {"loss", *REGRESSIONS}
    assert result.metrics["mse"] == pytest.approx(result.metrics["loss"], rel=1e-6)
    assert result.metrics["mse"] == pytest.approx(np.mean(state(fit)["tables"]["mse"]))


def test_of_a_single_example_r2_is_not_a_number_and_no_error():
    from polytrainer.executors.backends.torch import metrics

    made = update(["r2", "mse"], [[1.0]], [[2.0]], task="regression", num_classes=1)
    assert metrics.compute(made) == pytest.approx({"r2": math.nan, "mse": 1.0}, nan_ok=True)


# ---- absent classes


def scores(rows, width):
    return RANDOM.randn(rows, width)


@pytest.fixture
def warnings(caplog, monkeypatch):
    """What was said of absent classes, from now on as if for the first time."""
    from polytrainer.executors.backends.torch import auroc

    monkeypatch.setattr(auroc, "_said", set())
    return lambda: [record.getMessage() for record in caplog.records if "auroc" in record.getMessage()]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_auroc_is_the_mean_over_the_classes_that_occur_and_says_so_once(warnings, weighted, average):
    from sklearn.metrics import roc_auc_score

    from polytrainer.executors.backends.torch import metrics

    label, outputs = RANDOM.randint(0, 3, 50), scores(50, 5)
    weight = RANDOM.rand(50) if weighted else None
    likely = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    areas = [roc_auc_score(label == number, likely[:, number], sample_weight=weight) for number in range(3)]
    counts = [(weight if weighted else np.ones(50))[label == number].sum() for number in range(3)]
    expected = np.mean(areas) if average == "macro" else np.average(areas, weights=counts)
    options = {"task": "multiclass", "num_classes": 5, "weighted": weighted, "average": average}
    for _ in range(2):
        assert metrics.compute(update(["auroc"], outputs, label, weight, **options)) == pytest.approx(
            {"auroc": expected}, abs=1e-9
        )
    [said] = warnings()
    assert said.startswith("auroc is the mean over 3 of 5 classes: the evaluated examples have no label, or no other")
    assert said.endswith("of class 3, 4.")


@pytest.mark.parametrize("weighted", [False, True])
def test_of_labels_those_count_that_occur_in_both_kinds(warnings, weighted):
    from sklearn.metrics import roc_auc_score

    from polytrainer.executors.backends.torch import metrics

    label = np.stack([RANDOM.randint(0, 2, 40), np.ones(40, int), RANDOM.randint(0, 2, 40), np.zeros(40, int)], 1)
    outputs, weight = scores(40, 4), RANDOM.rand(40) if weighted else None
    made = update(["auroc"], outputs, label, weight, task="multilabel", num_classes=4, weighted=weighted)
    expected = np.mean([roc_auc_score(label[:, each], outputs[:, each], sample_weight=weight) for each in (0, 2)])
    assert metrics.compute(made) == pytest.approx({"auroc": expected}, abs=1e-9)
    assert len(warnings()) == 1
    assert "class 1, 3" in warnings()[0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [0, 1])
def test_of_a_single_kind_of_label_there_is_no_curve(warnings, kind, weighted):
    from polytrainer.executors.backends.torch import metrics

    made = update(
        ["auroc", "accuracy"],
        scores(9, 1),
        np.full((9, 1), kind),
        np.ones(9) if weighted else None,
        task="binary",
        num_classes=2,
        weighted=weighted,
    )
    assert math.isnan(metrics.compute(made)["auroc"])
    [said] = warnings()
    assert said == "auroc is not defined, and NaN: the examples have both kinds of labels for no class."


def test_a_metric_that_is_not_a_number_stays_visible(made, fit, written, caplog):
    rows = [{"x": [a, b], "label": 1.0} for a, b in RANDOM.randn(20, 2).tolist()]
    files = {"train_files": written(rows), "eval_files": written(rows, "eval")}
    trainer = made(metrics=["pearson", "mse"], model_fn=linear(2, 1), save=no_export)
    result = fit(trainer, **files, schema=schema_of("x: 2 floats, label: 1 floats"))
    assert math.isnan(result.metrics["pearson"])
    assert math.isnan(json.loads((fit.output / "model_run" / "trainer_state.json").read_text())["metrics"]["pearson"])
    assert caplog.messages.count("The metric 'pearson' of an evaluation is nan.") == 1


NODE = """
    import torch
    from torch import nn
    from torchmetrics import MeanMetric
    from polytrainer import TorchTrainer

    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    class Never(MeanMetric):
        def update(self, outputs, label):
            super().update(torch.tensor(float("nan")))

    class Mine(TorchTrainer):
        def model_fn(self):
            return Linear(2, 3)

        def metrics_fn(self):
            return {**super().metrics_fn(), "never": Never(nan_strategy="disable")}

    run_fn = Mine("label", metrics=["accuracy", "confusion_matrix"]).run_fn
"""


@pytest.mark.line
def test_a_node_with_such_metrics_publishes_them_and_has_its_report(tested_node, module_file):
    tested_node.run(module_file=module_file(NODE, "never"))
    properties = tested_node.model.mlmd_artifact.custom_properties
    assert properties["metric.never"].string_value == properties["metric.test.never"].string_value == "nan"
    told = json.loads(Path(tested_node.model_run.uri, "trainer_state.json").read_text())
    assert np.sum(told["tables"]["test.confusion_matrix"]) == 23
    report = Path(tested_node.model_run.uri, "report.html").read_text()
    assert "could not be made" not in report
    assert "never" in report
