"""Calls of ATen operators with what PyTorch makes of them: recorded from PyTorch's own samples of its operators."""

from __future__ import annotations

import contextlib
import sys
import types
import unittest
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

PER_TARGET = 12
PER_KIND = 2
SAMPLES = {"float32": 12, "int64": 3, "bool": 2, "uint8": 2, "bfloat16": 2, "float16": 1, "float64": 2, "complex64": 2}
TOO_LARGE = 3000
SLOW = (
    "svd_lowrank",
    "pca_lowrank",
    "linalg.",
    "sparse",
    "special",
    "signal.",
    "masked.",
    "_refs",
    "ormqr",
    "nn.functional.ctc",
)


@dataclass
class Call:
    """An operator called."""

    target: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """What is computed here is small: several threads would mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def recorded() -> dict[str, list[Call]]:
    """By target, some calls that differ in types and ranks, from PyTorch's samples."""
    import torch

    # PyTorch's test utilities import it, and need nothing of it here
    sys.modules.setdefault("expecttest", types.SimpleNamespace(TestCase=unittest.TestCase))  # type: ignore[arg-type]
    from torch.testing._internal.common_methods_invocations import op_db

    recorder = _recorder()
    torch.manual_seed(0)
    for info in op_db:
        if not info.name.startswith(SLOW):
            _record(recorder, info)
    return dict(recorder.calls)


def _record(recorder: Any, info: Any) -> None:
    """Calls an operator with some of its samples, by type; not with more types once there was nothing new in one."""
    import torch

    for name, count in SAMPLES.items():
        dtype, known = getattr(torch, name), len(recorder.seen)
        if not info.supports_dtype(dtype, "cpu"):
            continue
        # not info.sample_inputs, which looks through the whole stack for each sample: minutes under pytest
        for sample in islice(info.sample_inputs_func(info, "cpu", dtype, False), count):
            # some are there to be refused
            with recorder, torch.no_grad(), contextlib.suppress(Exception):
                info.op(sample.input, *sample.args, **sample.kwargs)
        if len(recorder.seen) == known:
            return


def _recorder() -> Any:
    import torch
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    from polytrainer.executors.export.aten_to_tf.table import OPS

    decompositions = {k: v for k, v in torch.export.default_decompositions().items() if str(k) not in OPS}

    class Recorder(TorchDispatchMode):
        """Notes what ends up in operators of the table, after the decompositions that an export would do."""

        def __init__(self) -> None:
            super().__init__()
            self.calls: dict[str, list[Call]] = defaultdict(list)
            self.seen: Counter[Any] = Counter()

        def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            target = str(function)
            if target not in OPS:
                if function in decompositions:
                    with self:
                        result = decompositions[function](*args, **kwargs)
                    if result is not NotImplemented:
                        return result
                return function(*args, **kwargs)
            leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            kind = (target, *((leaf.dtype, leaf.dim() if leaf.numel() else -1) for leaf in leaves))
            wanted = len(self.calls[target]) < PER_TARGET and self.seen[kind] < PER_KIND
            if not wanted or any(leaf.numel() > TOO_LARGE for leaf in leaves):
                return function(*args, **kwargs)
            self.seen[kind] += 1
            copies = pytree.tree_map(_copied, (args, kwargs))
            result = function(*args, **kwargs)
            self.calls[target].append(Call(target, *copies, pytree.tree_map(_copied, result)))
            return result

    return Recorder()


def _copied(leaf: Any) -> Any:
    import torch

    return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf


@pytest.fixture(scope="session")
def explicit() -> dict[str, list[Call]]:
    """Calls of the operators that PyTorch's samples do not reach: what they consist of is recorded in their stead."""
    import torch

    torch.manual_seed(0)
    calls = defaultdict(list)
    for target, *args in _explicit_arguments():
        kwargs = args.pop() if args and isinstance(args[-1], dict) else {}
        _, name, overload = target.split(".")
        with torch.no_grad():
            result = getattr(getattr(torch.ops.aten, name), overload)(*args, **kwargs)
        calls[target].append(Call(target, tuple(args), kwargs, result))
    return dict(calls)


