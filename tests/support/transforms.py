"""Rows with missing values, and what TensorFlow Transform makes of them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

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
        lists = {float: feature.float_list, bytes: feature.bytes_list, int: feature.int64_list}
        lists[type(values[0])].value.extend(values)
    return example.SerializeToString()


def apply_transform(folder, raw_schema, rows, preprocessing_fn):
    """The transform graph of some rows and the rows, raw and transformed, made by TensorFlow Transform itself."""
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.coders import example_coder
    from tfx_bsl.public import tfxio

    schema = text_format.Parse(raw_schema, schema_pb2.Schema())
    source = tfxio.TFExampleBeamRecord(
        physical_format="inmem", telemetry_descriptors=["test"], schema=schema, raw_record_column_name=None
    )
    with beam.Pipeline(runner="FnApiRunner") as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        data = pipeline | beam.Create([serialized(row) for row in rows]) | source.BeamSource()
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
    (folder / "graph" / "metadata" / "schema.pbtxt").write_text(raw_schema)
    import tensorflow as tf

    [path] = folder.glob("transformed*")
    transformed_rows = list(tf.data.TFRecordDataset([str(path)], "GZIP").as_numpy_iterator())
    assert len(transformed_rows) == len(rows)
    examples = [serialized(row) for row in rows]
    return SimpleNamespace(
        graph=folder / "graph", transformed=transformed_rows, raw=examples, rows=rows, serialized=serialized
    )


@pytest.fixture(scope="session")
def transform(tmp_path_factory):
    """The transform graph of the rows above, and they, raw and transformed."""
    return apply_transform(tmp_path_factory.mktemp("transform"), RAW_SCHEMA, ROWS, preprocessing_fn)


@pytest.fixture
def transformed_node(node, transform):
    """The `node` with the rows above, transformed or raw, and their transform graph."""
    import tensorflow as tf
    from tfx.types import standard_artifacts

    graph = standard_artifacts.TransformGraph()
    graph.uri = str(transform.graph)
    node.input_dict["transform_graph"] = [graph]

    def use(*, raw):
        rows = transform.raw if raw else transform.transformed
        for split in ("train", "eval"):
            path = str(node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz")
            with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
                for row in rows:
                    writer.write(row)

    node.use = use
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 5, "batch_size": 4, "seed": 1})
    return node
