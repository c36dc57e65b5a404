"""Operators that keep the elements and change how they are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast, result_dtype
from polytrainer.executors.export.aten_to_tf.ops.common import axes, axis, moved, reshape, shape, sizes, slices


def view(x: Tensor, size: Sequence[Size]) -> Tensor:
    """The same elements in other dimensions; -1 is what is left."""
    return reshape(x, size)


def reshape_alias(x: Tensor, size: Sequence[Size], stride: Sequence[Size]) -> Tensor:
    """The same elements in other dimensions, wherever in memory."""
    return view(x, size)


def view_dtype(x: Tensor, dtype: tf.DType) -> Tensor:
    """The same bits as another type; the last dimension grows or shrinks where the sizes differ."""
    if dtype == x.dtype or tf.bool in (dtype, x.dtype):
        return cast(x, dtype)
    if dtype.size > x.dtype.size:
        *outer, last = sizes(x)
        factor = dtype.size // x.dtype.size
        return tf.bitcast(tf.reshape(x, shape([*outer, last // factor, factor])), dtype)
    bits = tf.bitcast(x, dtype)
    if dtype.size == x.dtype.size:
        return bits
    *outer, last, factor = sizes(bits)
    return tf.reshape(bits, shape([*outer, last * factor]))


def permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    """The dimensions in another order."""
    return tf.transpose(x, [axis(dim, x.shape.rank) for dim in dims])


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped."""
    order = list(range(x.shape.rank))
    if not order:
        return x
    dim0, dim1 = axis(dim0, len(order)), axis(dim1, len(order))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return tf.transpose(x, order)


def matrix_transpose(x: Tensor) -> Tensor:
    """A matrix transposed; vectors and scalars as they are."""
    return tf.transpose(x)


def expand(x: Tensor, size: Sequence[Size], *, implicit: bool = False) -> Tensor:
    """Repeated along dimensions of size 1 and along new ones in front; -1 keeps a size."""
    new = len(size) - x.shape.rank
    old = [1] * new + sizes(x)
    wanted = [have if isinstance(want, int) and want == -1 else want for want, have in zip(size, old, strict=True)]
    return tf.broadcast_to(x, shape(wanted))


def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without dimensions of size 1, among those given."""
    dims = axes(dim, x.shape.rank) if dim is None or isinstance(dim, int) or len(dim) else []
    gone = [each for each in dims if x.shape[each] == 1]
    return tf.squeeze(x, gone) if gone else x


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1."""
    return tf.expand_dims(x, dim)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after the other; empty vectors do not count, whatever the others' rank."""
    dtype = result_dtype(*tensors)
    rank = max(x.shape.rank for x in tensors)
    counted = [cast(x, dtype) for x in tensors if x.shape.rank == rank]
    return tf.concat(counted, axis(dim, rank))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors side by side in a new dimension."""
    dtype = result_dtype(*tensors)
    return tf.stack([cast(x, dtype) for x in tensors], axis=dim)


def unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    """The parts of a dimension, whose size must be known."""
    return list(tf.unstack(x, axis=dim))


def split_with_sizes(x: Tensor, split_sizes: Sequence[Size], dim: int = 0) -> list[Tensor]:
    """Parts of given sizes."""
    dim = axis(dim, x.shape.rank)
    parts, start = [], 0
    for size in split_sizes:
        parts.append(slices(x, dim, start, start + size))
        start = start + size
    return parts


def split(x: Tensor, split_size: Size, dim: int = 0) -> list[Tensor]:
    """Parts of one size, the last of what is left; the dimension's size must be known."""
    dim = axis(dim, x.shape.rank)
    return [slices(x, dim, start, start + split_size) for start in range(0, x.shape[dim], split_size)] or [x]


def select(x: Tensor, dim: int, index: Size) -> Tensor:
    """One element of a dimension."""
    return x[(slice(None),) * axis(dim, x.shape.rank) + (index,)]


_END = 2**63 - 1


def slice_tensor(x: Tensor, dim: int = 0, start: Size = None, end: Size = None, step: int = 1) -> Tensor:
    """`x[start:end:step]` in one dimension."""
    end = None if isinstance(end, int) and end == _END else end
    return slices(x, axis(dim, x.shape.rank), start, end, step)


def _places(x: Tensor, dim: int, start: Size, end: Size, step: int) -> Tensor:
    """Where in a dimension a slice's elements are."""
    return slice_tensor(tf.range(tf.cast(sizes(x)[dim], tf.int64), dtype=tf.int64), 0, start, end, step)


def slice_scatter(x: Tensor, src: Tensor, dim: int = 0, start: Size = None, end: Size = None, step: int = 1) -> Tensor:
    """A copy of x whose slice is `src`."""
    dim = axis(dim, x.shape.rank)
    places = _places(x, dim, start, end, step)
    order = moved(x.shape.rank, dim, 0)
    first = tf.tensor_scatter_nd_update(
        tf.transpose(x, order), places[:, None], tf.transpose(cast(src, x.dtype), order)
    )
    return tf.transpose(first, moved(x.shape.rank, 0, dim))


def select_scatter(x: Tensor, src: Tensor, dim: int, index: Size) -> Tensor:
    """A copy of x in which one element of a dimension is `src`."""
    dim = axis(dim, x.shape.rank)
    end = None if isinstance(index, int) and index == -1 else index + 1
    return slice_scatter(x, tf.expand_dims(src, dim), dim, index, end)


