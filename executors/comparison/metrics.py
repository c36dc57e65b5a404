"""TFMA's metrics of joined rows: what it is asked, and what its answer says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam

from polytrainer.executors.comparison import formulas as f
from polytrainer.executors.comparison import joined, slicing
from polytrainer.executors.comparison.layout import Layout
from polytrainer.proto.comparator_args import BINARY, MULTICLASS, MULTILABEL, RANKING, REGRESSION

if TYPE_CHECKING:
    import tensorflow_model_analysis as tfma

_AT_HALF = ("ConfusionMatrixAtThresholds", '"thresholds": [0.5]')
_CLASSES = {
    BINARY: [
        _AT_HALF,
        *((name, "") for name in ("BinaryAccuracy", "Precision", "Recall", "F1Score", "BinaryCrossEntropy", "AUC")),
    ],
    MULTICLASS: [("MultiClassConfusionMatrixPlot", ""), ("CategoricalCrossEntropy", "")],
    MULTILABEL: [_AT_HALF, ("BinaryCrossEntropy", "")],
    REGRESSION: [("MeanSquaredError", ""), ("MeanAbsoluteError", "")],
    RANKING: [("MeanPrediction", "")],  # of each metric, over the queries: `queries` made it a class of the prediction
}
# TFMA has no R², and its ExactMatch takes no probabilities: `statistics.summary` has these, of sums on Beam.
FROM_SUMS = frozenset(["r2", "exact_match"])
_VALUES = {
    "binary_crossentropy": f.LOSS,
    "categorical_crossentropy": f.LOSS,
    "mean_squared_error": f.SQUARED,
    "mean_absolute_error": f.ABSOLUTE,
}


def eval_config(layout: Layout, kinds: Sequence[slicing.Kind], is_weighted: bool) -> tfma.EvalConfig:
    """What TFMA is asked: an evaluation without models, of what several models said of the same rows.

    Args:
        layout: What is compared.
        kinds: The features of each kind of slice.
        is_weighted: Whether rows have weights.
    """
    import tensorflow_model_analysis as tfma

    weight = joined.WEIGHT if is_weighted or layout.task == RANKING else ""
    metrics = [tfma.MetricConfig(class_name=name, config=f"{{{config}}}") for name, config in _CLASSES[layout.task]]
    specs = tfma.MetricsSpec(metrics=[*metrics, tfma.MetricConfig(class_name="ExampleCount")])
    if len(layout.models) > 1:
        specs.model_names.extend(layout.models)
    if layout.task in (MULTILABEL, RANKING):
        classes = layout.outputs if layout.task == MULTILABEL else len(layout.metrics)
        specs.binarize.class_ids.values.extend(range(classes))
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                name=name,
                label_key=joined.LABEL,
                prediction_key=joined.prediction_key(name),
                example_weight_key=weight,
            )
            for name in layout.models
        ],
        metrics_specs=[specs],
        slicing_specs=[tfma.SlicingSpec(feature_keys=kind) for kind in kinds],
    )


def evaluate(rows: beam.PCollection, config: tfma.EvalConfig, folder: str) -> None:
    """Adds TFMA's evaluation to a pipeline.

    Args:
        rows: Serialized, as `joined.row` makes them.
        config: From `eval_config`.
        folder: Where TFMA writes its files.
    """
    import tensorflow_model_analysis as tfma
    from tfx_bsl.tfxio import tf_example_record

    source = tf_example_record.TFExampleBeamRecord(
        physical_format="inmem", telemetry_descriptors=["polytrainer"], raw_record_column_name=tfma.ARROW_INPUT_COLUMN
    )
    *extractors, of_slices = tfma.default_extractors(eval_config=config)
    extractors += [_writable_predictions(), of_slices]  # the evaluator takes up from the last
    evaluated = tfma.ExtractEvaluateAndWriteResults(eval_config=config, extractors=extractors, output_path=folder)
    _ = rows | "ToArrow" >> source.BeamSource() | "Evaluate" >> evaluated


def _writable_predictions() -> Any:
    """Copies: TFMA's categorical cross entropy divides in place, what Arrow lends for reading only."""
    import tensorflow_model_analysis as tfma

    return tfma.extractors.Extractor(stage_name="WritablePredictions", ptransform=beam.Map(_with_own_predictions))


