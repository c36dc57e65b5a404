"""Sizes that are known only when a model is called, and graphs inside of graphs."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("one_thread")]

CASES: dict[str, tuple[Any, ...]] = {
    "_operator.add": (7, 2),
    "_operator.and_": (True, False),
    "_operator.eq": (7, 2),
    "_operator.floordiv": (-7, 2),
    "_operator.ge": (7, 2),
    "_operator.getitem": ([3, 4], 1),
    "_operator.gt": (7, 2),
    "_operator.le": (7, 2),
    "_operator.lt": (7, 2),
    "_operator.mod": (-7, 2),
    "_operator.mul": (7, 2),
    "_operator.ne": (7, 2),
    "_operator.neg": (7,),
    "_operator.or_": (True, False),
    "_operator.pow": (7, 2),
    "_operator.sub": (7, 2.5),
    "_operator.truediv": (7, 2),
    "math.ceil": (2.5,),
    "math.floor": (-2.5,),
    "math.trunc": (-2.5,),
    "round": (2.5,),
    "torch.sym_float": (7,),
    "torch.sym_int": (-2.5,),
    "torch.sym_ite": (True, 7, 2),
    "torch.sym_max": (7, 2),
    "torch.sym_min": (7, 2),
    "torch.sym_not": (True,),
    "torch.sym_sqrt": (6.25,),
    "torch.sym_sum": ([7, 2, 5],),
}
OF_TENSORS = {
    "aten._local_scalar_dense.default": (lambda x: x[0, 0], lambda op, x: op(x[0, 0])),
    "aten.sym_numel.default": (lambda x: x.numel(), lambda op, x: op(x)),
    "aten.sym_size.int": (lambda x: x.size(-1), lambda op, x: op(x, -1)),
    "aten.sym_storage_offset.default": (lambda x: x.storage_offset(), lambda op, x: op(x)),
    "aten.sym_stride.int": (lambda x: x.stride(0), lambda op, x: op(x, 0)),
}
ASSERTIONS = {
    "aten._assert_async.msg",
    "aten._assert_scalar.default",
    "aten._assert_tensor_metadata.default",
    "aten.sym_constrain_range.default",
    "aten.sym_constrain_range_for_size.default",
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("target", CASES)
def test_arithmetic_of_sizes(target: str, known: bool) -> None:
    import importlib

    import tensorflow as tf

    from polytrainer.executors.export.aten_to_tf.table import OPS

    module, _, name = target.rpartition(".")
    wanted = getattr(importlib.import_module(module or "builtins"), name)(*CASES[target])
    unknown = tf.nest.map_structure(
        lambda x: tf.constant(x, {bool: tf.bool, int: tf.int64, float: tf.float64}[type(x)]), CASES[target]
    )
    if target == "_operator.getitem":  # which result is meant is always known
        unknown = (unknown[0], 1)
    got = OPS[target](*(CASES[target] if known else unknown))
    assert got == wanted
    assert (
        known
        or got.dtype == tf.constant(wanted, tf.int64 if type(wanted) is int else None).dtype
        or got.dtype == tf.float64
    )


@pytest.mark.parametrize("target", OF_TENSORS)
def test_sizes_of_tensors(target: str) -> None:
    import tensorflow as tf
    import torch

    from polytrainer.executors.export.aten_to_tf.table import OPS

    ours, theirs = OF_TENSORS[target]
    wanted = ours(torch.arange(12).reshape(3, 4))
    traced = tf.function(lambda x: theirs(OPS[target], x), input_signature=[tf.TensorSpec([None, None], tf.int64)])
    assert theirs(OPS[target], tf.reshape(tf.range(12), [3, 4])) == wanted
    assert traced(tf.reshape(tf.range(12, dtype=tf.int64), [3, 4])) == wanted


def test_assertions_of_sizes_held_when_the_program_was_traced() -> None:
    from polytrainer.executors.export.aten_to_tf.table import OPS

    assert [OPS[target](3, min=1) for target in ASSERTIONS] == [None] * len(ASSERTIONS)


def test_everything_that_works_on_sizes_is_tried() -> None:
    from polytrainer.executors.export.aten_to_tf import table

    assert set(table._SIZES) == set(CASES) | set(OF_TENSORS) | ASSERTIONS


def test_sizes_computed_from_sizes(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Model(nn.Module):
        def forward(self, x: Any) -> Any:
            batch, length = x.shape
            half = (length + 1) // 2
            table = torch.arange(length * batch, dtype=x.dtype).view(length, batch)
            cut = x[:, : max(half, 2)].repeat(2, 1)
            return {
                "table": x + table.t() / length,
                "cut": cut.reshape(batch * 2, -1).mean(0),
                "new": x.new_ones(batch, length * 2 - 1),
                "where": torch.arange(length) < half,
                "blocks": x.unsqueeze(-1).expand(-1, -1, 2).flatten(1),
            }

    check(Model(), lambda batch: (torch.randn(batch, 4 + 2 * batch),), dynamic={"x": [1]})


@pytest.mark.parametrize("sign", [1, -1])
def test_one_of_two_graphs(check: Callable[..., Any], sign: int) -> None:
    import torch
    from torch import nn

    class Model(nn.Module):
        def forward(self, x: Any) -> Any:
            with torch.no_grad():
                positive = x.sum() > 0
            return torch.cond(positive, lambda x: x.sin(), lambda x: x.cos() + 1, (x,))

    check(Model(), lambda batch: (sign * torch.rand(batch, 3),))


def test_a_graph_again_and_again(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn
    from torch._higher_order_ops.while_loop import while_loop

    class Model(nn.Module):
        def forward(self, x: Any) -> Any:
            return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2 - 1), (torch.tensor(0), x))[1]

    check(Model(), lambda batch: (torch.rand(batch, 3),))


def test_what_stands_under_autocast(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = self.layer(x)
            return y.float() + operator.mul(x.shape[0], 2)

    check(Model(), lambda batch: (torch.rand(batch, 3),), tolerance=1e-2)
