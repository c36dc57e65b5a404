"""NaN and infinity in a split that is decoded: all of its columns are looked at where they lie in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from polytrainer.executors.data.anomalies import INFINITE, NAN, Anomaly
from polytrainer.executors.data.columns import Ragged, Sparse
from polytrainer.executors.data.dataset import count_examples
from polytrainer.executors.data.parquet import MAGIC, opened


def find_in_columns(columns: Mapping[str, Any], files: Sequence[str]) -> list[Anomaly]:
    """The anomalies of a whole split.

    Args:
        columns: Tensors, `Ragged` and `Sparse` by name, with all of its examples in the order of the files.
        files: The files that they were decoded from.
    """
    found = []
    for name, column in columns.items():
        values = column if isinstance(column, torch.Tensor) else _innermost(column)
        if not values.is_floating_point() or bool(torch.isfinite(values).all()):
            continue
        for kind, test in ((NAN, torch.isnan), (INFINITE, torch.isinf)):
            rows = _rows_with(column, test)
            if len(rows):
                found.append(Anomaly(name, kind, len(rows), *_place(files, int(rows[0]))))
    return found


def _innermost(column: Any) -> torch.Tensor:
    while isinstance(column, (Ragged, Sparse)):
        column = column.values
    return column


def _rows_with(column: Any, test: Any) -> torch.Tensor:
    """Numbers of the examples that have a value for which a test is true, in ascending order."""
    if isinstance(column, torch.Tensor):
        return test(column.reshape(len(column), -1)).any(1).nonzero()[:, 0]
    values = _rows_with(column.values, test)
    return torch.unique(torch.searchsorted(column.row_splits.contiguous(), values, right=True) - 1)


def _place(files: Sequence[str], number: int) -> tuple[str, int]:
    """The file of an example of a split, and its number in there."""
    for file in files[:-1]:
        count = _count(file)
        if number < count:
            return file, number
        number -= count
    return files[-1], number


def _count(file: str) -> int:
    import tensorflow as tf

    with tf.io.gfile.GFile(file, "rb") as raw:
        is_parquet = raw.read(len(MAGIC)) == MAGIC
    return int(opened(file).metadata.num_rows) if is_parquet else count_examples([file])
