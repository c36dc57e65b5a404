"""Padding with what the tensor itself holds. `padding` is (before, after) from the last dimension on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor
from polytrainer.executors.export.aten_to_tf.ops.common import Op, sizes
from polytrainer.executors.export.aten_to_tf.ops.shapes import constant_pad_nd

Place = Callable[[Tensor, Size], Tensor]


def _from_itself(place: Place) -> Op:
    """A padding whose element outside is the one inside that `place` names."""

    def op(x: Tensor, padding: Sequence[Size]) -> Tensor:
        size = sizes(x)
        for number in range(len(padding) // 2):
            dim = len(size) - 1 - number
            before, after = padding[2 * number], padding[2 * number + 1]
            wanted = tf.range(tf.cast(-before, tf.int64), tf.cast(size[dim] + after, tf.int64), dtype=tf.int64)
            x = tf.gather(x, place(wanted, size[dim]), axis=dim)
        return x

    return op


def _mirrored(wanted: Tensor, length: Size) -> Tensor:
    last = tf.cast(length - 1, tf.int64)
    return last - tf.abs(last - tf.abs(wanted))


def _nearest(wanted: Tensor, length: Size) -> Tensor:
    return tf.minimum(tf.maximum(wanted, 0), tf.cast(length - 1, tf.int64))


reflection = _from_itself(_mirrored)
replication = _from_itself(_nearest)
circular = _from_itself(lambda wanted, length: wanted % length)

_MODES = {"reflect": reflection, "replicate": replication, "circular": circular}


def pad(x: Tensor, pad: Sequence[Size], mode: str = "constant", value: Any = None) -> Tensor:
    """Padding in any of PyTorch's modes."""
    return constant_pad_nd(x, pad, value or 0) if mode == "constant" else _MODES[mode](x, pad)
