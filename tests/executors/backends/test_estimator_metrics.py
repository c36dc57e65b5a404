"""EstimatorTrainer: every metric that is published is true of the model and the test results that are published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.newest

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 2 } } }
    feature { name: "w" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""

MODULE = """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            columns = [tf.feature_column.numeric_column("x", shape=[2])]
            adam = tf.keras.optimizers.legacy.Adam(0.1)
            return tf.estimator.DNNClassifier([4], columns, optimizer=adam, weight_column=self.weight_key)

    run_fn = Mine(label_key="label", weight_key=WEIGHT).run_fn
"""


@pytest.fixture
def binary_node(node, splits, with_results):
    """A node whose splits are no multiple of the batch size: 37 examples to train on, 23 and 11 held out."""
    random = np.random.RandomState(0)
    for split, count in {"train": 37, "eval": 23, "test": 11}.items():
        rows = []
        for number in range(count):
            x = random.randn(2).round(3).tolist()
            label = int((sum(x) > 0) != (random.rand() < 0.2))
            rows.append({"x": x, "w": [[0.5, 1.0, 3.0, 0.0][number % 4]], "label": [label]})
        folder = node.examples_uri / f"Split-{split}"
        next(folder.iterdir()).unlink()
        splits.write(folder / "data_tfrecord-00000-of-00001.gz", rows)
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    return with_results(node)


def recomputed(rows):
    """The metrics of a binary head, of rows of test results."""
    import tensorflow as tf

    def of(name):
        return np.array([row[name][0] for row in rows], np.float64)

    p, y = of("prediction"), of("label")
    w = of("example_weight") if "example_weight" in rows[0] else np.ones_like(y)
    losses = -np.log(np.where(y == 1, p, 1 - p))

    def mean(values):
        return (w * values).sum() / w.sum()

    def auc(curve):
        metric = tf.keras.metrics.AUC(curve=curve)
        metric.update_state(y, p.astype(np.float32), sample_weight=w)
        return float(metric.result())

    positive = p > 0.5
    return {
        "loss": (w * losses).sum() / len(y),  # SUM_OVER_BATCH_SIZE, over all examples
        "average_loss": mean(losses),
        "accuracy": mean(positive == y),
        "accuracy_baseline": max(mean(y), 1 - mean(y)),
        "precision": (w * positive * y).sum() / (w * positive).sum(),
        "recall": (w * positive * y).sum() / (w * y).sum(),
        "label/mean": mean(y),
        "prediction/mean": mean(p),
        "auc": auc("ROC"),
        "auc_precision_recall": auc("PR"),
    }


LIMITED = {"num_steps": 1}
STOPPING = {"early_stopping": {"metric": "accuracy", "patience": 2, "min_delta": 1.0}}  # the first is the best


@pytest.mark.parametrize(
    ("weight", "limit", "stopping"),
    [
        pytest.param(None, {}, {}, marks=pytest.mark.exhaustive),
        (None, LIMITED, {}),
        pytest.param("w", {}, STOPPING, marks=pytest.mark.exhaustive),
        ("w", LIMITED, STOPPING),
    ],
)
def test_published_metrics_are_those_of_whole_splits_and_of_the_published_model(
    binary_node, module_file, splits, weight, limit, stopping
):
    import tensorflow as tf

    binary_node.run(
        module_file=module_file(MODULE.replace("WEIGHT", repr(weight)), "measured"),
        train_args=json.dumps({"num_epochs": 3, "batch_size": 8, "seed": 1, **stopping}),
        eval_args=json.dumps({"batch_size": 10, "test_splits": ["eval", "test"], **limit}),
    )
    published = json.loads(Path(binary_node.model_run.uri, "trainer_state.json").read_text())["metrics"]
    predict = tf.saved_model.load(f"{binary_node.model.uri}/Format-Serving").signatures["predict"]
    for split in ("eval", "test"):
        rows = binary_node.told(split)
        assert len(rows) == {"eval": 23, "test": 11}[split]
        measured = {name.removeprefix(f"{split}."): value for name, value in published.items() if f"{split}." in name}
        assert measured == pytest.approx(recomputed(rows), abs=1e-6)
        [file] = (binary_node.examples_uri / f"Split-{split}").iterdir()
        records = list(tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator())
        served = predict(examples=tf.constant(records))["logistic"].numpy()[:, 0]
        assert served == pytest.approx(np.array([row["prediction"][0] for row in rows]), abs=1e-6)
        for name, value in measured.items():
            assert binary_node.metric(f"{split}.{name}") == pytest.approx(value)
    whole = {name: published[name] for name in published if not name.startswith(("eval.", "test."))}
    assert whole == pytest.approx(recomputed(binary_node.told("eval")), abs=1e-6)


def test_num_steps_limits_evaluations_while_training(binary_node, module_file):
    binary_node.run(
        module_file=module_file(MODULE.replace("WEIGHT", "None"), "limited"),
        train_args=json.dumps({"num_epochs": 2, "batch_size": 8, "seed": 1, "early_stopping": {}}),
        eval_args=json.dumps({"batch_size": 10, "num_steps": 1, "test_splits": ["eval"]}),
    )
    state = json.loads(Path(binary_node.model_run.uri, "trainer_state.json").read_text())
    best = min(state["history"], key=lambda row: row["loss"])
    begin = recomputed(binary_node.told("eval")[:10])
    assert best["average_loss"] == pytest.approx(begin["average_loss"], abs=1e-6)
    assert best["average_loss"] != pytest.approx(state["metrics"]["average_loss"], abs=1e-4)
