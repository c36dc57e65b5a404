"""Rows whose features have all the names that data sets have and programming languages have not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from transforms import apply_transform, serialized

NAMES = (
    "area error", "area_error", "area.error", "area/error", "area-error", "Area_error", "été", "日本", "class", "self",
    "1st", "_hidden", "a:b", "50%", "x" * 200, "😀",
)  # fmt: skip
ID, UNREAD, LABEL = "the id", "no-one reads.this", "is it/so"


def rows():
    """Eight rows: a number for each name, an id that Transform drops, a feature that no model reads, and the label."""
    numbers = random.Random(0)
    return [
        {
            **{name: numbers.gauss(0, 1) for name in NAMES},
            UNREAD: float(row),
            ID: b"id of %d" % row,
            LABEL: row % 2,
        }
        for row in range(8)
    ]


def raw_schema():
    """The schema of the rows."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema()
    types = {ID: schema_pb2.BYTES, LABEL: schema_pb2.INT}
    for name in (*NAMES, UNREAD, ID, LABEL):
        feature = schema.feature.add(name=name, type=types.get(name, schema_pb2.FLOAT))
        feature.presence.min_fraction = feature.presence.min_count = 1
        feature.shape.dim.add(size=1)
    return text_format.MessageToString(schema, as_utf8=True)


def preprocessing_fn(inputs):
    import tensorflow_transform as tft

    scaled = {f"{name} z": tft.scale_to_z_score(inputs[name]) for name in (*NAMES, UNREAD)}
    return {**scaled, f"{LABEL} xf": inputs[LABEL]}


@pytest.fixture(scope="session")
def odd_transform(tmp_path_factory):
    """The transform graph of the rows, and they, raw and transformed."""
    return apply_transform(tmp_path_factory.mktemp("odd_names"), raw_schema(), rows(), preprocessing_fn)


@pytest.fixture
def odd_node(node, request):
    """The `node` with these rows: raw ones of a schema, or, with `transformed=True`, transformed ones of a graph."""
    import tensorflow as tf
    from tfx.types import standard_artifacts

    def use(*, transformed):
        examples = [serialized(row) for row in rows()]
        if transformed:
            made = request.getfixturevalue("odd_transform")
            graph = standard_artifacts.TransformGraph()
            graph.uri = str(made.graph)
            node.input_dict["transform_graph"] = [graph]
            examples = made.transformed
        else:
            node.give("schema", "Schema", "schema", {"schema.pbtxt": raw_schema()})
        for split in ("train", "eval"):
            path = str(node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz")
            with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
                for example in examples:
                    writer.write(example)

    node.use = use
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 1, "batch_size": 4, "seed": 1})
    return node


def lacking(*names):
    """The rows as serialized examples without some features."""
    return [serialized({name: value for name, value in row.items() if name not in names}) for row in rows()]


def columns(arguments):
    """The rows as the arguments of `predict`.

    Args:
        arguments: Name of the feature by that of the argument.
    """
    import tensorflow as tf

    return {argument: tf.constant([[row[name]] for row in rows()]) for argument, name in arguments.items()}


def check_served(node, *, transformed, label, by_name="predict", output="outputs"):
    """Checks that a model is served with all of the names, and without the features that nothing needs.

    Args:
        node: After its run.
        transformed: Whether there is a transform graph.
        label: The label's name as the model has it.
        by_name: The signature of features by name.
        output: The model's output to look at.
    """
    import numpy as np
    import tensorflow as tf

    path = Path(node.model.uri, "Format-Serving")
    signatures = tf.saved_model.load(str(path)).signatures
    by_example = signatures["predict" if by_name == "raw:predict" else "serving_default"]
    whole = by_example(examples=tf.constant(lacking()))[output].numpy()
    needed_alone = by_example(examples=tf.constant(lacking(ID, UNREAD, LABEL)))[output].numpy()
    assert np.array_equal(whole, needed_alone)
    assert len(np.unique(whole[:, 0])) > len(whole) // 2
    told = path / "assets.extra" / "predict_inputs.json"
    arguments = json.loads(told.read_text())
    assert sorted(arguments.values()) == sorted(NAMES)
    assert signatures[by_name](**columns(arguments))[output].numpy() == pytest.approx(whole, abs=1e-6)
    made = set(signatures["transform_features"](examples=tf.constant(lacking())))
    features = {f"{name} z" for name in (*NAMES, UNREAD)} if transformed else {*NAMES, UNREAD, ID}
    assert made == {*features, label}