def _explicit_arguments() -> Iterator[list[Any]]:
    """Target and arguments, keyword arguments last."""
    for arguments in (_pointwise, _indexing, _layers, _images, _attention, _recurrent):
        yield from arguments()


def _pointwise() -> Iterator[list[Any]]:
    import torch

    x, counts, flags = torch.randn(2, 4, 6), torch.randint(1, 9, (3, 4)), torch.tensor([True, False])
    for name in ("and", "or", "xor"):
        yield [f"aten.bitwise_{name}.Scalar", counts, 5]
        yield [f"aten.bitwise_{name}.Scalar", flags, True]
        yield [f"aten.bitwise_{name}.Scalar_Tensor", 6, counts]
    for side in ("left", "right"):
        yield [f"aten.bitwise_{side}_shift.Tensor_Scalar", counts, 2]
        yield [f"aten.bitwise_{side}_shift.Scalar_Tensor", 97, counts]
    for mode in ("floor", "trunc", None):
        yield ["aten.div.Scalar_mode", x, 0.3, {"rounding_mode": mode}]
        yield ["aten.div.Scalar_mode", counts - 5, 3, {"rounding_mode": mode}]
    yield ["aten.fmod.Scalar", x, 0.3]
    yield ["aten.fmod.Scalar", counts - 5, 3]
    yield ["aten.remainder.Scalar_Tensor", 17, counts - 10]
    yield ["aten.fill.Tensor", counts, torch.tensor(2.7)]
    yield ["aten.lift.default", x]
    yield ["aten.lift_fresh_copy.default", x]
    yield ["aten.view.dtype", x, torch.int32]
    yield ["aten.view.dtype", x, torch.float64]
    yield ["aten.view.dtype", x, torch.int16]
    yield ["aten._reshape_alias.default", x, [8, 6], [6, 1]]
    yield ["aten.var.dim", x, [1]]
    yield ["aten.var.dim", x, [0, 2], False, True]
    yield ["aten._logcumsumexp.default", x, 1]
    for target in ("aten.bernoulli.p", "aten.native_dropout.default"):
        yield [target, x, 0.5, *([True] if "native" in target else [])]
    yield ["aten.native_dropout.default", x, 0.5, False]
    yield ["aten.rand_like.default", x]
    yield ["aten.randperm.default", 5]


def _indexing() -> Iterator[list[Any]]:
    import torch

    x, codes, table = torch.randn(2, 4, 6), torch.randint(0, 6, (2, 3)), torch.randn(6, 5)
    yield ["aten.bucketize.Scalar", 0.3, torch.tensor([-1.0, 0.3, 2.0])]
    yield ["aten.searchsorted.Scalar", torch.tensor([-1.0, 0.3, 2.0]), 0.3, {"right": True}]
    yield ["aten.scatter.value", x, 2, codes[:, None], 7.0]
    yield ["aten.scatter.value_reduce", x, -1, codes[:, None], 3.0, {"reduce": "multiply"}]
    bags = (table, torch.randint(0, 6, (7,)), torch.tensor([0, 2, 2, 7]))
    for mode in range(3):
        yield ["aten._embedding_bag.default", *bags, False, mode]
        yield ["aten._embedding_bag.default", *bags, False, mode, False, None, False, int(bags[1][0])]
        yield ["aten._embedding_bag.default", *bags, False, mode, False, None, True]
    yield ["aten._embedding_bag.default", *bags, False, 0, False, torch.randn(7)]


