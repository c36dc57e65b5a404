"""Every metric that a Keras training publishes, computed again from the SavedModel and from the test results."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = pytest.mark.newest

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 2 } } }
    feature { name: "weight" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            config = self.fn_args.custom_config or {}
            inputs = {"x": tf.keras.Input((2,), name="x")}
            hidden = tf.keras.layers.BatchNormalization()(tf.keras.layers.Dense(4, activation="tanh")(inputs["x"]))
            out = tf.keras.layers.Dense(1, activation="sigmoid")(tf.keras.layers.Dropout(0.2)(hidden))
            model = tf.keras.Model(inputs, out)
            ema = {"use_ema": True, "ema_momentum": 0.9} if config.get("ema") else {}
            metrics = ["accuracy", "mse", tf.keras.metrics.AUC(name="auc")]
            weighted = [tf.keras.metrics.MeanSquaredError(name="weighted_mse")]
            optimizer = tf.keras.optimizers.Adam(0.05, **ema)
            model.compile(optimizer, "binary_crossentropy", metrics=metrics, weighted_metrics=weighted)
            return model

        def callbacks(self):
            swap = (self.fn_args.custom_config or {}).get("swap")
            return [] if swap is None else [tf.keras.callbacks.SwapEMAWeights(swap_on_epoch=swap)]

    run_fn = Mine("label", weight_key=WEIGHT).run_fn
"""
# nothing is ever better than the first evaluation
STOPPING = {"early_stopping": {"metric": "mse", "patience": 2, "min_delta": 1.0}}
LIMITED = {"num_steps": 1, "batch_size": 4}
CASES = {
    "plain": ({}, {}, {}),
    "limited evaluations": ({}, LIMITED, {}),
    "early stopping": (STOPPING, {}, {}),
    "early stopping by limited evaluations": (STOPPING, LIMITED, {}),
    "averages": ({}, LIMITED, {"ema": True}),
    "averages and early stopping": (STOPPING, {}, {"ema": True}),
    "averages that evaluations swap in": ({}, LIMITED, {"ema": True, "swap": False}),
    "averages that evaluations swap in, and early stopping": (STOPPING, {}, {"ema": True, "swap": False}),
    "averages that epochs swap in": ({}, {}, {"ema": True, "swap": True}),
    "averages that epochs swap in, and early stopping": (STOPPING, {}, {"ema": True, "swap": True}),
    "weights": ({}, LIMITED, {"weight": True}),
}
SAMPLE = {
    "limited evaluations", "averages and early stopping", "averages that evaluations swap in, and early stopping",
    "weights",
}  # fmt: skip


def sampled(names):
    return [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.exhaustive) for name in names]


@pytest.fixture
def trained(node, module_file, splits, with_results):
    """Trains a case and returns the node."""
    random = np.random.RandomState(3)

    def rows(count):
        for x in random.randn(count, 2).round(3).tolist():
            noisy = int((sum(x) > 0) != (random.rand() < 0.2))
            yield {"x": x, "label": [noisy], "weight": [float(random.randint(0, 4))]}

    node.rows = {}
    for split, count in {"train": 31, "eval": 21, "test": 19}.items():
        folder = node.examples_uri / f"Split-{split}"
        next(folder.iterdir()).unlink()
        node.rows[split] = list(rows(count))
        splits.write(folder / "data_tfrecord-00000-of-00001.gz", node.rows[split])
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})

    def train(train_args, eval_args, config):
        import tensorflow as tf

        if "swap" in config and not hasattr(tf.keras.callbacks, "SwapEMAWeights"):
            pytest.skip("a callback of Keras 3")
        weight = repr("weight" if config.get("weight") else None)
        with_results(node).run(
            module_file=module_file(MODULE.replace("WEIGHT", weight), "published_module"),
            train_args=json.dumps({"num_epochs": 5, "batch_size": 8, "seed": 1, **train_args}),
            eval_args=json.dumps({"test_splits": ["test"], **eval_args}),
            custom_config=json.dumps(config),
        )
        with open(f"{node.model_run.uri}/trainer_state.json") as file:  # noqa: PTH123
            node.state = json.load(file)
        return node

    return train


def numbers(predictions, labels, weights):
    """Metrics by their definitions; AUC, which Keras defines by thresholds, by Keras."""
    import tensorflow as tf

    p, y, w = (np.asarray(values, np.float64).ravel() for values in (predictions, labels, weights))
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    auc = tf.keras.metrics.AUC()
    auc.update_state(y, p)
    return {
        "loss": -np.mean(w * (y * np.log(clipped) + (1 - y) * np.log(1 - clipped))),
        "accuracy": np.mean((p > 0.5) == y),
        "mse": np.mean((p - y) ** 2),
        "auc": float(auc.result()),
        "weighted_mse": np.sum(w * (p - y) ** 2) / np.sum(w),
    }


def by_saved_model(node, split):
    import tensorflow as tf

    predict = tf.saved_model.load(f"{node.model.uri}/Format-Serving").signatures["predict"]
    rows = node.rows[split]
    spec = predict.structured_input_signature[1]
    features = {"x": [row["x"] for row in rows], "weight": [row["weight"] for row in rows]}
    return predict(**{name: tf.constant(features[name]) for name in spec})["outputs"].numpy()


@pytest.mark.parametrize("case", sampled(CASES))
def test_metrics_are_of_whole_splits_and_of_the_weights_that_are_published(trained, case):
    train_args, eval_args, config = CASES[case]
    node = trained(train_args, eval_args, config)
    weights = {
        split: [row["weight"][0] if config.get("weight") else 1.0 for row in rows] for split, rows in node.rows.items()
    }
    labels = {split: [row["label"][0] for row in rows] for split, rows in node.rows.items()}
    for split in ("eval", "test"):
        for name, value in numbers(by_saved_model(node, split), labels[split], weights[split]).items():
            published = node.metric(name if split == "eval" else f"test.{name}")
            assert published == pytest.approx(value, abs=1e-6), (split, name)
    rows = node.told("test")
    told = numbers([row["prediction"][0] for row in rows], labels["test"], weights["test"])
    for name, value in told.items():
        assert node.metric(f"test.{name}") == pytest.approx(value, abs=1e-6), name
    if config.get("weight"):
        assert [row["example_weight"][0] for row in rows] == weights["test"]


@pytest.mark.parametrize("case", sampled(case for case in CASES if "early stopping" in case and "by" not in case))
def test_the_best_weights_are_those_that_were_measured(trained, case):
    train_args, eval_args, config = CASES[case]
    node = trained(train_args, eval_args, config)
    assert (node.state["step"], node.state["best_step"]) == (12, 4)
    assert node.metric("mse") == pytest.approx(node.state["best"], abs=1e-7)
