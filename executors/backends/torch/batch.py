"""What is done to a batch on its way to the model, whatever its shape: moved, counted, cut into micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from polytrainer.executors.data.columns import Ragged, Sparse


def num_rows(batch: Any) -> int:
    """Examples in a batch: those of the first tensor in it.

    Raises:
        ValueError: If there is none.
    """
    first = first_tensor(batch)
    if first is None:
        raise ValueError(f"a batch: got {type(batch).__name__} without a tensor; expected (features, label).")
    return len(first.row_splits) - 1 if isinstance(first, (Ragged, Sparse)) else int(first.shape[0])


def first(batches: Any) -> Any:
    """The batch that comes next, without taking it where `batches` knows its position; None if there is none."""
    position = batches.state_dict() if has_position(batches) else None
    batch = next(iter(batches), None)
    if position is not None:
        batches.load_state_dict(position)
    return batch


def has_position(batches: Any) -> bool:
    """Whether what `input_fn` returned says where it is, and can be told to go there."""
    return hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")


def rows(batch: Any, start: int, stop: int) -> Any:
    """The examples `start` to `stop` of a batch, in the same structure."""
    return _map(batch, lambda leaf: _rows(leaf, start, stop))


def moved(batch: Any, device: torch.device) -> Any:
    """The same batch on a device."""
    return _map(batch, lambda leaf: _moved(leaf, device))


def copied(batch: Any) -> Any:
    """The same batch, whose tensors are no views of a larger one's."""
    return _map(batch, lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf)


def at_least_two(batch: Any) -> Any:
    """The same batch or, where it is of one example, that one twice."""
    return batch if num_rows(batch) > 1 else _map(batch, _twice)


def _twice(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return torch.cat([leaf, leaf]) if leaf.ndim else leaf
    splits = torch.cat([leaf.row_splits, leaf.row_splits[1:] + leaf.row_splits[-1]])
    if isinstance(leaf, Ragged):
        return Ragged(_twice(leaf.values), splits)
    return Sparse(_twice(leaf.values), _twice(leaf.columns), splits, leaf.size)


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, (torch.Tensor, Ragged, Sparse)):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _map(each, change) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map(each, change) for each in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_map(each, change) for each in value)
    return value


def first_tensor(value: Any) -> Any:
    """The first tensor, ragged or sparse value in a batch or a part of one; None if there is none."""
    if isinstance(value, (torch.Tensor, Ragged, Sparse)):
        return value
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return next((found for each in inside if (found := first_tensor(each)) is not None), None)


def _rows(leaf: Any, start: int, stop: int) -> Any:
    if isinstance(leaf, torch.Tensor):
        return leaf[start:stop] if leaf.ndim else leaf
    splits = leaf.row_splits[start : stop + 1]
    first, last = int(splits[0]), int(splits[-1])
    if isinstance(leaf, Ragged):
        return Ragged(_rows(leaf.values, first, last), splits - first)
    return Sparse(_rows(leaf.values, first, last), leaf.columns[first:last], splits - first, leaf.size)


def _moved(leaf: Any, device: torch.device) -> Any:
    if isinstance(leaf, torch.Tensor):
        return leaf.to(device, non_blocking=True)
    if isinstance(leaf, Ragged):
        return Ragged(_moved(leaf.values, device), leaf.row_splits.to(device, non_blocking=True))
    parts = (_moved(each, device) for each in (leaf.values, leaf.columns, leaf.row_splits))
    return Sparse(*parts, leaf.size)  # type: ignore[call-arg]
