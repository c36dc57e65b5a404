"""`export_torch`: a loop of one's own publishes what TorchTrainer publishes of the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from own_loops import files_in, properties, served, signatures

from polytrainer.executors.errors import TrainingError

pytestmark = pytest.mark.line

MODEL = """
    import torch
    from torch import nn
    import polytrainer

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(7)
            self.linear = nn.Linear(1, 2)

        def forward(self, x):
            return self.linear(x)
"""
LOOP = (
    MODEL
    + """
    def run_fn(fn_args):
        model = Model()
        for features, label in polytrainer.torch_batches(fn_args, "train", "label"):
            nn.functional.cross_entropy(model(**features), label.flatten()).backward()
        polytrainer.export_torch(fn_args, model, label_key="label")
        return {"loss": 0.5}
"""
)
TRAINER = (
    MODEL
    + """
    class Mine(polytrainer.TorchTrainer):
        def model_fn(self):
            return Model()

    run_fn = Mine(label_key="label", loss="cross_entropy", optimizer="sgd", learning_rate=0.0).run_fn
"""
)
SCHEMA = """
feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.fixture
def publish(node, module_file, tmp_path):
    """`publish(source)`: the Model artifact of a node with this user module."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})

    def run(source, name, **changes):
        from tfx.types import standard_artifacts

        model = standard_artifacts.Model()
        model.uri = str(tmp_path / name)
        Path(model.uri).mkdir()
        node.output_dict["model"] = [model]
        node.run(module_file=module_file(source, name), **changes)
        return model

    return run


def rows_of(node):
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(tf.io.gfile.glob(f"{node.examples_uri}/Split-eval/*"), "GZIP"))


def test_a_loop_publishes_what_a_trainer_publishes_of_the_same_weights(publish, node):
    own = publish(LOOP, "own")
    theirs = publish(TRAINER, "theirs")
    assert files_in(own.uri) == files_in(theirs.uri)
    for folder in ("Format-Serving", "Format-TFMA"):
        assert signatures(f"{own.uri}/{folder}") == signatures(f"{theirs.uri}/{folder}")
    rows = [row.numpy() for row in rows_of(node)]
    [ours], [expected] = (served(f"{model.uri}/Format-Serving", rows).values() for model in (own, theirs))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    told, said = properties(own), properties(theirs)
    assert {name for name in told if name.startswith("parity")} == {
        "parity.saved_model", "parity.torch", "parity.serving_rows",
    }  # fmt: skip
    for name in ("framework", "framework_version", "signatures", "parity.serving_rows"):
        assert told[name] == said[name]
    assert float(told["parity.saved_model"]) <= 1e-5
    assert told["parity.serving_rows"] == 4
    assert told["metric.loss"] == 0.5  # what run_fn returned is kept


@pytest.fixture
def linear():
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 3)

        def forward(self, x):
            return self.linear(x)

    torch.manual_seed(0)
    return Model()


def rows(small):
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(tf.io.gfile.glob(small.eval), "GZIP").as_numpy_iterator())


def answers(small, tmp_path):
    return served(tmp_path / "run" / "Format-Serving", rows(small))


def numbers(small):
    """`x` of the eval split, `[41, 2]`."""
    import tensorflow as tf

    spec = {"x": tf.io.FixedLenFeature([2], tf.float32)}
    return tf.io.parse_example(rows(small), spec)["x"].numpy()


def said(model, x):
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


def test_the_model_keeps_its_mode_and_its_weights_and_the_second_call_replaces_the_first(
    loop_args, linear, small, tmp_path
):
    import torch

    from polytrainer import export_torch

    fn_args = loop_args()
    first = export_torch(fn_args, linear, label_key="label", export_args={"formats": ["SAVED_MODEL", "TFLITE"]})
    assert set(first.parity) == {"torch", "saved_model", "tflite"}
    assert linear.training
    with torch.no_grad():
        linear.linear.weight += 1.0
    result = export_torch(fn_args, linear.eval(), label_key="label")
    assert (set(result.parity), result.serving_rows) == ({"torch", "saved_model"}, 41)
    assert not (tmp_path / "run" / "Format-TFLite").exists()
    np.testing.assert_allclose(answers(small, tmp_path)["outputs"], said(linear, numbers(small)), rtol=1e-4, atol=1e-5)


def test_features_may_be_a_layer_before_the_model(loop_args, small, tmp_path):
    from torch import nn

    from polytrainer import Features, export_torch

    layer, model = Features({"x": 2}), nn.Linear(2, 1)
    export_torch(loop_args(), model, layer)  # without a label_key, too: the model does not read the label
    np.testing.assert_allclose(answers(small, tmp_path)["outputs"], said(model, numbers(small)), rtol=1e-4, atol=1e-5)
    export_torch(loop_args(), nn.Sequential(layer, model), layer, label_key="label")  # or its first layer
    np.testing.assert_allclose(answers(small, tmp_path)["outputs"], said(model, numbers(small)), rtol=1e-4, atol=1e-5)


def test_predict_fn_calls_the_model_and_names_its_outputs(loop_args, small, tmp_path):
    from torch import nn

    from polytrainer import export_torch

    model = nn.Linear(2, 2)

    def predict(model, features):
        assert set(features) == {"x"}
        scores = model(features["x"])
        return {"logits": scores, "probabilities": scores.softmax(1)}

    export_torch(loop_args(), model, ["x"], label_key="label", predict_fn=predict, classes=["no", "yes"])
    found = answers(small, tmp_path)
    assert set(found) == {"logits", "probabilities", "classes"}
    np.testing.assert_allclose(found["logits"], said(model, numbers(small)), rtol=1e-4, atol=1e-5)


def test_without_eval_examples_the_training_splits_take_their_place(loop_args, linear, written):
    from polytrainer import export_torch

    empty = written([], "empty")
    result = export_torch(loop_args(eval_files=[empty], eval_split_files={"eval": [empty]}), linear, label_key="label")
    assert result.serving_rows == 64


def mismatches():
    import torch
    from torch import nn

    class TakesMore(nn.Module):
        def forward(self, x, height):
            return x + height

    nan = nn.Linear(2, 1)
    with torch.no_grad():
        nan.weight[0, 0] = float("nan")

    def first(model, features):
        return model(features["x"])

    class Draws(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    return {
        "a feature that is none": (nn.Linear(2, 1), {"features": ["y"]}, r"features: got \['y'\].*\['x'\]"),
        "a label that is none": (nn.Linear(2, 1), {"label_key": "y"}, "label_key: got 'y'"),
        "a model that needs more": (TakesMore(), {}, "forward.*the parameters height"),
        "a model of another width": (nn.Linear(3, 1), {"predict_fn": first}, "the model: .*3.*x .16, 2. float32"),
        "no module": (print, {}, "the model of export_torch: got builtins.builtin_function_or_method"),
        "weights that are NaN": (nan, {"predict_fn": first}, "1 of weight"),
        "a model that draws": (Draws(), {}, "differ|something else|random"),
        "a format that is none": (nn.Linear(2, 1), {"export_args": {"tolerance": -1.0}}, "export_args.tolerance"),
    }


@pytest.mark.parametrize(
    "case",
    ["a feature that is none", "a label that is none", "a model that needs more", "a model of another width",
     "no module", "weights that are NaN", "a model that draws", "a format that is none"],
)  # fmt: skip
def test_what_does_not_fit_is_said_and_nothing_is_left(loop_args, tmp_path, case):
    from polytrainer import export_torch

    model, options, message = mismatches()[case]
    with pytest.raises(TrainingError, match=message) as refused:
        export_torch(loop_args(), model, **{"label_key": "label", **options})
    assert "Nothing is published" in str(refused.value)
    assert not (tmp_path / "run" / "Format-Serving").exists()


@pytest.mark.parametrize("raw", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_a_model_behind_transform_is_served_raw_examples(transformed_node, module_file, transform, raw):
    transformed_node.use(raw=raw)
    source = """
        import torch
        from torch import nn
        import polytrainer

        class Model(nn.Module):
            def forward(self, size_xf):
                return size_xf * 2

        def run_fn(fn_args):
            polytrainer.export_torch(fn_args, Model(), ["size_xf"], label_key="kind_xf")
    """
    transformed_node.run(module_file=module_file(source))
    found = served(f"{transformed_node.model.uri}/Format-Serving", [transform.serialized({"size": 9.0})])
    assert found["outputs"][0, 0] > 0  # above the mean; a raw example needs nothing but `size`
