"""Raw or transformed, by what examples hold and by what the transform graph makes of them."""

from __future__ import annotations

import pytest

RAW_ROWS = [{"x": [float(number)], "word": [b"a" if number % 2 else b"b"]} for number in range(12)]


def spec(**kinds):
    import tensorflow as tf

    dense = {float: tf.float32, int: tf.int64, bytes: tf.string}
    return {
        name: tf.io.VarLenFeature(tf.float32) if kind is list else tf.io.FixedLenFeature([1], dense[kind])
        for name, kind in kinds.items()
    }


@pytest.fixture
def kind(tmp_path, splits):
    """What `kind_by_content` says of rows, of a graph that halves `x` and adds 1."""
    from polytrainer.executors.backends.raw_or_transformed import TransformGraph, kind_by_content

    def of(rows, raw_spec, made_spec, transform, raw_rows=()):
        files = [splits.write(tmp_path / "stored.gz", rows)]
        raw_files = [splits.write(tmp_path / "raw.gz", raw_rows)] if raw_rows else []
        return kind_by_content(TransformGraph(raw_spec, made_spec, transform), files, raw_files)

    return of


def halved(features):
    return {**features, "x": features["x"] / 2 + 1}


TRANSFORMED_ROWS = [{**row, "x": [row["x"][0] / 2 + 1]} for row in reversed(RAW_ROWS)]
KEPT = {"x": float, "word": bytes}


def test_names_that_are_kept_do_not_tell(kind):
    assert kind(RAW_ROWS, spec(**KEPT), spec(**KEPT), halved) is None
    assert kind(TRANSFORMED_ROWS, spec(**KEPT), spec(**KEPT), halved) is None


@pytest.mark.parametrize(("rows", "expected"), [(RAW_ROWS, "raw"), (TRANSFORMED_ROWS, "transformed")])
def test_the_raw_examples_do(kind, rows, expected):
    assert kind(rows, spec(**KEPT), spec(**KEPT), halved, RAW_ROWS) == expected


def test_raw_examples_of_something_else_do_not(kind):
    others = [{**row, "x": [row["x"][0] + 0.25]} for row in RAW_ROWS]
    assert kind(TRANSFORMED_ROWS, spec(**KEPT), spec(**KEPT), halved, others) is None


def test_a_graph_that_changes_nothing_may_be_applied(kind):
    assert kind(RAW_ROWS, spec(**KEPT), spec(**KEPT), dict) == "raw"


def test_types_tell(kind):
    made = spec(x=float, word=int)
    rows = [{**row, "word": [number]} for number, row in enumerate(TRANSFORMED_ROWS)]
    assert kind(RAW_ROWS, spec(**KEPT), made, halved) == "raw"
    assert kind(rows, spec(**KEPT), made, halved) == "transformed"


def test_names_that_one_of_them_has_alone_tell(kind):
    raw, made = spec(x=list, word=bytes), spec(x=list, word=bytes, z=list)
    rows = [{**row, "z": [1.0]} for row in RAW_ROWS]
    assert kind(RAW_ROWS, raw, made, halved) == "raw"
    assert kind(rows, raw, made, halved) == "transformed"


def test_a_default_is_filled_in_where_transform_makes_no_value(kind):
    import tensorflow as tf

    raw = spec(x=list, word=bytes)
    made = {**raw, "x": tf.io.FixedLenFeature([1], tf.float32, [7.0])}
    rows = [row if number % 3 else {**row, "x": []} for number, row in enumerate(RAW_ROWS)]

    def halve(features):
        x = features["x"]
        return {**features, "x": tf.SparseTensor(x.indices, x.values / 2 + 1, x.dense_shape)}

    transformed = [{**row, "x": [each / 2 + 1 for each in row["x"]]} for row in reversed(rows)]
    assert kind(transformed, raw, made, halve, rows) == "transformed"
    assert kind(rows, raw, made, halve, rows) == "raw"
