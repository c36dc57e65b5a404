"""Operators that pick elements by their place, or put them there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast
from polytrainer.executors.export.aten_to_tf.ops.common import along_last, axis, product, shape, sizes
from polytrainer.executors.export.aten_to_tf.ops.pointwise import multiply


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """Rows of a table."""
    return tf.gather(weight, indices)


def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Elements of one dimension."""
    if x.shape.rank == 0:
        return tf.reshape(x, []) if index.shape.rank == 0 else tf.reshape(tf.gather(tf.reshape(x, [1]), index), [])
    return tf.gather(x, tf.reshape(index, [-1]), axis=axis(dim, x.shape.rank))


def index(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """`x[indices]`: tensors of places, None for a whole dimension, bool tensors for several dimensions at once."""
    chosen = _Chosen(x, indices)
    picked = tf.gather(chosen.rows(x), chosen.places)
    return chosen.in_place(picked)


def index_put(x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of x in which `x[indices]` is `values`, or is increased by them."""
    chosen = _Chosen(x, indices)
    rows = chosen.rows(x)
    wanted = tf.concat([tf.shape(chosen.places), tf.shape(rows)[1:]], 0)
    news = chosen.in_front(tf.broadcast_to(cast(values, x.dtype), chosen.in_place_shape(wanted)))
    if accumulate:
        rows = _add_at(rows, chosen.places[..., None], news)
    else:
        rows = tf.tensor_scatter_nd_update(rows, chosen.places[..., None], news)
    return chosen.back(rows)


def _add_at(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    if x.dtype == tf.bool:
        return tf.cast(tf.tensor_scatter_nd_max(tf.cast(x, tf.int32), places, tf.cast(values, tf.int32)), tf.bool)
    return tf.tensor_scatter_nd_add(x, places, values)


class _Chosen:
    """What indices choose: rows of x, once the indexed dimensions are in front and are one."""

    def __init__(self, x: Tensor, indices: Sequence[Tensor | None]):
        columns = _without_bools(indices)
        columns += [None] * (x.shape.rank - len(columns))
        self._dims = [dim for dim, column in enumerate(columns) if column is not None]
        self._rest = [dim for dim, column in enumerate(columns) if column is None]
        size = sizes(x)
        self._indexed_sizes, self._rest_sizes = [size[d] for d in self._dims], [size[d] for d in self._rest]
        self.places = tf.constant(0, tf.int64)
        for dim in self._dims:
            place = tf.cast(columns[dim], tf.int64)
            place = tf.where(place < 0, place + size[dim], place)
            self.places = self.places * size[dim] + place
        # the result's new dimensions stand where the indexed ones stood, if these were neighbours, else in front
        neighbours = self._dims == list(range(self._dims[0], self._dims[0] + len(self._dims))) if self._dims else True
        self._front = self._dims[0] if self._dims and neighbours else 0

    def rows(self, x: Tensor) -> Tensor:
        """X as [product of indexed dimensions, *other dimensions]."""
        x = tf.transpose(x, self._dims + self._rest)
        return tf.reshape(x, shape([product(self._indexed_sizes), *self._rest_sizes]))

    def back(self, rows: Tensor) -> Tensor:
        """The inverse of `rows`."""
        x = tf.reshape(rows, shape([*self._indexed_sizes, *self._rest_sizes]))
        order = self._dims + self._rest
        return tf.transpose(x, [order.index(dim) for dim in range(len(order))])

    def _order(self) -> list[int]:
        """From [*dimensions of places, *others] to the result's order."""
        new = self.places.shape.rank
        rest = [new + number for number in range(len(self._rest))]
        return [*rest[: self._front], *range(new), *rest[self._front :]]

    def in_place(self, picked: Tensor) -> Tensor:
        """The dimensions of what was picked in the result's order."""
        return tf.transpose(picked, self._order())

    def in_place_shape(self, front: Tensor) -> Tensor:
        """The same for a vector of sizes."""
        return tf.gather(front, self._order())

    def in_front(self, values: Tensor) -> Tensor:
        """The inverse of `in_place`."""
        order = self._order()
        return tf.transpose(values, [order.index(dim) for dim in range(len(order))])


def _without_bools(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Bool tensors as the places where they are true, one for each of their dimensions."""
    columns: list[Tensor | None] = []
    for each in indices:
        if each is not None and each.dtype in (tf.bool, tf.uint8):
            columns += tf.unstack(tf.where(each), num=each.shape.rank, axis=1)
        else:
            columns.append(each)
    return columns


def gather(x: Tensor, dim: int, index: Tensor, sparse_grad: bool = False) -> Tensor:
    """Element `index[i, j]` of dimension `dim`, the other coordinates being those of the index itself."""
    if x.shape.rank == 0 or index.shape.rank == 0:
        return tf.reshape(tf.gather(tf.reshape(x, [-1]), tf.reshape(index, [-1])), tf.shape(index))
    return tf.gather_nd(x, _coordinates(index, axis(dim, x.shape.rank)))


def _coordinates(index: Tensor, dim: int) -> Tensor:
    """[*index, rank]: the coordinates of each element of an index, with the index itself for one of them."""
    size = sizes(index)
    rank = len(size)
    columns = []
    for each in range(rank):
        own = tf.reshape(tf.range(tf.cast(size[each], tf.int64), dtype=tf.int64), [-1] + [1] * (rank - 1 - each))
        columns.append(tf.cast(index, tf.int64) if each == dim else tf.broadcast_to(own, shape(size)))
    return tf.stack(columns, axis=-1)


def _at(x: Tensor, dim: int, index: Tensor, values: Any, put: Callable[..., Tensor]) -> Tensor:
    """Puts values of the index's shape where it says."""
    if x.shape.rank == 0 or index.shape.rank == 0:
        flat, places = tf.reshape(x, [-1]), tf.reshape(index, [-1])
        return tf.reshape(_at(flat, 0, places, tf.reshape(values, [-1]), put), tf.shape(x))
    values = values[tuple(slice(0, size) for size in sizes(index))]
    return put(x, _coordinates(index, axis(dim, x.shape.rank)), values)


def scatter(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of x with elements of `src` where the index says."""
    return _at(x, dim, index, cast(src, x.dtype), tf.tensor_scatter_nd_update)


def scatter_value(x: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of x with one number where the index says."""
    return scatter(x, dim, index, tf.fill(shape(sizes(index)), cast(value, x.dtype)))


def scatter_add(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of x, increased by `src` where the index says."""
    return _at(x, dim, index, cast(src, x.dtype), _add_at)


_IDENTITY: dict[str, Callable[[tf.DType], Any]] = {
    "sum": lambda dtype: 0,
    "mean": lambda dtype: 0,
    "prod": lambda dtype: 1,
    "amax": lambda dtype: float("-inf") if dtype.is_floating else dtype.min,
    "amin": lambda dtype: float("inf") if dtype.is_floating else dtype.max,
}


def scatter_reduce(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of x in which what the index gathers at a place is reduced to one element."""
    narrow, x = x.dtype, _computable(x)
    src = cast(src, x.dtype)
    if not include_self:
        x = scatter_value(x, dim, index, _IDENTITY[reduce](x.dtype))
    if reduce == "amax":
        result = _at(x, dim, index, src, tf.tensor_scatter_nd_max)
    elif reduce == "amin":
        result = _at(x, dim, index, src, tf.tensor_scatter_nd_min)
    elif reduce == "prod":
        result = _at(x, dim, index, src, _multiply_at)
    else:
        result = _at(x, dim, index, src, tf.tensor_scatter_nd_add)
        if reduce == "mean":
            start = tf.ones_like(x) if include_self else scatter_value(tf.ones_like(x), dim, index, 0)
            count = tf.maximum(_at(start, dim, index, tf.ones_like(src), tf.tensor_scatter_nd_add), 1)
            result = result / count if x.dtype.is_floating else result // count
    return cast(result, narrow)


def scatter_reduce_by_name(x: Tensor, dim: int, index: Tensor, src: Tensor, *, reduce: str) -> Tensor:
    """The older form: "add" or "multiply"."""
    return scatter_reduce(x, dim, index, src, {"add": "sum", "multiply": "prod"}[reduce])


def scatter_value_reduce(x: Tensor, dim: int, index: Tensor, value: Any, *, reduce: str) -> Tensor:
    """The older form with one number."""
    return scatter_reduce_by_name(x, dim, index, tf.fill(shape(sizes(index)), cast(value, x.dtype)), reduce=reduce)


def _computable(x: Tensor) -> Tensor:
    """In a type for which TensorFlow has kernels."""
    if x.dtype in (tf.float16, tf.bfloat16):
        return tf.cast(x, tf.float32)
    return tf.cast(x, tf.int64) if x.dtype == tf.bool or x.dtype.is_integer else x


def _multiply_at(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """What `tf.tensor_scatter_nd_mul` would be: products by place, then one multiplication."""
    strides = [product(sizes(x)[dim + 1 :]) for dim in range(x.shape.rank)]
    flat = tf.reduce_sum(places * shape(strides), axis=-1)
    factors = tf.math.unsorted_segment_prod(values, flat, tf.size(x, tf.int64))
    return x * tf.reshape(factors, tf.shape(x))


def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy of x with rows of `source` added to the rows that the index names."""
    source = multiply(cast(source, x.dtype), cast(alpha, x.dtype))
    if x.shape.rank == 0:
        return tf.reshape(index_add(tf.reshape(x, [1]), 0, index, tf.reshape(source, [-1])), [])
    return index_put(x, [None] * axis(dim, x.shape.rank) + [tf.reshape(index, [-1])], source, accumulate=True)


def masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of x in which the elements of `source` stand, in order, where the mask is true."""
    both = tf.broadcast_dynamic_shape(tf.shape(mask), tf.shape(x))
    mask, x = tf.broadcast_to(mask, both), tf.broadcast_to(x, both)
    order = tf.cumsum(tf.cast(tf.reshape(mask, [-1]), tf.int64), exclusive=True)
    flat = tf.reshape(source, [-1])
    source = tf.gather(tf.concat([flat, tf.zeros([1], flat.dtype)], 0), tf.minimum(order, tf.size(flat, tf.int64)))
    return tf.where(mask, tf.reshape(source, tf.shape(mask)), x)


def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is true."""
    both = tf.broadcast_dynamic_shape(tf.shape(mask), tf.shape(x))
    return tf.boolean_mask(tf.reshape(tf.broadcast_to(x, both), [-1]), tf.reshape(tf.broadcast_to(mask, both), [-1]))


def take(x: Tensor, index: Tensor) -> Tensor:
    """Elements by their place among all."""
    count = tf.size(x, tf.int64)
    index = tf.cast(index, tf.int64)
    return tf.gather(tf.reshape(x, [-1]), tf.where(index < 0, index + count, index))


def nonzero(x: Tensor) -> Tensor:
    """[count, rank]: where the elements are that are not 0."""
    if x.shape.rank == 0:
        return tf.zeros(shape([tf.cast(cast(x, tf.bool), tf.int64), 0]), tf.int64)
    return tf.where(cast(x, tf.bool))


def sort(x: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = False) -> tuple[Tensor, Tensor]:
    """The elements of a dimension in order, and where they were."""
    order = argsort(x, dim, descending)
    return gather(x, dim, order), order


def sort_stable(x: Tensor, *, stable: bool | None, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """The same; ours is always stable."""
    return sort(x, dim, descending)


def argsort(x: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """Where the elements of a dimension are, in order; NaN counts as the largest."""
    key = tf.cast(x, tf.int8) if x.dtype == tf.bool else x
    if key.dtype.is_floating:
        key = tf.where(tf.math.is_nan(key), cast(float("inf"), key.dtype), key)
    direction = "DESCENDING" if descending else "ASCENDING"
    return along_last(lambda y: tf.cast(tf.argsort(y, direction=direction, stable=True), tf.int64))(key, dim)


def topk(x: Tensor, k: Size, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest or smallest elements of a dimension, in order, and where they are."""
    if x.shape.rank == 0:
        return x, tf.zeros([], tf.int64)
    dim = axis(dim, x.shape.rank)
    order = argsort(x, dim, largest)[(slice(None),) * dim + (slice(0, k),)]
    return gather(x, dim, order), order


def searchsorted(
    sorted_sequence: Tensor,
    values: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where values belong in sorted rows."""
    right = right if side is None else side == "right"
    values = values if tf.is_tensor(values) else cast(values, sorted_sequence.dtype)
    if sorter is not None:
        sorted_sequence = gather(sorted_sequence, -1, sorter)
    edges = sorted_sequence[..., None, :] if sorted_sequence.shape.rank > 1 else sorted_sequence
    value = tf.cast(values, sorted_sequence.dtype)[..., None]
    before = edges <= value if right else edges < value
    return tf.reduce_sum(tf.cast(before, tf.int32 if out_int32 else tf.int64), axis=-1)


def bucketize(values: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the bucket that each value falls in."""
    return searchsorted(boundaries, values, out_int32=out_int32, right=right)
