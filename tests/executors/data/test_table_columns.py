"""DataFrames and dicts of arrays as columns of tf.Examples."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pandas as pd
import pytest
import torch

from polytrainer.executors.data.table_columns import is_table, table_columns


def column(values, kind=None):
    columns, problems = table_columns({"c": values}, "data", None if kind is None else {"c": kind})
    assert problems == []
    return columns[0]


def problem(data, kinds=None):
    _, problems = table_columns(data, "train_files", kinds)
    return str(problems[0])


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        (np.array([1, 2], np.int8), "int64", [[1], [2]]),
        (np.array([True, False]), "int64", [[1], [0]]),
        (np.array([1.5, 2.0]), "float32", [[1.5], [2.0]]),
        (np.array(["a", "ü"]), "bytes", [[b"a"], ["ü".encode()]]),
        (np.array([[1, 2], [3, 4]]), "int64", [[1, 2], [3, 4]]),
        (pd.Series(["a", "b"], dtype="category"), "bytes", [[b"a"], [b"b"]]),
        (pd.Series([3, 4], dtype="category"), "int64", [[3], [4]]),
        (pd.Series(["a", "b"], dtype="string"), "bytes", [[b"a"], [b"b"]]),
        (pd.Series([True, False], dtype="boolean"), "int64", [[1], [0]]),
        (pd.Series([np.zeros(2), np.ones(2)]), "float32", [[0.0, 0.0], [1.0, 1.0]]),
        (torch.tensor([[1.0], [2.0]]), "float32", [[1.0], [2.0]]),
        (["a", b"b"], "bytes", [[b"a"], [b"b"]]),
    ],
)
def test_the_type_of_a_column_says_the_kind_of_its_feature(values, kind, stored):
    made = column(values)
    assert (made.kind, made.values.tolist(), made.missing) == (kind, stored, None)


def test_rows_of_arrays_have_a_fixed_shape():
    assert column(np.zeros((2, 3, 4))).shape == (3, 4)
    assert column(np.zeros(2)).shape == (1,)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Series([1, None], dtype="Int64"), "int64"),
        (pd.Series([1, np.nan], dtype=object), "int64"),
        (pd.Series([1.5, np.nan]), "float32"),
        (pd.Series(["a", None]), "bytes"),
        (pd.Series(["a", None], dtype="category"), "bytes"),
        (pd.Series([True, None]), "int64"),
        (pd.Series([np.ones(2), None]), "float32"),
        (np.array(["a", None], dtype=object), "bytes"),
    ],
)
def test_cells_without_a_value_are_missing(values, kind):
    made = column(values)
    assert (made.kind, made.missing.tolist()) == (kind, [False, True])


def test_nan_in_an_array_of_floats_is_a_value():
    assert column(np.array([1.0, np.nan])).missing is None


def test_a_schema_says_what_integers_and_whole_floats_become():
    assert column(np.array([1, 2]), "float32").kind == "float32"
    with_missing = column(pd.Series([1, np.nan]), "int64")  # pandas makes floats of them
    assert with_missing.values.tolist() == [[1], [0]]
    assert with_missing.missing.tolist() == [False, True]
    assert column(pd.Series([None, None]), "bytes").missing.all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.array(["2026-01-01"], "M8[D]"),
            r"column 'c' of train_files: got values of type datetime64\[D\]; expected int",
        ),
        (pd.Series([1, "a"]), "got values of type int, str; expected int, bool, float"),
        (pd.Series([[1], [1, 2]]), "got arrays of different shapes, .*Pad them"),
        (pd.Series([None, None]), "got missing values only; .*Leave it out"),
        (np.array([1e300]), "numbers larger than a float32 holds"),
        (np.array([2**63], np.uint64), "integers that an int64 does not hold"),
        (np.array(1.0), "a single value; expected an array with a value of each row"),
        (pd.Series([datetime.date(2026, 1, 1)]), "got values of type date"),
    ],
)
def test_a_column_of_another_type_is_refused_by_its_name(values, message):
    assert re.search(message, problem({"c": values}))


def test_a_column_that_does_not_fit_the_schema_is_refused():
    said = problem({"c": np.array(["a"])}, {"c": "float32"})
    assert said.startswith(
        "column 'c' of train_files: got values of type bytes; expected float32, as the schema has it"
    )
    assert "got values of type float32; expected int64" in problem({"c": np.array([0.5])}, {"c": "int64"})


def test_columns_that_the_schema_does_not_have_are_left_out():
    columns, problems = table_columns({"c": np.ones(1), "when": np.array(["2026"], "M8[Y]")}, "data", {"c": "float32"})
    assert ([each.name for each in columns], problems) == (["c"], [])


def test_tables_without_rows_or_with_odd_names_are_refused():
    assert "a table without rows or columns" in problem(pd.DataFrame())
    assert "a column named 0 (int); expected names of type str" in problem(pd.DataFrame([[1.0]]))
    assert "two columns named 'a'" in problem(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    assert "columns of different lengths, {'a': 1, 'b': 2}" in problem({"a": np.ones(1), "b": np.ones(2)})


def test_a_dict_of_splits_is_no_table():
    assert not is_table({"eval": "a/*"})
    assert not is_table({"eval": ["a", "b"]})
    assert not is_table({"eval": pd.DataFrame({"a": [1]})})
    assert is_table({"a": np.ones(1), "b": ["x"]})
