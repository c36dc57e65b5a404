"""Recurrent networks, as loops: their sequences may have any length, and the graph does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor
from polytrainer.executors.export.aten_to_tf.ops.common import Op, in_float32
from polytrainer.executors.export.aten_to_tf.ops.linear import linear

State = tuple[Tensor, ...]
Recurrence = Callable[[Tensor], Tensor]
"""A hidden state by the recurrent weights."""
Cell = Callable[[Tensor, State, Recurrence], State]
"""(the projected input of one step, state, recurrence) → the next state, whose first tensor is the output."""


def _lstm_cell(projected: Tensor, state: State, recur: Recurrence) -> State:
    hidden, memory = state
    enter, forget, cell, out = tf.split(projected + recur(hidden), 4, axis=-1)
    memory = tf.sigmoid(forget) * memory + tf.sigmoid(enter) * tf.tanh(cell)
    return tf.sigmoid(out) * tf.tanh(memory), memory


def _gru_cell(projected: Tensor, state: State, recur: Recurrence) -> State:
    (hidden,) = state
    reset_x, update_x, new_x = tf.split(projected, 3, axis=-1)
    reset_h, update_h, new_h = tf.split(recur(hidden), 3, axis=-1)
    reset, update = tf.sigmoid(reset_x + reset_h), tf.sigmoid(update_x + update_h)
    new = tf.tanh(new_x + reset * new_h)
    return (new + update * (hidden - new),)


def _plain_cell(activation: Callable[[Tensor], Tensor]) -> Cell:
    return lambda projected, state, recur: (activation(projected + recur(state[0])),)


def _direction(x: Tensor, state: State, params: Sequence[Tensor], has_biases: bool, cell: Cell, backward: bool) -> Any:
    """One direction of one layer: [time, batch, width] → outputs and the last state."""
    input_weight, hidden_weight, *rest = params
    input_bias, hidden_bias = (rest[0], rest[1]) if has_biases else (None, None)
    narrowing = rest[2:] if has_biases else rest  # an LSTM's proj_size: its output is narrower than its memory
    projected = linear(x, input_weight, input_bias)
    length = tf.shape(x)[0]
    outputs = tf.TensorArray(x.dtype, length, element_shape=state[0].shape)

    def step(number: Tensor, state: State, outputs: Any) -> tuple[Tensor, State, Any]:
        place = length - 1 - number if backward else number
        hidden, *memory = cell(projected[place], state, lambda hidden: linear(hidden, hidden_weight, hidden_bias))
        hidden = linear(hidden, narrowing[0]) if narrowing else hidden
        return number + 1, (hidden, *memory), outputs.write(place, hidden)

    _, state, outputs = tf.while_loop(
        lambda number, *_: number < length, step, (tf.constant(0), state, outputs), maximum_iterations=length
    )
    return outputs.stack(), state


def _layers(
    x: Tensor,
    states: State,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    cell: Cell,
) -> tuple[Tensor, ...]:
    """All layers: outputs, then the last states [layers · directions, batch, width]."""
    unbatched = x.shape.rank == 2  # noqa: PLR2004
    if unbatched:
        x, states = tf.expand_dims(x, 1), tuple(tf.expand_dims(state, 1) for state in states)
    elif batch_first:
        x = tf.transpose(x, [1, 0, 2])
    directions = 2 if bidirectional else 1
    each = len(params) // (num_layers * directions)
    last: list[State] = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            own = params[number * each : (number + 1) * each]
            start = tuple(state[number] for state in states)
            output, end = _direction(x, start, own, has_biases, cell, backward=direction == 1)
            outputs.append(output)
            last.append(end)
        x = tf.concat(outputs, -1)
    ends = tuple(tf.stack(each) for each in zip(*last, strict=True))
    if unbatched:
        return (tf.squeeze(x, 1), *(tf.squeeze(end, 1) for end in ends))
    return (tf.transpose(x, [1, 0, 2]) if batch_first else x, *ends)


@in_float32
def lstm(
    x: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """nn.LSTM: outputs, last hidden state, last memory."""
    return _layers(x, tuple(hx), params, has_biases, num_layers, bidirectional, batch_first, _lstm_cell)


def _network(cell: Cell) -> Op:
    @in_float32
    def network(
        x: Tensor,
        hx: Tensor,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        return _layers(x, (hx,), params, has_biases, num_layers, bidirectional, batch_first, cell)

    return network


gru = _network(_gru_cell)
rnn_tanh = _network(_plain_cell(tf.tanh))
rnn_relu = _network(_plain_cell(tf.nn.relu))
