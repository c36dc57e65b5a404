"""Dense columns side by side in rows of int32, so that one gather takes all of them for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from polytrainer.executors.data.columns import Column

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

WORD = 4  # bytes
ITEM_BYTES = {
    **dict.fromkeys(("int64", "float64"), 8),
    **dict.fromkeys(("int32", "float32"), 4),
    **dict.fromkeys(("int16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int8", "uint8", "bool"), 1),
}


class _Group(NamedTuple):
    """The columns of one dtype, which stand together.

    Attributes:
        dtype: Of all of them.
        columns: Scalars first.
        scalars: How many of them there are.
        start: Where they start in a row, counted in items of this dtype.
        words: How much of a row they take, counted in int32.
    """

    dtype: str
    columns: tuple[Column, ...]
    scalars: int
    start: int
    words: int

    @property
    def items(self) -> int:
        return sum(column.elements for column in self.columns)


class RowLayout:
    """Where in a row each dense column stands.

    The widest dtypes stand first, and a row is a multiple of its widest one, so that each column is aligned and
    `rows.view(dtype)` sees it as it is.

    Attributes:
        columns: The dense ones, in the order they stand in a row.
        width: Of a row, in int32.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        dense = [column for column in columns if column.dense]
        groups, word = [], 0
        for dtype in sorted({column.dtype for column in dense}, key=lambda name: (-ITEM_BYTES[name], name)):
            members = sorted(
                (column for column in dense if column.dtype == dtype), key=lambda column: column.shape != ()
            )
            scalars = sum(column.shape == () for column in members)
            items = sum(column.elements for column in members)
            words = -(-items * ITEM_BYTES[dtype] // WORD)
            groups.append(_Group(dtype, tuple(members), scalars, word * WORD // ITEM_BYTES[dtype], words))
            word += words
        self._groups = groups
        self.width = word + word % 2 if groups and ITEM_BYTES[groups[0].dtype] > WORD else word
        self.columns = [column for group in groups for column in group.columns]
        self._steps: list[tuple[Any, ...]] | None = None

    def pack(self, features: Mapping[str, tf.Tensor], count: tf.Tensor) -> tf.Tensor:
        """The rows of a batch: int32 `[count, width]`, by TensorFlow operations."""
        import tensorflow as tf

        blocks = [self._block(group, features, count) for group in self._groups]
        padding = self.width - sum(group.words for group in self._groups)
        if padding or not blocks:
            blocks.append(tf.zeros([count, padding], tf.int32))
        return tf.concat(blocks, 1)

    @staticmethod
    def _block(group: _Group, features: Mapping[str, tf.Tensor], count: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        scalars = [features[column.name] for column in group.columns[: group.scalars]]
        others = [features[column.name] for column in group.columns[group.scalars :]]
        parts = [tf.stack(scalars, 1)] if scalars else []
        parts += [tf.reshape(tensor, [count, tensor.shape[1:].num_elements()]) for tensor in others]
        block = parts[0] if len(parts) == 1 else tf.concat(parts, 1)
        if group.dtype == "bool":
            block = tf.cast(block, tf.uint8)
        size = ITEM_BYTES[group.dtype]
        if size < WORD:
            block = tf.pad(block, [[0, 0], [0, group.words * WORD // size - group.items]])
            block = tf.reshape(block, [count, group.words, WORD // size])
        return tf.reshape(tf.bitcast(block, tf.int32), [count, group.words])

    def views(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """The columns of a batch, in the order of `columns`: views of its rows.

        Args:
            rows: int32 `[batch, width]`, contiguous.
        """
        if self._steps is None:
            self._steps = [self._step(group) for group in self._groups]
        packed: list[torch.Tensor] = []
        for dtype, start, stop, scalars, sizes, reshaped in self._steps:
            block = rows.view(dtype)[:, start:stop]
            if not sizes:
                packed += block.unbind(1)
                continue
            if scalars:
                packed += block[:, :scalars].unbind(1)
                block = block[:, scalars:]
            others = list(block.split_with_sizes(sizes, 1))
            for position, shape in reshaped:
                others[position] = others[position].unflatten(1, shape)
            packed += others
        return packed

    @staticmethod
    def _step(group: _Group) -> tuple[Any, ...]:
        import torch

        others = group.columns[group.scalars :]
        reshaped = [(position, column.shape) for position, column in enumerate(others) if len(column.shape) > 1]
        sizes = [column.elements for column in others]
        return getattr(torch, group.dtype), group.start, group.start + group.items, group.scalars, sizes, reshaped