def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions, as the last one."""
    rank = x.shape.rank
    dim1, dim2 = axis(dim1, rank), axis(dim2, rank)
    rest = [dim for dim in range(rank) if dim not in (dim1, dim2)]
    matrices = tf.transpose(x, [*rest, dim1, dim2])
    *_, rows, columns = sizes(matrices)
    row, column = max(-offset, 0), max(offset, 0)
    length = tf.maximum(tf.minimum(tf.cast(rows - row, tf.int64), tf.cast(columns - column, tf.int64)), 0)
    place = tf.range(length, dtype=tf.int64)
    flat = tf.reshape(matrices, shape([*sizes(matrices)[:-2], rows * columns]))
    return tf.gather(flat, (place + row) * columns + place + column, axis=-1)


def flip(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Back to front."""
    return tf.reverse(x, [axis(dim, x.shape.rank) for dim in dims]) if x.shape.rank and len(dims) else x


def roll(x: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] = ()) -> Tensor:
    """Shifted; what leaves at the end comes in at the front."""
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    if not isinstance(dims, int) and not len(dims):
        return tf.reshape(tf.roll(tf.reshape(x, [-1]), shifts[0], 0), tf.shape(x))
    return tf.roll(x, shifts, axes(dims, x.shape.rank)) if x.shape.rank else x


def repeat(x: Tensor, repeats: Sequence[Size]) -> Tensor:
    """Laid out several times along each dimension."""
    new = len(repeats) - x.shape.rank
    return tf.tile(tf.reshape(x, shape([1] * new + sizes(x))), shape(repeats))


def unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows along a dimension; their elements are the last one."""
    if x.shape.rank == 0:
        return tf.reshape(x, [1])[:size]
    dim = axis(dimension, x.shape.rank)
    starts = tf.range(0, tf.cast(sizes(x)[dim] - size + 1, tf.int64), step, dtype=tf.int64)
    windows = tf.gather(x, starts[:, None] + tf.range(size, dtype=tf.int64), axis=dim)
    return tf.transpose(windows, moved(x.shape.rank + 1, dim + 1, x.shape.rank))


def as_strided(
    x: Tensor, size: Sequence[Size], stride: Sequence[Size], storage_offset: Size = None, *, strides: Sequence[int]
) -> Tensor:
    """Elements picked from memory, as x lies in PyTorch's.

    Args:
        x: A tensor that fills its memory without gaps, in any order of dimensions.
        size: Of the result.
        stride: How far apart in memory the result's elements are.
        storage_offset: Where the first one is.
        strides: Of x.
    """
    order = sorted(range(x.shape.rank), key=lambda dim: (-strides[dim], dim))
    memory = tf.reshape(tf.transpose(x, order), [-1])
    place = tf.cast(storage_offset or 0, tf.int64)
    for length, step in zip(size, stride, strict=True):
        steps = tf.range(tf.cast(length, tf.int64), dtype=tf.int64) * tf.cast(step, tf.int64)
        place = tf.expand_dims(place, -1) + steps
    return tf.gather(memory, place)


def same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    """The tensor itself: TensorFlow's are never changed in place."""
    return x


def view_as_complex(x: Tensor) -> Tensor:
    """Pairs as complex numbers."""
    return tf.complex(x[..., 0], x[..., 1])


def view_as_real(x: Tensor) -> Tensor:
    """Complex numbers as pairs."""
    return tf.stack([tf.math.real(x), tf.math.imag(x)], axis=-1)


def repeat_interleave_index(repeats: Tensor, *, output_size: Size = None) -> Tensor:
    """The places of elements that are to be repeated so often."""
    return tf.repeat(tf.range(tf.size(repeats, repeats.dtype), dtype=repeats.dtype), repeats)


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Channels [.., c · factor², h, w] as pixels [.., c, h · factor, w · factor]."""
    *outer, channels, height, width = sizes(x)
    rank, factor = len(outer), upscale_factor
    channels = channels // factor**2
    parts = tf.reshape(x, shape([*outer, channels, factor, factor, height, width]))
    order = [*range(rank + 1), rank + 3, rank + 1, rank + 4, rank + 2]
    return tf.reshape(tf.transpose(parts, order), shape([*outer, channels, height * factor, width * factor]))


def constant_pad_nd(x: Tensor, pad: Sequence[Size], value: Any = 0) -> Tensor:
    """More at the ends of the last dimensions, or less, where a number is negative."""
    rank = x.shape.rank
    before, after = [0] * rank, [0] * rank
    for number in range(len(pad) // 2):
        before[rank - 1 - number], after[rank - 1 - number] = pad[2 * number], pad[2 * number + 1]
    cut = tuple(slice(_cut(first), _end(last)) for first, last in zip(before, after, strict=True))
    x = x[cut] if rank else x
    amounts = [[_added(first), _added(last)] for first, last in zip(before, after, strict=True)]
    return tf.pad(x, amounts, constant_values=cast(value, x.dtype)) if rank else x


def _cut(amount: Size) -> Size:
    return max(-amount, 0) if isinstance(amount, int) else tf.maximum(-amount, 0)


def _end(amount: Size) -> Size:
    return (amount if amount < 0 else None) if isinstance(amount, int) else None


def _added(amount: Size) -> Size:
    return max(amount, 0) if isinstance(amount, int) else tf.maximum(amount, 0)
