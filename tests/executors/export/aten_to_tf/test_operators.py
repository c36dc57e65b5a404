"""Every operator of the table says what PyTorch says: of tensors as they are, and with sizes that are not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("one_thread")]

GROUPS = ("POINTWISE", "ACTIVATIONS", "REDUCTIONS", "SHAPES", "INDEXING", "CREATION", "LAYERS", "LINEAR")
RANDOM = {
    f"aten.{name}"
    for name in (
        "bernoulli.default",
        "bernoulli.p",
        "native_dropout.default",
        "rand.default",
        "rand_like.default",
        "randint.default",
        "randint.low",
        "randn.default",
        "randn_like.default",
        "randperm.default",
    )
}
UNINITIALIZED = {"aten.empty.memory_format", "aten.empty_like.default", "aten.empty_strided.default"}
ONE_RESULT = {
    # what else these return is for a backward pass, and depends on the device
    "aten._embedding_bag.default",
    "aten._embedding_bag_forward_only.default",
    "aten._scaled_dot_product_flash_attention_for_cpu.default",
    "aten.log_sigmoid_forward.default",
    "aten._batch_norm_no_update.default",
    "aten._native_batch_norm_legit_no_training.default",
    "aten._native_batch_norm_legit.default",
}
ANY_ORDER = {"aten.topk.default", "aten.sort.default", "aten.median.dim", "aten.kthvalue.default"}
"""Which of several equal elements their indices name is not defined."""


@pytest.mark.parametrize("group", GROUPS)
def test_says_what_pytorch_says(group: str, recorded: dict[str, list[Any]], explicit: dict[str, list[Any]]) -> None:
    wrong = _wrong(group, _together(recorded, explicit), _run)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("group", GROUPS)
def test_says_so_of_sizes_that_are_not_known(
    group: str, recorded: dict[str, list[Any]], explicit: dict[str, list[Any]]
) -> None:
    wrong = _wrong(group, _together(explicit, recorded), _run_traced, at_most=1 if group == "LAYERS" else 2)
    assert not wrong, "\n".join(wrong)


def test_every_core_operator_converts_that_is_not_for_training() -> None:
    import torch

    from polytrainer.executors.export.aten_to_tf.table import OPS

    core = set()
    for schema in torch._C._jit_get_all_schemas():
        packet = getattr(torch.ops.aten, schema.name.removeprefix("aten::"), None)
        operator = getattr(packet, schema.overload_name or "default", None)
        if schema.name.startswith("aten::") and operator is not None and torch.Tag.core in operator.tags:
            core.add(str(operator))
    missing = {name for name in core - set(OPS) if "_backward" not in name and not name.endswith(".out")}
    assert len(core) > 150
    assert missing <= {"aten.resize_.default", "aten.sym_is_contiguous.default"}


def test_every_operator_is_called_by_a_test(recorded: dict[str, list[Any]], explicit: dict[str, list[Any]]) -> None:
    from polytrainer.executors.export.aten_to_tf import table

    elsewhere = {*table._SIZES, *table._GRAPHS}  # test_symbolic.py
    assert set(table.OPS) - set(recorded) - set(explicit) - elsewhere == set()


def _together(*calls: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {target: [call for each in calls for call in each.get(target, [])] for target in {**calls[0], **calls[1]}}


NO_KERNEL = {
    ("aten.complex.default", "float16"),
    ("aten.upsample_bilinear2d.default", "uint8"),  # PyTorch has its own fixed-point arithmetic here
    ("aten.logcumsumexp.default", "complex64"),
    ("aten.view_as_complex.default", "float16"),
}
"""What TensorFlow cannot do in a type, and is not worth doing otherwise."""
NEEDS_SIZES = {
    "aten.split.Tensor",
    "aten.squeeze.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.unbind.int",
}
"""How many results there are, or of what rank, depends on sizes."""


def _tried(call: Any, traced: bool) -> bool:
    import torch
    from torch.utils import _pytree as pytree

    leaves = pytree.tree_leaves((call.args, call.kwargs))
    types = {str(leaf.dtype)[6:] for leaf in leaves if isinstance(leaf, torch.Tensor)}
    return not any((call.target, name) in NO_KERNEL for name in types) and not (traced and call.target in NEEDS_SIZES)


def _wrong(group: str, calls: dict[str, list[Any]], run: Callable[[Any], Any], at_most: int = 1000) -> list[str]:
    from polytrainer.executors.export.aten_to_tf import table

    found = []
    for target in getattr(table, f"_{group}"):
        tried = [call for call in calls.get(target, []) if _tried(call, run is _run_traced)]
        for call in _full_first(tried)[:at_most]:
            try:
                difference = _difference(call, run(call))
            except Exception as error:
                difference = f"{type(error).__name__}: {str(error)[:300]}"
            if difference:
                found.append(f"{target} {_shown((call.args, call.kwargs))}: {difference}")
    return found


def _full_first(calls: list[Any]) -> list[Any]:
    """Those with elements first, since what is empty says little."""
    import torch
    from torch.utils import _pytree as pytree

    def empty(call: Any) -> bool:
        leaves = pytree.tree_leaves((call.args, call.kwargs))
        return any(leaf.numel() == 0 or leaf.dim() == 0 for leaf in leaves if isinstance(leaf, torch.Tensor))

    return sorted(calls, key=empty)


def _shown(value: Any) -> str:
    import torch
    from torch.utils import _pytree as pytree

    def short(leaf: Any) -> Any:
        return f"{str(leaf.dtype)[6:]}{list(leaf.shape)}" if isinstance(leaf, torch.Tensor) else leaf

    return str(pytree.tree_map(short, value))


PLACEMENT = {"device", "layout", "pin_memory", "memory_format", "non_blocking"}


def _to_tf(leaf: Any) -> Any:
    import torch

    from polytrainer.executors.export.aten_to_tf.dtypes import TO_TF
    from polytrainer.executors.export.aten_to_tf.weights import to_tf

    if isinstance(leaf, torch.Tensor):
        return to_tf(leaf)
    return TO_TF[leaf] if isinstance(leaf, torch.dtype) else leaf


def _arguments(call: Any) -> tuple[Any, dict[str, Any]]:
    from torch.utils import _pytree as pytree

    from polytrainer.executors.export.aten_to_tf.table import WITH_STRIDES

    kwargs = {name: value for name, value in call.kwargs.items() if name not in PLACEMENT}
    args, kwargs = pytree.tree_map(_to_tf, (call.args, kwargs))
    if call.target in WITH_STRIDES:
        kwargs["strides"] = call.args[0].stride()
    return args, kwargs


def _run(call: Any) -> Any:
    from polytrainer.executors.export.aten_to_tf.table import OPS

    args, kwargs = _arguments(call)
    return OPS[call.target](*args, **kwargs)


SIZES_OF = {
    # positions of arguments that are sizes, and that a dynamic batch or sequence puts a tensor in
    "aten.view.default": 1,
    "aten.expand.default": 1,
    "aten.full.default": 0,
    "aten.repeat.default": 1,
    "aten.split_with_sizes.default": 1,
}


def _run_traced(call: Any) -> Any:
    """In a graph in which tensors are of known rank only; of layers, it is the first one, and but its channels."""
    import tensorflow as tf
    from torch.utils import _pytree as pytree

    from polytrainer.executors.export.aten_to_tf import table

    layer = call.target in table._LAYERS
    leaves, spec = pytree.tree_flatten(_arguments(call))
    places = [place for place, leaf in enumerate(leaves) if tf.is_tensor(leaf)]
    unknown = []
    for number, place in enumerate(places):
        shape = [None] * leaves[place].shape.rank
        if layer:
            known = leaves[place].shape.as_list()
            shape = [size if dim == 1 or number else None for dim, size in enumerate(known)]
        unknown.append(tf.TensorSpec(shape, leaves[place].dtype))

    @tf.function(input_signature=unknown, autograph=False)
    def traced(*tensors: Any) -> Any:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        args, kwargs = pytree.tree_unflatten(filled, spec)
        if call.target in SIZES_OF:
            args = list(args)
            sizes = args[SIZES_OF[call.target]]
            # -1 has a meaning of its own, and stands in the graph as it is
            args[SIZES_OF[call.target]] = [
                size if size == -1 else tf.reshape(tf.cast(tf.size(tf.zeros([size])), tf.int64), []) for size in sizes
            ]
        return table.OPS[call.target](*args, **kwargs)

    return traced(*(leaves[place] for place in places))


def _difference(call: Any, got: Any) -> str:
    import torch

    wanted = call.result if isinstance(call.result, (list, tuple)) else [call.result]
    results = list(got) if isinstance(got, (list, tuple)) else [got]
    if call.target in ONE_RESULT:
        wanted, results = wanted[:1], results[:1]
    if call.target in ANY_ORDER and len(wanted) > 1:
        wanted, results = wanted[:1], results[:1]
    if len(wanted) != len(results):
        return f"{len(results)} results, not {len(wanted)}"
    for number, (want, have) in enumerate(zip(wanted, results, strict=True)):
        if isinstance(want, torch.Tensor) and want.dtype == torch.complex32:
            continue  # TensorFlow has no such type
        if isinstance(want, torch.Tensor) and (problem := _unlike(call.target, want, have)):
            return f"result {number}: {problem}"
    return ""


def _unlike(target: str, want: Any, have: Any) -> str:
    import numpy as np
    import tensorflow as tf
    import torch

    from polytrainer.executors.export.aten_to_tf.dtypes import TO_TF

    if have.dtype != TO_TF[want.dtype]:
        return f"{have.dtype.name}, not {want.dtype}"
    if have.shape.as_list() != list(want.shape):
        return f"shape {have.shape.as_list()}, not {list(want.shape)}"
    if target in RANDOM | UNINITIALIZED:
        return ""
    tolerance = 1e-5 if want.dtype.is_floating_point or want.dtype.is_complex else 0.0
    if want.dtype in (torch.float16, torch.bfloat16):
        want, have, tolerance = want.float(), tf.cast(have, tf.float32), 2e-2
    theirs, ours = torch.from_numpy(np.array(have.numpy())), want.resolve_conj()
    finite = ours[torch.isfinite(ours)].abs() if tolerance else torch.empty(0)
    scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
    try:
        torch.testing.assert_close(theirs, ours, equal_nan=True, rtol=tolerance, atol=tolerance * scale)
    except AssertionError as error:
        return " ".join(str(error).split())
    return ""
