"""Loops of one's own: the examples of the documentation, and what is kept of an export in the artifact's properties."""

from __future__ import annotations

import re

import pytest
from own_loops import properties, served

from polytrainer.executors.result import TrainResult

SCHEMA = "\n".join(
    f'feature {{ name: "{name}" type: {kind} presence {{ min_fraction: 1 }} shape {{ dim {{ size: 1 }} }} }}'
    for name, kind in (("bill_length", "FLOAT"), ("body_mass", "FLOAT"), ("species", "INT"))
)


def example(checkout, function):
    """The module of the documentation that calls a function."""
    page = (checkout / "docs" / "plain-modules.md").read_text()
    [module] = [
        block for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE) if function in block
    ]
    return module


@pytest.mark.line
@pytest.mark.parametrize(
    ("function", "framework"), [("export_torch", "pytorch"), ("export_keras", "keras")], ids=["torch", "keras"]
)
def test_the_example_of_the_documentation_publishes_a_model(node, module_file, splits, checkout, function, framework):
    rows = [{"bill_length": [i / 10], "body_mass": [-i / 10], "species": [i % 3]} for i in range(12)]
    for split in ("train", "eval"):
        splits.write(node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz", rows)
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    node.run(module_file=module_file(example(checkout, function), function))
    said = properties(node.model)
    assert (said["framework"], said["parity.serving_rows"]) == (framework, 12)
    assert said["signatures"] == "predict,serving_default,transform_features"
    assert float(said["parity.saved_model"]) <= 1e-5
    assert said["metric.loss"] > 0
    unlabelled = splits.write(node.examples_uri / "unlabelled", [{"bill_length": [1.0], "body_mass": [2.0]}])
    import tensorflow as tf

    raw = list(tf.data.TFRecordDataset([unlabelled]).as_numpy_iterator())
    assert [value.shape for value in served(f"{node.model.uri}/Format-Serving", raw).values()] == [(1, 3)]


@pytest.mark.line
def test_a_tuners_values_are_the_loops_own(loop_args, tmp_path):
    """A trainer class takes them for arguments of its own, and refuses those that it does not have."""
    from torch import nn

    from polytrainer import export_torch, torch_batches

    fn_args = loop_args(hyperparameters={"values": {"units": 3}}, test_results_dir=str(tmp_path / "results"))
    features, _ = next(iter(torch_batches(fn_args, "eval", "label")))
    assert features["x"].shape == (32, 2)
    result = export_torch(
        fn_args, nn.Linear(2, 3), label_key="label", predict_fn=lambda model, given: model(given["x"])
    )
    assert result.serving_rows == 41


def test_what_a_run_fn_says_itself_counts_more_than_what_was_measured():
    measured = TrainResult(framework="pytorch", parity={"torch": 0.0, "onnx": 0.5}, label_key="y", serving_rows=4)
    own = TrainResult({"loss": 1.0}, steps=3, framework="jax", parity={"onnx": 0.25})
    assert own.completed(measured) == TrainResult(
        {"loss": 1.0}, steps=3, framework="jax", parity={"torch": 0.0, "onnx": 0.25}, label_key="y", serving_rows=4
    )
    assert own.completed(None) is own
