"""Operators that hold graphs. Each is given `run`, which calls one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Run = Callable[[Any, Sequence[Any]], Any]


def wrap_with_set_grad_enabled(enabled: bool, graph: Any, *inputs: Any, run: Run) -> Any:
    """What stands under `torch.no_grad()`."""
    return run(graph, inputs)


def wrap_with_autocast(
    device: str, dtype: Any, enabled: bool, cache_enabled: bool | None, graph: Any, *inputs: Any, run: Run
) -> Any:
    """What stands under `torch.autocast`: the casts are in the graph."""
    return run(graph, inputs)


def cond(predicate: Any, if_true: Any, if_false: Any, inputs: Sequence[Any], *, run: Run) -> Any:
    """One of two graphs."""
    predicate = tf.reshape(tf.cast(predicate, tf.bool), [])
    return tf.cond(predicate, lambda: list(run(if_true, inputs)), lambda: list(run(if_false, inputs)))


def while_loop(go_on: Any, step: Any, carried: Sequence[Any], inputs: Sequence[Any] = (), *, run: Run) -> Any:
    """A graph again and again, as long as another one says so."""
    start = [tf.convert_to_tensor(each) for each in carried]
    return tf.while_loop(
        lambda *state: tf.reshape(_only(run(go_on, [*state, *inputs])), []),
        lambda *state: list(run(step, [*state, *inputs])),
        start,
        shape_invariants=[each.shape for each in start],
    )


def _only(result: Any) -> Any:
    return result[0] if isinstance(result, (list, tuple)) else result
