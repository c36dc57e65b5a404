"""Which evaluation of a Keras training is the best, where some are no numbers, or not what was asked for."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
# evaluations find what `values` say, whatever is trained
MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Give(tf.keras.callbacks.Callback):
        def __init__(self, given, values):
            super().__init__()
            self.given, self.values, self.count = given, values, 0

        def on_test_begin(self, logs=None):
            self.given.assign(float(self.values[self.count]))
            self.count += 1

    class Mine(KerasTrainer):
        def model_fn(self):
            inputs = {"x": tf.keras.Input((1,), name="x")}
            model = tf.keras.Model(inputs, tf.keras.layers.Dense(2, activation="sigmoid")(inputs["x"]))
            given = self.given = tf.Variable(0.0)

            class Given(tf.keras.metrics.Mean):
                def update_state(self, label, prediction, sample_weight=None):
                    return super().update_state(given)

            score = Given(name="score")
            f1 = tf.keras.metrics.F1Score(average=None, name="f1")
            metrics = [score, f1] if (self.fn_args.custom_config or {}).get("f1") else [score]
            model.compile("adam", "binary_crossentropy", metrics=metrics)
            return model

        def input_fn(self, files, *, training, first_step=0):
            batches = super().input_fn(files, training=training, first_step=first_step)
            return batches.map(lambda features, label: (features, tf.one_hot(label[:, 0], 2)))

        def callbacks(self):
            values = (self.fn_args.custom_config or {}).get("values")
            return [Give(self.given, values)] if values else []

    run_fn = Mine("label").run_fn
"""


@pytest.fixture
def train(node, module_file):
    """Trains an epoch for each value that an evaluation is to find."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})

    def run(values, early_stopping=None, **config):
        stopping = {"early_stopping": early_stopping} if early_stopping else {}
        epochs = len(values) or 2
        node.run(
            module_file=module_file(MODULE, "selection_module"),
            train_args=json.dumps({"num_epochs": epochs, "batch_size": 4, "seed": 1, **stopping}),
            custom_config=json.dumps({"values": values, **config}),
        )
        return json.loads(Path(node.model_run.uri, "trainer_state.json").read_text())

    run.node = node
    return run


def test_nan_is_never_the_best_and_counts_as_no_improvement(train):
    state = train(["nan", 0.1, "inf", 0.2, "nan"], {"metric": "score", "mode": "max", "patience": 2})
    assert (state["best"], state["best_step"], state["step"]) == (pytest.approx(0.2), 8, 10)
    assert state["waited"] == 1


def test_evaluations_that_are_all_nan_end_by_patience_with_the_last_weights(train, caplog):
    state = train(["nan"] * 6, {"metric": "score", "mode": "max", "patience": 3})
    assert (state["best"], state["step"], state["stopped"]) == (None, 6, True)
    assert "best_step" not in train.node.model.mlmd_artifact.custom_properties
    assert sum("'score' of an evaluation is nan. It is never the best" in each for each in caplog.messages) == 1


def test_nan_stays_visible_in_history_and_metrics_csv(train):
    state = train(["nan", 0.5], {"metric": "score", "mode": "max", "patience": 3})
    assert math.isnan(state["history"][0]["val_score"])
    with Path(train.node.model_run.uri, "logs", "metrics.csv").open() as file:
        assert [row["val_score"] for row in csv.DictReader(file)] == ["nan", "0.5"]


@pytest.mark.parametrize("metric", ["auc", "val_auc"])
def test_a_metric_that_no_evaluation_has_is_refused_before_training(train, metric):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=r"Nothing was trained: train_args.early_stopping.metric: got 'auc'; .*\["):
        train([0.5], {"metric": metric, "mode": "max"})


@pytest.mark.parametrize("metric", ["score", "val_score", "f1_1"])
def test_a_metric_may_be_named_as_keras_names_it_or_be_that_of_a_class(train, metric):
    state = train([0.5, 0.4], {"metric": metric, "mode": "max", "min_delta": 2.0}, f1=True)
    assert state["best_step"] == 2


def test_a_metric_with_a_value_for_each_class_is_published_for_each(train):
    state = train([0.5, 0.4], f1=True)
    assert {"loss", "score", "f1_0", "f1_1"} == set(state["metrics"])
    assert "val_f1_1" in state["history"][0]