def _layers() -> Iterator[list[Any]]:
    import torch

    x, square, cube = torch.randn(2, 4, 6), torch.randn(2, 3, 5, 6), torch.randn(1, 2, 4, 5, 6)
    weight, bias, gain = torch.randn(5, 6), torch.randn(5), torch.rand(3) + 0.5
    yield ["aten.linear.default", x, weight, bias]
    yield ["aten.linear.default", x[0, 0], weight]
    yield ["aten.matmul.default", x, weight.t()]
    yield ["aten.matmul.default", x, bias.new_ones(6)]
    yield ["aten.matmul.default", bias.new_ones(6), bias.new_ones(6)]
    yield ["aten.matmul.default", cube, cube.mT]
    yield ["aten.layer_norm.default", x, [4, 6], x[0], x[1], 1e-3]
    yield ["aten.layer_norm.default", x, [6]]
    yield ["aten.rms_norm.default", x, [6], x[0, 0]]
    yield ["aten.rms_norm.default", x, [4, 6], None, 1e-3]
    yield ["aten._native_batch_norm_legit_no_training.default", square, gain, None, gain, gain, 0.1, 1e-5]
    yield ["aten._native_batch_norm_legit_no_training.default", square[..., 0, 0], None, gain, gain, gain, 0.1, 1e-5]
    yield ["aten._batch_norm_no_update.default", square, gain, gain, gain, gain, 0.1, 1e-5]


def _images() -> Iterator[list[Any]]:
    import torch
    from torch import nn

    x, square, cube = torch.randn(2, 4, 6), torch.randn(2, 3, 5, 6), torch.randn(1, 2, 4, 5, 6)
    for space, image in ((1, x), (2, square), (3, cube)):
        yield [f"aten.max_pool{space}d.default", image, [2], [1], [1]]
        yield [f"aten.max_pool{space}d.default", image, [2], [2], [0], [2], True]
        yield [f"aten.adaptive_avg_pool{space}d.default", image, [3] * space]
        yield [f"aten.upsample_nearest{space}d.vec", image, None, [1.7] * space]
        yield [f"aten.upsample_nearest{space}d.vec", image, [5] * space, None]
        yield [f"aten._upsample_nearest_exact{space}d.vec", image, None, [1.7] * space]
        yield [f"aten._upsample_nearest_exact{space}d.default", image, [7] * space]
        how = {1: "linear", 2: "bilinear", 3: "trilinear"}[space]
        yield [f"aten.upsample_{how}{space}d.vec", image, None, False, [1.7] * space]
        yield [f"aten.upsample_{how}{space}d.vec", image, [7] * space, True, None]
    for align in (False, True):
        yield ["aten.upsample_bicubic2d.vec", square, None, align, [0.6, 1.7]]
    yield ["aten.avg_pool1d.default", x, [3], [2], [1], True, False]
    yield ["aten.avg_pool1d.default", x[0], [2]]
    yield ["aten.adaptive_max_pool1d.default", x, [4]]
    patches = nn.functional.unfold(square, (2, 3), (1, 2), 1, (2, 1))
    yield ["aten.col2im.default", patches, [5, 6], [2, 3], [1, 2], [1, 1], [2, 1]]
    yield ["aten.col2im.default", patches[0], [5, 6], [2, 3], [1, 2], [1, 1], [2, 1]]


def _attention() -> Iterator[list[Any]]:
    import torch
    from torch import nn

    x, square = torch.randn(2, 4, 6), torch.randn(2, 3, 5, 6)
    q, k, v = torch.randn(3, 2, 4, 5, 6)
    seen = torch.tensor([[True] * 5, [True] + [False] * 4, [False] * 5, [True] * 5, [False] + [True] * 4])
    yield ["aten.scaled_dot_product_attention.default", q, k, v]
    yield ["aten.scaled_dot_product_attention.default", q, k[..., :3, :], v[..., :3, :], None, 0.0, True]
    yield ["aten.scaled_dot_product_attention.default", q, k, v, seen]
    yield ["aten.scaled_dot_product_attention.default", q, k, v, square[0, 0, :, :5], {"scale": 0.3}]
    yield ["aten.scaled_dot_product_attention.default", q, k[:, :2], v[:, :2], {"enable_gqa": True}]
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).eval()
    own = layer.self_attn
    projections = (own.in_proj_weight, own.in_proj_bias, own.out_proj.weight, own.out_proj.bias)
    hidden = torch.tensor([[False, False, False, True], [False] * 4])
    above = torch.ones(4, 4, dtype=torch.bool).triu(1)
    yield ["aten._native_multi_head_attention.default", x, x, x, 6, 2, *projections]
    yield ["aten._native_multi_head_attention.default", x, x, x, 6, 2, *projections, hidden, True, False, 1]
    yield ["aten._native_multi_head_attention.default", x, x, x, 6, 2, *projections, above, True, True, 0]
    norms = (layer.norm1.weight, layer.norm1.bias, layer.norm2.weight, layer.norm2.bias)
    feeds = (layer.linear1.weight, layer.linear1.bias, layer.linear2.weight, layer.linear2.bias)
    for gelu, first in ((True, False), (False, True)):
        options = (gelu, first, 1e-5, *norms, *feeds)
        yield ["aten._transformer_encoder_layer_fwd.default", x, 6, 2, *projections, *options, hidden, 1]
        yield ["aten._transformer_encoder_layer_fwd.default", x, 6, 2, *projections, *options]


