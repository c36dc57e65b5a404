"""What the operators share: sizes that may be unknown, dimensions counted from the end, half precision."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import HALVES, Size, Tensor

Op = Callable[..., Any]


def sizes(x: Tensor) -> list[Size]:
    """The size of each dimension: an int where it is known, else a scalar int64 tensor."""
    static: list[int | None] = x.shape.as_list()
    if None not in static:
        return static
    whole = tf.shape(x, out_type=tf.int64)
    return [whole[dim] if size is None else size for dim, size in enumerate(static)]


def shape(wanted: Sequence[Size]) -> Tensor:
    """Sizes as the vector that TensorFlow's operators take."""
    if all(isinstance(size, int) for size in wanted):
        return tf.constant(list(wanted), tf.int64, shape=[len(wanted)])
    return tf.stack([tf.cast(size, tf.int64) for size in wanted])


def reshape(x: Tensor, wanted: Sequence[Size]) -> Tensor:
    """The same elements in other dimensions. If one size is unknown, it is left to TensorFlow and not computed."""
    unknown = [dim for dim, size in enumerate(wanted) if tf.is_tensor(size)]
    known = [size for size in wanted if isinstance(size, int)]
    if len(unknown) == 1 and all(size > 0 for size in known):
        wanted = [-1 if dim in unknown else size for dim, size in enumerate(wanted)]
    return tf.reshape(x, shape(wanted))


def product(factors: Sequence[Size]) -> Size:
    """How many elements there are."""
    return math.prod(factors)


def axis(dim: int, rank: int) -> int:
    """A dimension counted from the front; a scalar counts as a vector."""
    return dim % max(rank, 1)


def axes(dims: int | Sequence[int] | None, rank: int) -> list[int]:
    """Dimensions counted from the front; none given means all."""
    if dims is None or (not isinstance(dims, int) and not len(dims)):
        return list(range(rank))
    return [axis(dim, rank) for dim in ([dims] if isinstance(dims, int) else dims)] if rank else []


def moved(rank: int, source: int, target: int) -> list[int]:
    """The permutation that takes dimension `source` to `target`."""
    order = [dim for dim in range(rank) if dim != source]
    order.insert(target, source)
    return order


def along_last(function: Callable[[Tensor], Any]) -> Callable[[Tensor, int], Any]:
    """Makes a function of a tensor's last dimension one of any dimension; its results keep the place."""

    def along(x: Tensor, dim: int) -> Any:
        rank = x.shape.rank
        if rank == 0:
            return tf.nest.map_structure(lambda y: tf.reshape(y, []), function(tf.reshape(x, [1])))
        dim = axis(dim, rank)
        if dim == rank - 1:
            return function(x)
        there, back = moved(rank, dim, rank - 1), moved(rank, rank - 1, dim)
        return tf.nest.map_structure(lambda y: tf.transpose(y, back), function(tf.transpose(x, there)))

    return along


def in_float32(function: Op) -> Op:
    """Computes in float32 what comes in half precision: PyTorch accumulates so, and TensorFlow has no kernels."""

    @functools.wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        tensors = [each for each in tf.nest.flatten((args, kwargs)) if tf.is_tensor(each)]
        half = next((each.dtype for each in tensors if each.dtype in HALVES), None)
        if half is None:
            return function(*args, **kwargs)
        args, kwargs = tf.nest.map_structure(_wide, (args, kwargs))
        return tf.nest.map_structure(lambda y: _narrow(y, half), function(*args, **kwargs))

    return computed


def integers_in_float64(function: Op) -> Op:
    """Computes in float64, exactly, what comes in integers: TensorFlow has no kernels for them."""

    @functools.wraps(function)
    def computed(x: Tensor, *rest: Any, **kwargs: Any) -> Any:
        dtype = x.dtype
        if not dtype.is_integer:
            return function(x, *rest, **kwargs)
        x, *rest = tf.nest.map_structure(_as_float64, [x, *rest])
        return tf.cast(function(x, *rest, **kwargs), dtype)

    return computed


def _as_float64(value: Any) -> Any:
    return tf.cast(value, tf.float64) if tf.is_tensor(value) else value


def _wide(value: Any) -> Any:
    return tf.cast(value, tf.float32) if tf.is_tensor(value) and value.dtype in HALVES else value


def _narrow(value: Any, half: tf.DType) -> Any:
    return tf.cast(value, half) if tf.is_tensor(value) and value.dtype == tf.float32 else value


def slices(x: Tensor, dim: int, *where: Any) -> Tensor:
    """`x[..., start:end:step]` at one dimension."""
    return x[(slice(None),) * dim + (slice(*where),)]
