"""A map-style Dataset, or a DataLoader of one → a dict of arrays by feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, default_collate

from polytrainer.proto.problems import Problem

_OWN_BATCHES = "An input_fn of your own may return a DataLoader as it is: override TorchTrainer.input_fn."


def dataset_table(
    data: Any, where: str, label_key: str | None, weight_key: str | None
) -> tuple[dict[str, Any] | None, list[Problem]]:
    """Reads each item of a dataset once, in its order; batches and shuffling are the trainer's.

    Args:
        data: The Dataset or DataLoader.
        where: The argument that it was given as.
        label_key: What the label is called; None: an item is the features alone.
        weight_key: What the weight is called, the third part of an item; None: there is none.

    Returns:
        The values by name, None if they cannot be taken; and what is wrong.
    """
    if isinstance(data, DataLoader):
        if problem := _loader_problem(data, where):
            return None, [problem]
        data = data.dataset
    if isinstance(data, IterableDataset) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        got, expected = f"a {type(data).__name__}", "a map-style Dataset, with __len__ and __getitem__"
        return None, [Problem(where, got, expected, _OWN_BATCHES)]
    names = [name for name in (label_key, weight_key) if name is not None]
    rows: list[dict[str, Any]] = []
    for position in range(len(data)):
        item = data[position]
        row = _row(item, names)
        if row is None or (rows and row.keys() != rows[0].keys()):
            return None, [_item_problem(where, position, item, names)]
        rows.append(row)
    return {name: _column([row[name] for row in rows]) for name in (rows[0] if rows else {})}, []


def _loader_problem(loader: DataLoader[Any], where: str) -> Problem | None:
    """What of a DataLoader would be lost: its items are taken, and not its batches."""
    if loader.collate_fn is not default_collate and not isinstance(loader.dataset, IterableDataset):
        return Problem(where, "a DataLoader with a collate_fn of its own", "the default one", _OWN_BATCHES)
    if type(loader.sampler) not in (RandomSampler, SequentialSampler) and not isinstance(
        loader.dataset, IterableDataset
    ):
        got = f"a DataLoader with a {type(loader.sampler).__name__}"
        return Problem(where, got, "a DataLoader that yields each item once, shuffled or not", _OWN_BATCHES)
    return None


def _row(item: Any, names: Sequence[str]) -> dict[str, Any] | None:
    """The values of an item by name, label and weight among them; None if it has another form."""
    features, *others = item if isinstance(item, (tuple, list)) else (item,)
    if not isinstance(features, Mapping) or len(others) != len(names):
        return None
    return {**features, **dict(zip(names, others, strict=True))}


def _item_problem(where: str, position: int, item: Any, names: Sequence[str]) -> Problem:
    if isinstance(item, (tuple, list)):
        got = f"({', '.join(type(each).__name__ for each in item)})"
    else:
        got = f"a {type(item).__name__}"
    expected = f"({', '.join(['a dict of features, each with the same names', *names])})"
    remedy = "A TensorDataset has no names: give a dict of arrays, {'x': x.numpy(), 'label': y.numpy()}."
    return Problem(f"item {position} of {where}", got, expected, remedy)


def _column(values: Sequence[Any]) -> Any:
    """Values of all items as one array; a list where they are no numbers, or of different shapes."""
    if not all(isinstance(each, (torch.Tensor, np.ndarray, np.generic, int, float)) for each in values):
        return list(values)
    arrays = [each.detach().cpu().numpy() if isinstance(each, torch.Tensor) else np.asarray(each) for each in values]
    if len({each.shape for each in arrays}) > 1:
        return arrays
    return np.stack(arrays)
