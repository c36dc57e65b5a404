"""Columns as files of tf.Examples, and their schema."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from polytrainer.executors.data.table_columns import table_columns
from polytrainer.executors.data.table_examples import serialized_examples, table_schema, write_examples


@pytest.fixture
def columns():
    table = {
        "age": pd.Series([30, None], dtype="Int64"),
        "city": pd.Series(["Oslo", None]),
        "pixels": np.arange(8.0).reshape(2, 2, 2),
    }
    return table_columns(table, "data")[0]


def test_a_missing_value_is_a_feature_without_values(columns):
    import tensorflow as tf

    first, second = [tf.train.Example.FromString(each).features.feature for each in serialized_examples(columns)]
    assert first["age"].int64_list.value == [30]
    assert first["city"].bytes_list.value == [b"Oslo"]
    assert second["pixels"].float_list.value == [4.0, 5.0, 6.0, 7.0]
    assert {name for name, feature in second.items() if feature.WhichOneof("kind") is None} == {"age", "city"}


def test_the_schema_has_each_column_as_a_dense_feature(columns):
    from polytrainer.executors.data.feature_specs import from_schema

    spec = from_schema(table_schema(columns))
    assert {name: (feature.dtype.name, list(feature.shape)) for name, feature in spec.items()} == {
        "age": ("int64", [1]),
        "city": ("string", [1]),
        "pixels": ("float32", [2, 2]),
    }


def test_the_same_content_is_the_same_file_which_is_written_once(columns, tmp_path):
    path, digest = write_examples(columns, tmp_path, "train")
    before = (tmp_path / path).stat()
    assert write_examples(columns, tmp_path, "train") == (path, digest)
    assert (tmp_path / path).stat() == before
    other = table_columns({"age": np.array([1])}, "data")[0]
    assert write_examples(other, tmp_path, "train")[0] != path
    assert len(list(tmp_path.iterdir())) == 2
