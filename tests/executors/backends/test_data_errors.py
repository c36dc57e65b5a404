"""Labels that no loss takes are refused before training, in one line, whatever the framework."""

from __future__ import annotations

import json

import pytest

from polytrainer.executors.backends.data_errors import reason
from polytrainer.executors.errors import PreflightError, TrainingError

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: TYPE presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
MODULES = {
    "keras": """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            x = tf.keras.Input((1,), name="x")
            model = tf.keras.Model({"x": x}, tf.keras.layers.Dense(2, activation="softmax")(x))
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            return model

    run_fn = Mine("label").run_fn
""",
    "torch": """
    from torch import nn
    from polytrainer import TorchTrainer

    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    class Mine(TorchTrainer):
        def model_fn(self):
            return Linear(1, 2)

    run_fn = Mine("label", loss="cross_entropy").run_fn
""",
    "estimator": """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            return tf.estimator.LinearClassifier([tf.feature_column.numeric_column("x")], n_classes=2)

    run_fn = Mine("label").run_fn
""",
}
REMEDIES = {
    "keras": r'KerasTrainer\(label_vocabulary="auto"\)',
    "torch": r'TorchTrainer\(label_vocabulary="auto"\)',
    "estimator": r'EstimatorTrainer\(label_vocabulary="auto"\)',
}


@pytest.fixture
def train(node, module_file, splits):
    """Trains two steps on eight examples with given labels."""

    def run(backend, labels, kind):
        rows = [{"x": [float(number)], "label": [label]} for number, label in enumerate(labels)]
        for split in ("train", "eval"):
            splits.write(node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz", rows)
        node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA.replace("TYPE", kind)})
        train_args = json.dumps({"num_steps": 2, "batch_size": 4, "seed": 1})
        node.run(module_file=module_file(MODULES[backend]), train_args=train_args)

    return run


@pytest.mark.line
@pytest.mark.parametrize("backend", MODULES)
def test_a_label_of_words_is_refused_with_what_makes_numbers_of_it(train, backend):
    with pytest.raises(PreflightError, match=rf"the label 'label': got text; expected numbers\. {REMEDIES[backend]}"):
        train(backend, [b"yes", b"no"] * 4, "BYTES")


@pytest.mark.line
def test_keras_says_in_one_line_what_its_loss_does_not_take(train):
    with pytest.raises(
        PreflightError, match=r"the first batch: got .*7.*\[0, 2\).*; expected a model, a loss"
    ) as raised:
        train("keras", [0, 1, 7, 1] * 2, "INT")
    assert "File" not in str(raised.value)


@pytest.mark.line
def test_an_estimators_head_does_so_too(train):
    with pytest.raises(
        TrainingError, match=r"the batches after step 0: got InvalidArgumentError: .*such as the"
    ) as raised:
        train("estimator", [0, 1, 7, 1] * 2, "INT")
    assert "File" not in str(raised.value)


def test_the_reason_is_what_the_operation_says():
    error = ValueError(
        "Graph execution error:\n\nDetected at node 'Cast' defined at (most recent call last):\n"
        "    File \"a.py\", line 1, in <module>\nNode: 'Cast'\n"
        "Cast string to float is not supported\n\t [[{{node Cast}}]] [Op:__inference_1]\n"
    )
    assert reason(error) == "ValueError: Cast string to float is not supported"
    assert reason(KeyError()) == "KeyError"