def _recurrent() -> Iterator[list[Any]]:
    import torch
    from torch import nn

    x = torch.randn(2, 4, 6)
    for kind, target in (("LSTM", "lstm"), ("GRU", "gru"), ("RNN", "rnn_tanh"), ("RNN", "rnn_relu")):
        network = getattr(nn, kind)(6, 3, num_layers=2, bidirectional=True)
        start = torch.randn(4, 4, 3)
        state = [start, start + 1] if kind == "LSTM" else start
        params = list(network.parameters())
        yield [f"aten.{target}.input", x, state, params, True, 2, 0.0, False, True, False]
        batch_first = state if kind != "LSTM" else [start, start]
        yield [f"aten.{target}.input", x.transpose(0, 1), batch_first, params, True, 2, 0.0, False, True, True]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Any]:
    """Converts a model and compares at two batch sizes, in memory and after a SavedModel was read back."""

    def run(model: Any, inputs: Callable[[int], Any], *, dynamic: Any = None, tolerance: float = 1e-5) -> Any:
        """Inputs of a batch size: a tuple of arguments, or a dict of keyword arguments."""
        import tensorflow as tf
        import torch

        from polytrainer.executors.export.aten_to_tf import convert, export

        torch.manual_seed(0)
        model = model.eval()
        example = inputs(2)
        args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
        converted = convert(export(model, args, kwargs, dynamic))
        tf.saved_model.save(converted, str(tmp_path / "model"))
        loaded = tf.saved_model.load(str(tmp_path / "model"))
        for batch in (1, 3):
            given = inputs(batch)
            args, kwargs = ((), given) if isinstance(given, dict) else (given, {})
            with torch.no_grad():
                wanted = model(*args, **kwargs)
            args, kwargs = _as_tf((args, kwargs))
            for place, converts in (("in memory", converted), ("read back", loaded)):
                difference = _largest_difference(wanted, converts(*args, **kwargs))
                assert difference <= tolerance, f"{place}, batch {batch}: {difference}"
                run.largest = max(run.largest, difference)  # type: ignore[attr-defined]
        return converted

    run.largest = 0.0  # type: ignore[attr-defined]
    return run


def _as_tf(value: Any) -> Any:
    import torch
    from torch.utils import _pytree as pytree

    from polytrainer.executors.export.aten_to_tf.weights import to_tf

    return pytree.tree_map(lambda leaf: to_tf(leaf) if isinstance(leaf, torch.Tensor) else leaf, value)


def _largest_difference(wanted: Any, got: Any) -> float:
    """Relative to the largest value, or to 1 if that is larger; infinite where structure, type or shape differ."""
    import numpy as np
    import tensorflow as tf

    from polytrainer.executors.export.aten_to_tf.structure import plain

    wanted = plain(wanted, with_none=False)
    tf.nest.assert_same_structure(wanted, got)
    worst = 0.0
    for ours, theirs in zip(tf.nest.flatten(_as_tf(wanted)), tf.nest.flatten(got), strict=True):
        if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
            return float("inf")
        one, other = (tf.cast(each, tf.float64).numpy() for each in (ours, theirs))
        scale = max(1.0, float(np.max(np.abs(one), initial=0.0)))
        worst = max(worst, float(np.max(np.abs(one - other), initial=0.0)) / scale)
    return worst
