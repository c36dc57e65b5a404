"""What is served is what was tested: `serving_default` says of raw rows what the test results say of the same rows.

Or the node was refused before anything was trained.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from boundary_cases import BACKENDS, FEATURES, KINDS, NAMINGS, module_source, transformed_name

from polytrainer.executors.errors import PreflightError

pytestmark = pytest.mark.line

# `make test` runs the commonest, and each kind once for each framework that treats it in its own way
SAMPLE = {
    ("keras", "raw", "kept", "dense"), ("estimator", "raw", "kept", "dense"), ("torch", "raw", "kept", "dense"),
    ("keras", "transformed", "kept", "dense"), ("torch", "transformed", "kept", "dense"),
    ("keras", "raw", "mixed", "missing"), ("torch", "transformed", "mixed", "missing"),
    ("estimator", "transformed", "kept", "text"), ("torch", "raw", "kept", "ragged"),
}  # fmt: skip


def cases():
    for case in itertools.product(BACKENDS, ("raw", "transformed"), NAMINGS, KINDS):
        yield pytest.param(*case, id="-".join(case), marks=() if case in SAMPLE else pytest.mark.exhaustive)


def only(backend, among):
    return [each if each == backend else pytest.param(each, marks=pytest.mark.exhaustive) for each in among]


@pytest.fixture
def trained(node, module_file, boundary_data, splits, with_results, tmp_path):
    """Trains; returns predictions by row: those of the test results, and those that the published model serves."""
    with_results(node)

    def train(backend, form, naming, kind, *, graph=True, raw_examples=True, **options):
        from tfx.types import artifact_utils, standard_artifacts

        data = boundary_data(kind, naming)
        stored = data.raw if form == "raw" else data.transformed
        for split in ("train", "eval"):
            splits.write_raw(node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz", stored)
        node.give("schema", "Schema", "schema", {"schema.pbtxt": data.schema})
        if graph:
            artifact = standard_artifacts.TransformGraph()
            artifact.uri = str(data.graph)
            node.input_dict["transform_graph"] = [artifact]
        if raw_examples:
            artifact = standard_artifacts.Examples()
            artifact.uri = str(node.examples_uri if form == "raw" else tmp_path / "raw_examples")
            artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
            if form != "raw":
                (tmp_path / "raw_examples" / "Split-eval").mkdir(parents=True)
                splits.write_raw(tmp_path / "raw_examples" / "Split-eval" / "data_tfrecord-00000-of-00001.gz", data.raw)
            node.input_dict["raw_examples"] = [artifact]
        takes_raw = form == "raw" and not graph
        names = [name if takes_raw else transformed_name(naming, name) for name in FEATURES]
        node.run(
            module_file=module_file(module_source(backend, kind, names, **options)),
            train_args=json.dumps({"num_steps": 4, "batch_size": 8, "seed": 1}),
        )
        told = {row["row"][0]: row["prediction"][0] for row in node.told("eval")}
        return told, served(node.model, data.raw)

    return train


def served(model, raw):
    """What the published model answers to raw examples without a label, by row."""
    import tensorflow as tf

    loaded = tf.saved_model.load(f"{model.uri}/Format-Serving")
    numbers, unlabelled = [], []
    for record in raw:
        example = tf.train.Example.FromString(record)
        numbers.append(example.features.feature["row"].int64_list.value[0])
        del example.features.feature["y"]
        unlabelled.append(example.SerializeToString())
    [answers] = loaded.signatures["serving_default"](examples=tf.constant(unlabelled)).values()
    return dict(zip(numbers, answers.numpy()[:, 0], strict=True))


def assert_same(told, says):
    assert sorted(told) == sorted(says)
    np.testing.assert_allclose([told[row] for row in sorted(told)], [says[row] for row in sorted(says)], rtol=1e-4)


@pytest.mark.parametrize(("backend", "form", "naming", "kind"), cases())
def test_with_a_transform_graph_and_the_raw_examples(trained, node, backend, form, naming, kind):
    told, says = trained(backend, form, naming, kind)
    assert_same(told, says)
    assert node.model.get_int_custom_property("parity.serving_rows") == len(says)


@pytest.mark.parametrize("backend", only("torch", BACKENDS))
def test_examples_that_may_be_raw_or_transformed_are_refused(trained, backend):
    with pytest.raises(PreflightError, match=r'takes and makes the same names and types; .* examples_are.*"raw"'):
        trained(backend, "raw", "kept", "dense", raw_examples=False)


@pytest.mark.parametrize("form", ["raw", "transformed"])
def test_what_is_said_of_the_examples_decides(trained, node, form):
    told, says = trained("torch", form, "kept", "dense", raw_examples=False, examples_are=form)
    assert_same(told, says)
    assert node.model.get_int_custom_property("parity.serving_rows") == (len(says) if form == "raw" else 0)


@pytest.mark.parametrize("backend", only("keras", BACKENDS))
def test_without_a_transform_graph_raw_examples_are_served(trained, backend):
    assert_same(*trained(backend, "raw", "kept", "dense", graph=False, raw_examples=False))


def test_transformed_examples_without_their_transform_graph_are_refused(trained, node):
    node.input_dict["examples"][0].name = "penguins:2026-11-30:Transform:transformed_examples:0"
    with pytest.raises(PreflightError, match="examples that Transform made, without its transform_graph"):
        trained("keras", "transformed", "kept", "dense", graph=False, raw_examples=False)


def test_they_are_trained_on_where_they_are_what_is_served(trained, node):
    node.input_dict["examples"][0].name = "penguins:2026-11-30:Transform:transformed_examples:0"
    trained("torch", "transformed", "kept", "dense", graph=False, raw_examples=False, examples_are="raw")
    assert node.model.get_int_custom_property("parity.serving_rows") > 0
