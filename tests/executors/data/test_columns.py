"""Rows taken out of columns of every kind, against the same in plain Python."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytrainer.executors.data import columns, rows

ROWS = {1: st.lists(st.integers(0, 9), max_size=3)}  # by how many levels of row splits they are ragged
ROWS[2] = st.lists(ROWS[1], max_size=3)
ROWS[3] = st.lists(ROWS[2], max_size=3)


def arrays_of(nested, levels):
    """Nested lists as row splits and values."""
    import torch

    splits = []
    for _ in range(levels):
        ends = [0]
        for row in nested:
            ends.append(ends[-1] + len(row))
        splits.append(torch.tensor(ends))
        nested = [element for row in nested for element in row]
    return [*splits, torch.tensor(nested, dtype=torch.int64)]


def lists_of(value):
    if not hasattr(value, "row_splits"):
        return value.tolist()
    inner, splits = lists_of(value.values), value.row_splits.tolist()
    return [inner[start:stop] for start, stop in itertools.pairwise(splits)]


@settings(deadline=None)
@given(levels=st.integers(1, 3), long_run=st.sampled_from([0, 64]), data=st.data())
def test_rows_of_any_depth(levels, long_run, data):
    import torch

    nested = data.draw(st.lists(ROWS[levels], max_size=5))
    column = columns.Column("c", "int64", levels=levels)
    arrays = arrays_of(nested, levels)
    indices = data.draw(st.lists(st.integers(0, len(nested) - 1), max_size=8) if nested else st.just([]))
    start = data.draw(st.integers(0, len(nested)))
    stop = data.draw(st.integers(start, len(nested)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "LONG_RUN", long_run)  # 0: rows are copied one by one
        taken = columns.take(levels, arrays, torch.tensor(indices, dtype=torch.int64))
    assert lists_of(column.value(taken)) == [nested[index] for index in indices]
    assert lists_of(column.value(columns.cut(levels, arrays, start, stop))) == nested[start:stop]


def test_the_columns_of_a_sparse_row_go_with_its_values():
    import torch

    column = columns.Column("s", "int64", levels=1, size=(5,))
    arrays = [torch.tensor([0, 2, 2, 3]), torch.tensor([10, 11, 12]), torch.tensor([0, 4, 1])]
    taken = column.value(columns.take(1, arrays, torch.tensor([2, 0])))
    assert [part.tolist() for part in taken[:3]] == [[12, 10, 11], [1, 0, 4], [0, 1, 3]]
    assert taken.size == 5
    assert [part.tolist() for part in columns.cut(1, arrays, 1, 3)] == [[0, 0, 1], [12], [1]]


@settings(deadline=None, max_examples=40)
@given(
    shapes=st.lists(
        st.tuples(st.sampled_from([*rows.ITEM_BYTES]), st.sampled_from([(), (1,), (3,), (2, 3)])), max_size=6
    ),
    count=st.integers(0, 4),
)
def test_dense_columns_come_out_of_a_row_as_they_went_in(shapes, count):
    import tensorflow as tf
    import torch

    layout = rows.RowLayout([columns.Column(str(k), dtype, shape) for k, (dtype, shape) in enumerate(shapes)])
    features = {
        str(k): tf.cast(tf.reshape(tf.range(count * tf.TensorShape(shape).num_elements()), [count, *shape]) + k, dtype)
        for k, (dtype, shape) in enumerate(shapes)
    }
    packed = layout.pack(features, tf.constant(count)).numpy()
    assert packed.shape == (count, layout.width)
    views = layout.views(torch.from_numpy(packed).clone() if count else torch.empty(packed.shape, dtype=torch.int32))
    assert sorted(column.name for column in layout.columns) == sorted(features)
    for column, view in zip(layout.columns, views, strict=True):
        assert str(view.dtype) == f"torch.{column.dtype}"
        assert view.shape == (count, *column.shape)
        wanted = tf.cast(features[column.name], tf.float64).numpy().tolist()
        assert view.to(torch.float64).tolist() == wanted
