"""KerasTrainer with a transform graph: what is served on raw examples is what was trained on transformed ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

RAW_SCHEMA = """
    feature { name: "size" type: FLOAT value_count { min: 0 max: 1 } }
    feature { name: "color" type: BYTES value_count { min: 0 max: 1 } }
    feature { name: "words" type: BYTES }
    feature { name: "kind" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""

ROWS = [
    {"size": 1.0, "color": b"red", "words": [b"a", b"b"], "kind": b"small"},
    {"size": 9.0, "color": b"blue", "words": [b"c"], "kind": b"large"},
    {"color": b"red", "words": [b"a"], "kind": b"small"},  # no size
    {"size": 8.0, "words": [b"b", b"c", b"c"], "kind": b"large"},  # no color
    {"size": 2.0, "color": b"green", "kind": b"small"},  # no words
    {"kind": b"large"},  # nothing at all
    {"size": 7.5, "color": b"blue", "words": [b"b"], "kind": b"large"},
    {"size": 1.5, "color": b"red", "words": [b"a"], "kind": b"small"},
]

MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class WordCount(tf.keras.layers.Layer):
        def call(self, words):
            indices = tf.sparse.to_dense(words, default_value=-1) if isinstance(words, tf.SparseTensor) else words
            return tf.reduce_sum(tf.one_hot(indices, 4), axis=1)

    class Model(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.colors = tf.keras.layers.Embedding(5, 2)
            self.count = WordCount()
            self.out = tf.keras.layers.Dense(1, activation="sigmoid")

        def call(self, features, training=False):
            color = tf.reshape(self.colors(features["color_xf"]), [-1, 2])
            return self.out(tf.concat([features["size_xf"], color, self.count(features["words_xf"])], axis=1))

    KEPT = []

    class Mine(KerasTrainer):
        def save(self, model):
            KEPT.append(model)
            super().save(model)

        def model_fn(self):
            model = Model()
            model.compile("adam", "binary_crossentropy")
            return model

    run_fn = Mine(label_key="kind_xf").run_fn
"""


def preprocessing_fn(inputs):
    import tensorflow as tf
    import tensorflow_transform as tft

    def dense(column, default):
        return tf.sparse.to_dense(
            tf.SparseTensor(column.indices, column.values, [column.dense_shape[0], 1]), default_value=default
        )

    return {
        "size_xf": dense(tft.scale_to_z_score(inputs["size"]), 0.0),
        "color_xf": tft.compute_and_apply_vocabulary(dense(inputs["color"], ""), num_oov_buckets=1),
        "words_xf": tft.compute_and_apply_vocabulary(inputs["words"]),
        "kind_xf": tft.compute_and_apply_vocabulary(inputs["kind"]),
    }


def serialized(row):
    import tensorflow as tf

    example = tf.train.Example()
    for name, value in row.items():
        values = value if isinstance(value, list) else [value]
        feature = example.features.feature[name]
        (feature.float_list if isinstance(values[0], float) else feature.bytes_list).value.extend(values)
    return example.SerializeToString()


@pytest.fixture(scope="module")
def transform(tmp_path_factory):
    """(folder of the transform graph, serialized transformed rows), made by TensorFlow Transform itself."""
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.coders import example_coder
    from tfx_bsl.public import tfxio

    folder = tmp_path_factory.mktemp("transform")
    schema = text_format.Parse(RAW_SCHEMA, schema_pb2.Schema())
    source = tfxio.TFExampleBeamRecord(
        physical_format="inmem", telemetry_descriptors=["test"], schema=schema, raw_record_column_name=None
    )
    with beam.Pipeline(runner="FnApiRunner") as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        data = pipeline | beam.Create([serialized(row) for row in ROWS]) | source.BeamSource()
        (transformed, _), function = (data, source.TensorAdapterConfig()) | tft_beam.AnalyzeAndTransformDataset(
            preprocessing_fn, output_record_batches=True
        )
        function | tft_beam.WriteTransformFn(str(folder / "graph"))
        (
            transformed
            | beam.FlatMapTuple(lambda batch, _: example_coder.RecordBatchToExamples(batch))
            | beam.io.WriteToTFRecord(str(folder / "transformed"), file_name_suffix=".gz")
        )
    (folder / "graph" / "metadata").mkdir()  # as TFX's Transform leaves it
    (folder / "graph" / "metadata" / "schema.pbtxt").write_text(RAW_SCHEMA)
    import tensorflow as tf

    [path] = folder.glob("transformed*")
    rows = list(tf.data.TFRecordDataset([str(path)], "GZIP").as_numpy_iterator())
    assert len(rows) == len(ROWS)
    return folder / "graph", rows


@pytest.fixture
def transformed_node(node, module_file, transform, tmp_path):
    """The `node` with the rows above, transformed or raw, and their transform graph."""
    import tensorflow as tf
    from tfx.types import standard_artifacts

    graph = standard_artifacts.TransformGraph()
    graph.uri = str(transform[0])
    node.input_dict["transform_graph"] = [graph]

    def use(*, raw):
        rows = [serialized(row) for row in ROWS] if raw else transform[1]
        for split in ("train", "eval"):
            path = str(node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz")
            with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
                for row in rows:
                    writer.write(row)

    node.use = use
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 5, "batch_size": 4, "seed": 1})
    node.exec_properties["module_file"] = module_file(MODULE, "transform_module")
    return node


def served(node, examples, signature="serving_default"):
    import tensorflow as tf

    model = tf.saved_model.load(f"{node.model.uri}/Format-Serving")
    return model.signatures[signature](examples=tf.constant(examples))


def in_memory(transformed_rows):
    """What the model that was trained, still in memory, says of transformed rows."""
    import tensorflow as tf

    module = sys.modules["transform_module"]
    spec = {
        "size_xf": tf.io.FixedLenFeature([1], tf.float32),
        "color_xf": tf.io.FixedLenFeature([1], tf.int64),
        "words_xf": tf.io.VarLenFeature(tf.int64),
    }
    return module.KEPT[-1](tf.io.parse_example(tf.constant(transformed_rows), spec), training=False).numpy()


def test_raw_examples_with_missing_values_get_what_transformed_ones_get(transformed_node, transform):
    import numpy as np

    transformed_node.use(raw=False)
    transformed_node.run()
    raw = [serialized({name: value for name, value in row.items() if name != "kind"}) for row in ROWS]
    found = served(transformed_node, raw)["outputs"].numpy()
    order = np.argsort(found[:, 0])
    wanted = np.sort(in_memory(transform[1])[:, 0])  # Beam writes in an order of its own
    assert np.abs(found[order, 0] - wanted).max() <= 1e-5
    assert len(set(found[:, 0].round(6).tolist())) > 5


def test_raw_examples_beside_a_transform_graph_are_transformed_on_the_way(transformed_node):
    import numpy as np

    results = []
    for raw in (False, True):
        transformed_node.use(raw=raw)
        transformed_node.run(train_args=json.dumps({"num_epochs": 20, "batch_size": 8, "seed": 1}))
        results.append(served(transformed_node, [serialized(row) for row in ROWS])["outputs"].numpy())
        import shutil

        for artifact in (transformed_node.model, transformed_node.model_run):
            shutil.rmtree(artifact.uri)
    # the same data and seed; only the order within the one batch of an epoch differs
    assert np.abs(results[0] - results[1]).max() < 1e-3


def test_transform_features_gives_tfma_the_label(transformed_node):
    transformed_node.use(raw=False)
    transformed_node.run()
    features = served(transformed_node, [serialized(row) for row in ROWS], "transform_features")
    label = features["kind_xf"].numpy().reshape(-1).tolist()
    assert [label[row] == label[0] for row in range(8)] == [row["kind"] == b"small" for row in ROWS]


def test_raw_features_by_name_mark_what_is_missing(transformed_node):
    import numpy as np
    import tensorflow as tf

    transformed_node.use(raw=False)
    transformed_node.run()
    model = tf.saved_model.load(f"{transformed_node.model.uri}/Format-Serving")
    by_name = model.signatures["predict"](
        size=tf.constant([[1.0], [np.nan]]),
        color=tf.constant([["red"], ["red"]]),
        words=tf.constant([["a", "b"], ["a", ""]]),
    )
    by_example = served(transformed_node, [serialized(ROWS[0]), serialized(ROWS[2])])
    assert np.abs(by_name["outputs"].numpy() - by_example["outputs"].numpy()).max() <= 1e-6


def test_a_raw_label_that_the_features_need_too_is_refused(transformed_node, module_file):
    from polytrainer.executors.errors import TrainingError

    transformed_node.use(raw=False)
    source = MODULE.replace('label_key="kind_xf"', 'label_key="kind_xf", raw_label_key="size"')
    with pytest.raises(TrainingError, match="raw_label_key: got 'size', which Transform makes some of"):
        transformed_node.run(module_file=module_file(source, "wrong_raw_label"))


def test_the_interface_leaves_the_raw_label_out_and_nothing_else(transform):
    import tensorflow_transform as tft

    from polytrainer.executors.export.signatures import interface

    output = tft.TFTransformOutput(str(Path(transform[0])))
    between = interface(output.transformed_feature_spec(), "kind_xf", output, None)
    assert between.serving_names == ("color", "size", "words")
    assert between.feature_names == ("color_xf", "size_xf", "words_xf")
