"""EstimatorTrainer: weights of examples and classes, against values computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.newest

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "w" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
X = np.array([-1.0, 0.5, 2.0, 1.0, -0.5])
W = np.array([3, 0, 1, 2, 5])
Y = np.array([0, 1, 1, 1, 0])
RATE = 0.1

MODULE = """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            return tf.estimator.LinearClassifier(
                [tf.feature_column.numeric_column("x")],
                optimizer=tf.keras.optimizers.legacy.SGD(0.1),
                weight_column=COLUMN,
            )
        # more

    run_fn = Mine("label", **ARGUMENTS).run_fn
"""
WITH_WEIGHTS = """
        def input_fn(self, files, **how):
            weigh = lambda features, label: (features, label, tf.cast(features.pop("w"), tf.float32))
            return super().input_fn(files, **how).map(weigh)
"""


@pytest.fixture
def weighted(node, splits, with_results, module_file):
    """Takes one step of gradient descent, from zeros: `weighted(arguments, column)` returns the node."""
    rows = [{"x": [float(x)], "w": [int(w)], "label": [int(y)]} for x, w, y in zip(X, W, Y, strict=True)]
    for split in ("train", "eval", "test"):
        folder = node.examples_uri / f"Split-{split}"
        next(folder.iterdir()).unlink()
        splits.write(folder / "data_tfrecord-00000-of-00001.gz", rows)
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    with_results(node)

    def run(arguments, column="self.weight_column", more="", **properties):
        source = MODULE.replace("ARGUMENTS", repr(arguments)).replace("COLUMN", column).replace("        # more", more)
        told = {
            "train_args": json.dumps({"num_steps": 1, "batch_size": 5, "seed": 1}),
            "eval_args": json.dumps({"batch_size": 2, "test_splits": ["test"]}),
        }
        node.run(module_file=module_file(source, "weighted_module"), **{**told, **properties})
        return node

    return run


def trained(node):
    """Kernel and bias of the published model."""
    import tensorflow as tf

    variables = tf.train.load_checkpoint(f"{node.model.uri}/Format-Serving/variables/variables")
    prefix = "linear/linear_model/"
    return [variables.get_tensor(prefix + "x/weights").item(), variables.get_tensor(prefix + "bias_weights").item()]


def one_step(weight):
    """The same by hand: the gradient of the sum of weighted cross-entropies over the number of examples."""
    errors = weight * (0.5 - Y)
    return [-RATE * (errors * X).sum() / len(X), -RATE * errors.sum() / len(X)]


def metrics(node):
    return json.loads(Path(node.model_run.uri, "trainer_state.json").read_text())["metrics"]


def probabilities(node):
    kernel, bias = trained(node)
    return 1 / (1 + np.exp(-(kernel * X + bias)))


def average_loss(node, weight):
    p = probabilities(node)
    return (weight * -np.log(np.where(Y == 1, p, 1 - p))).sum() / weight.sum()


def serialized(x):
    import tensorflow as tf

    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()


def test_weight_key_counts_in_loss_metrics_and_test_results_and_is_not_served(weighted):
    import tensorflow as tf

    node = weighted({"weight_key": "w"}, "self.weight_key")
    assert trained(node) == pytest.approx(one_step(W), abs=1e-6)
    assert metrics(node)["average_loss"] == pytest.approx(average_loss(node, W), abs=1e-6)
    assert metrics(node)["test.label/mean"] == pytest.approx((W * Y).sum() / W.sum())
    assert [row["example_weight"] for row in node.told("test")] == [[w] for w in W]
    signatures = tf.saved_model.load(f"{node.model.uri}/Format-Serving").signatures
    served = signatures["predict"](examples=tf.constant([serialized(x) for x in X]))["logistic"].numpy()[:, 0]
    assert served == pytest.approx(probabilities(node), abs=1e-6)
    assert set(signatures["raw:predict"].structured_input_signature[1]) == {"x"}


def test_class_weights_count_while_training_only(weighted):
    node = weighted({"class_weights": {1: 4.0}})
    assert trained(node) == pytest.approx(one_step(np.where(Y == 1, 4.0, 1.0)), abs=1e-6)
    assert metrics(node)["average_loss"] == pytest.approx(average_loss(node, np.ones(5)), abs=1e-6)
    assert "example_weight" not in node.told("test")[0]


def test_balanced_class_weights_are_scikit_learns_and_multiply_those_of_the_examples(weighted):
    node = weighted({"class_weights": "balanced", "weight_key": "w"})
    balanced = np.where(Y == 1, 5 / (2 * 3), 5 / (2 * 2))
    assert trained(node) == pytest.approx(one_step(W * balanced), abs=1e-6)
    assert metrics(node)["average_loss"] == pytest.approx(average_loss(node, W), abs=1e-6)


def test_an_input_fn_may_give_weights(weighted):
    node = weighted({}, more=WITH_WEIGHTS)
    assert trained(node) == pytest.approx(one_step(W), abs=1e-6)
    assert metrics(node)["average_loss"] == pytest.approx(average_loss(node, W), abs=1e-6)
    assert [row["example_weight"] for row in node.told("test")] == [[w] for w in W]


@pytest.mark.parametrize(
    ("arguments", "more", "match"),
    [
        ({"weight_key": "w"}, "", r"weight_key: got an Estimator whose loss does not depend on the example weights"),
        (
            {"class_weights": {0: 2.0}},
            "",
            r"class_weights: got an Estimator .*expected one that uses .*'example_weight'",
        ),
        ({}, WITH_WEIGHTS, r"the weights of input_fn: got an Estimator .*weight_column=self\.weight_column"),
    ],
)
def test_weights_that_the_estimator_does_not_use_are_refused_before_training(weighted, arguments, more, match):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=match):
        weighted(arguments, "None", more)


def test_a_feature_is_not_overwritten_by_the_weight(weighted):
    clash = """
        def input_fn(self, files, **how):
            rename = lambda features, label, *weight: ({**features, "example_weight": features["x"]}, label, *weight)
            return super().input_fn(files, **how).map(rename)
    """
    with pytest.raises(ValueError, match="got a feature 'example_weight', which is what the weight of an example is"):
        weighted({"class_weights": {0: 2.0}}, more=clash)
