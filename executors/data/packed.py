"""A decoded split as few large arrays, in memory or in files mapped into it, from which batches are gathered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polytrainer.executors.data.columns import Column, Part, cut, take
from polytrainer.executors.data.errors import refuse
from polytrainer.executors.data.order import Slice, permutation, share
from polytrainer.executors.data.rows import RowLayout

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class Arrays(NamedTuple):
    """Examples as arrays.

    Attributes:
        rows: The dense columns, int32 `[n, width]`.
        others: The parts of each other column, see `Column.parts`.
    """

    rows: torch.Tensor
    others: list[list[torch.Tensor]]


def parts_of(columns: Sequence[Column]) -> list[Part]:
    """The arrays that examples are stored as: the rows first."""
    others = [part for column in columns if not column.dense for part in column.parts]
    return [Part("int32", (RowLayout(columns).width,)), *others]


class Packed:
    """A decoded split.

    Attributes:
        columns: What there is.
        arrays: All of it.
        home: The folder it is mapped from and the key it has there; None for one in memory.
    """

    def __init__(
        self, columns: Sequence[Column], arrays: Sequence[NDArray[Any]], home: tuple[Path, str] | None = None
    ) -> None:
        """Takes the arrays of `parts_of(columns)`; they may be read-only."""
        self.home = home
        self.columns = tuple(columns)
        self.arrays = grouped(self.columns, arrays)
        self._levels = [column.levels for column in self.columns if not column.dense]

    def __len__(self) -> int:
        return len(self.arrays.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        from polytrainer.executors.data import cache

        if self.home is None:
            raise TypeError("a split in memory is not pickled; cache.on_disk makes one that can be")
        return cache.unpickled, self.home

    def take(self, indices: torch.Tensor) -> Arrays:
        """The examples of these numbers, in this order, copied."""
        rows, others = self.arrays
        taken = [take(levels, arrays, indices) for levels, arrays in zip(self._levels, others, strict=True)]
        return Arrays(rows.index_select(0, indices), taken)

    def cut(self, start: int, stop: int) -> Arrays:
        """The examples from `start` to `stop`, copied."""
        rows, others = self.arrays
        taken = [cut(levels, arrays, start, stop) for levels, arrays in zip(self._levels, others, strict=True)]
        return Arrays(rows[start:stop].clone(), taken)


def grouped(columns: Sequence[Column], arrays: Sequence[NDArray[Any]]) -> Arrays:
    """Arrays of `parts_of(columns)` → the same as torch tensors, by column; nothing is copied."""
    rest = iter(arrays[1:])
    others = [[_tensor(next(rest), part.dtype) for part in column.parts] for column in columns if not column.dense]
    return Arrays(_tensor(arrays[0], "int32"), others)


def as_stored(tensor: torch.Tensor) -> NDArray[Any]:
    """A tensor of a split as the array it was made from; nothing is copied."""
    import torch

    array: NDArray[Any] = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _tensor(array: NDArray[Any], dtype: str) -> torch.Tensor:
    import warnings

    import torch

    if not array.size:  # NumPy's strides of an empty array need not be those of a contiguous one
        return torch.empty(array.shape, dtype=getattr(torch, dtype))
    with warnings.catch_warnings():  # what is mapped is read-only; it is only ever gathered from
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).view(getattr(torch, dtype))


class Assembly:
    """Arrays of a batch → the features, the label and the weight as a model gets them."""

    def __init__(self, columns: Sequence[Column], label_key: str | None, weight_key: str | None = None) -> None:
        """Lays down the order of the features: that of the columns."""
        self._layout = RowLayout(columns)
        self._others = [column for column in columns if not column.dense]
        packed = [column.name for column in (*self._layout.columns, *self._others)]
        # where the weight has a default, there is a mask that says where it was used: no feature either
        not_features = (label_key, weight_key, f"{weight_key}_mask" if weight_key is not None else None)
        self._names = [column.name for column in columns if column.name not in not_features]
        order = [packed.index(name) for name in self._names]
        self._label = packed.index(label_key) if label_key is not None else None
        self._weight = packed.index(weight_key) if weight_key is not None else None
        # of one position itemgetter would give no tuple
        self._in_order = itemgetter(*order) if len(order) > 1 else lambda values: [values[place] for place in order]

    def __call__(self, arrays: Arrays) -> Any:
        """`(features, label)`, `(features, label, weight)`, or the features alone where there is no label."""
        values: list[Any] = self._layout.views(arrays.rows)
        for column, parts in zip(self._others, arrays.others, strict=True):
            values.append(column.value(parts))
        features = dict(zip(self._names, self._in_order(values), strict=True))
        if self._label is None:
            return features
        if self._weight is None:
            return features, values[self._label]
        return features, values[self._label], _weight(values[self._weight])


def _weight(value: Any) -> Any:
    """The weight of each example, float32 `[batch]`."""
    import torch

    if not isinstance(value, torch.Tensor) or value.numel() != len(value):
        shape = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise refuse("weight_key", f"values of {shape}", "one number for each example")
    weight = value.reshape(-1).float()
    check_weight(weight)
    return weight


def check_weight(weight: Any) -> None:
    """Whether the weights of a batch are such; of a batch without any, None, they are.

    Raises:
        DataError: If one is negative, or not finite.
    """
    if weight is None or not len(weight):
        return
    fits = (weight >= 0) & weight.isfinite()
    if not bool(fits.all()):
        raise refuse("weight_key", f"the weight {weight[~fits][0].item():g}", "a finite number, 0 or more")


class CachedSplit:
    """A decoded split that is read in any order."""

    def __init__(self, packed: Packed) -> None:
        """Takes the split."""
        self.packed = packed
        self.columns = packed.columns
        self.num_examples = len(packed)

    def batches(self, part: Slice) -> Iterator[tuple[int, int, Arrays]]:
        """Where each global batch starts and stops in the epoch's order, and this rank's share of it."""
        order = permutation(part.count, part.seed, part.epoch) if part.shuffle else None
        for start, stop in part.batches():
            first, last = share(stop - start, part.rank, part.world_size)
            if order is None:
                yield start, stop, self.packed.cut(start + first, start + last)
            else:
                yield start, stop, self.packed.take(order[start + first : start + last])
