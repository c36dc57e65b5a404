"""The step whose weights became the model goes with the model into ML Metadata."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.line

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
MODULES = {
    "estimator": """
        import tensorflow as tf
        from polytrainer import EstimatorTrainer

        class Mine(EstimatorTrainer):
            def model_fn(self):
                return tf.estimator.LinearClassifier([tf.feature_column.numeric_column("x")])

        run_fn = Mine("label").run_fn
    """,
    "keras": """
        import tensorflow as tf
        from polytrainer import KerasTrainer

        class Mine(KerasTrainer):
            def model_fn(self):
                inputs = {"x": tf.keras.Input((1,), name="x")}
                model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid")(inputs["x"]))
                model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
                return model

        run_fn = Mine("label").run_fn
    """,
    "torch": """
        from torch import nn
        from polytrainer import Features, TorchTrainer

        class Mine(TorchTrainer):
            def model_fn(self):
                features = Features.from_schema(self.schema, exclude=["label"])
                return nn.Sequential(features, nn.Linear(features.out_features, 2))

        run_fn = Mine("label", metrics=["accuracy"]).run_fn
    """,
    "a plain module": """
        import tensorflow as tf
        from polytrainer import TrainResult

        def run_fn(fn_args):
            tf.saved_model.save(tf.Module(), fn_args.serving_model_dir)
            chosen = fn_args.train_args.HasField("early_stopping")
            return TrainResult({"accuracy": 0.5}, steps=6, best_step=2 if chosen else None)
    """,
}
# nothing is ever better than the first of the evaluations, which come every two steps
STOPPING = {"early_stopping": {"metric": "accuracy", "patience": 2, "min_delta": 1.0}}
RANKS = {"strategy": "ddp", "num_processes": 2}


@pytest.fixture
def told(node, module_file):
    """Trains, and returns the properties of the model."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})

    def train(kind, **train_args):
        args = {"num_epochs": 3, "batch_size": 4, "seed": 1, **train_args}
        name = kind.replace(" ", "_")
        node.run(module_file=module_file(MODULES[kind], f"best_step_{name}"), train_args=json.dumps(args))
        return node.model.mlmd_artifact.custom_properties

    return train


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        *((kind, STOPPING) for kind in MODULES),
        pytest.param("torch", {**STOPPING, **RANKS}, marks=pytest.mark.exhaustive),
    ],
    ids=[*MODULES, "two ranks of torch"],
)
def test_a_step_that_a_metric_chose_is_told(told, kind, args):
    properties = told(kind, **args)
    assert properties["train_steps"].int_value == 6
    assert properties["best_step"].int_value == 2


@pytest.mark.parametrize("kind", MODULES)
def test_where_the_last_step_is_the_model_there_is_no_best(told, kind):
    assert "best_step" not in told(kind)