def _with_own_predictions(extracts: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np
    import tensorflow_model_analysis as tfma

    told = extracts[tfma.PREDICTIONS_KEY]
    own = {name: np.array(each) for name, each in told.items()} if isinstance(told, Mapping) else np.array(told)
    return {**extracts, tfma.PREDICTIONS_KEY: own}


def read(folder: str, layout: Layout) -> dict[str, dict[str, dict[str, Any]]]:
    """What TFMA found: slice → model → sums as `formulas` takes them, and `auc` and `confusion_matrix`.

    Args:
        folder: Where TFMA's files are.
        layout: What was compared.
    """
    import numpy as np
    import tensorflow_model_analysis as tfma

    found: dict[str, dict[str, dict[str, Any]]] = {}

    def of(slice_key: Any, key: Any) -> dict[str, Any]:
        words = {each.column: each.bytes_value.decode() for each in slice_key.single_slice_keys}
        by_model = found.setdefault(slicing.name(words), {})
        return by_model.setdefault(key.model_name or layout.models[0], {"counts": {}, "means": {}})

    for each in tfma.load_metrics(folder):
        for entry in each.metric_keys_and_values:
            into, value = of(each.slice_key, entry.key), entry.value
            kind = value.WhichOneof("type")
            if kind == "confusion_matrix_at_thresholds":
                [counts] = value.confusion_matrix_at_thresholds.matrices
                into["counts"][entry.key.sub_key.class_id.value] = counts
            elif entry.key.name == "auc":
                into["auc"] = _number(value, kind)
            elif entry.key.name == "mean_prediction":
                into["means"][layout.metrics[entry.key.sub_key.class_id.value]] = [_number(value, kind)]
            elif entry.key.name in _VALUES:
                into["means"].setdefault(_VALUES[entry.key.name], []).append(_number(value, kind))
    if layout.task == MULTICLASS:
        for each in tfma.load_plots(folder):
            for entry in each.plot_keys_and_values:
                matrices = entry.value.multi_class_confusion_matrix_at_thresholds.matrices
                matrix = np.zeros((layout.outputs, layout.outputs))
                for cell in matrices[0].entries if matrices else []:
                    matrix[cell.actual_class_id, cell.predicted_class_id] += cell.num_weighted_examples
                of(each.slice_key, entry.key)["matrix"] = matrix
    return {
        name: {model: _sums(told, layout.task) for model, told in by_model.items()} for name, by_model in found.items()
    }


def value(metric: str, sums: Mapping[str, Any], task: str) -> float | None:
    """A metric by what `read` found; None where it is not defined, as the AUC of one class only."""
    number = float(sums["auc"]) if metric == "auc" else float(f.value(metric, sums, task))
    return number if abs(number) < float("inf") else None


def _sums(told: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Means are sums over a weight of 1."""
    import numpy as np

    sums: dict[str, Any] = {part: np.mean(values) for part, values in told["means"].items()}
    sums[f.WEIGHT] = 1.0
    if task == MULTICLASS:
        matrix = told["matrix"]
        sums[f.HITS], sums[f.PREDICTED], sums[f.ACTUAL] = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
        sums[f.RIGHT] = matrix.trace() / matrix.sum() if matrix.sum() else np.nan
        sums["confusion_matrix"] = matrix.tolist()
    elif task in (BINARY, MULTILABEL):
        cells = [told["counts"][number] for number in sorted(told["counts"])]
        negatives, misses, hits, alarms = (
            np.array([getattr(cell, name) for cell in cells], np.float64)
            for name in ("true_negatives", "false_negatives", "true_positives", "false_positives")
        )
        sums[f.HITS], sums[f.PREDICTED], sums[f.ACTUAL] = hits, hits + alarms, hits + misses
        everything = (negatives + misses + hits + alarms).sum()
        sums[f.RIGHT] = (negatives + hits).sum() / everything if everything else np.nan
        matrices = np.stack([negatives, alarms, misses, hits], axis=1).reshape(-1, 2, 2).tolist()
        sums["confusion_matrix"] = matrices[0] if task == BINARY else matrices
    if "auc" in told:
        sums["auc"] = told["auc"]
    return sums


def _number(value: Any, kind: str) -> float:
    """A number, which some versions wrap into an array of one."""
    import numpy as np

    if kind == "array_value":
        return float(value.array_value.float64_values[0])
    wrapped = getattr(value, kind)
    return float(np.asarray(getattr(wrapped, "value", wrapped)))
