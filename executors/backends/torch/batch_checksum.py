"""Checksums of batches, by which they are known again."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from polytrainer.executors.data.columns import Ragged, Sparse

_PER_ROW = 16  # numbers of a row, spread over it: to read all of an image would cost more than a small model's step


def checksum(value: Any, start: int = 0) -> int:
    """A checksum of a batch, or of a part of one: of some numbers of each row.

    Args:
        value: Tensors, in whatever structure.
        start: The checksum of what came before.
    """
    for leaf in _leaves(value):
        start = zlib.crc32(_bytes(_some_of(leaf)) if isinstance(leaf, torch.Tensor) else repr(leaf).encode(), start)
    return start


def rows_of(label: Any) -> Iterable[Any]:
    """The rows of a label, to be counted; none of one that is no tensor."""
    if not isinstance(label, torch.Tensor) or label.ndim == 0:
        return ()
    rows = _some_of(label)
    return rows.reshape(-1).tolist() if rows.numel() == len(rows) else map(_bytes, rows)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        inside: Iterable[Any] = value.values()
    elif isinstance(value, (Ragged, Sparse)):
        inside = (value.values, value.row_splits)
    elif isinstance(value, (list, tuple)):
        inside = value
    else:
        if isinstance(value, torch.Tensor) and (value.layout is not torch.strided or value.is_nested):
            return
        if isinstance(value, (torch.Tensor, str, bytes, int, float)):
            yield value
        return
    for each in inside:
        yield from _leaves(each)


def _some_of(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    if tensor.ndim < 2 or not tensor.numel():  # noqa: PLR2004 -- a row of one number is that number
        return tensor
    rows = tensor.reshape(len(tensor), -1)
    return rows[:, :: max(rows.shape[1] // _PER_ROW, 1)]


def _bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.reshape(-1).contiguous().cpu().view(torch.uint8).numpy().tobytes())
