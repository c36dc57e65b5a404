"""Every operator that converts, and the function that it becomes.

The names are those of `torch.ops`; what works on sizes has the name of the Python function that torch.export records.
The functions' arguments are ATen's, less what says where a tensor lies. What stands here is not taken apart by
PyTorch's decompositions, so beside the core operators there are others that TensorFlow can do in one piece.
"""

from __future__ import annotations

import operator

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.ops import (
    activations,
    attention,
    bags,
    control,
    convolution,
    creation,
    fourier,
    grid,
    indexing,
    laid_out,
    linear,
    normalization,
    padding,
    pointwise,
    pooling,
    recurrent,
    reductions,
    resize,
    shapes,
    symbolic,
)
from polytrainer.executors.export.aten_to_tf.ops.common import Op, in_float32
from polytrainer.executors.export.aten_to_tf.ops.pointwise import binary, bitwise, comparison, logical, unary

_POINTWISE: dict[str, Op] = {
    **{
        f"aten.{name}.default": unary(in_float32(function), floating=True)
        for name, function in {
            "acos": tf.acos,
            "acosh": tf.acosh,
            "asin": tf.asin,
            "asinh": tf.asinh,
            "atan": tf.atan,
            "atanh": tf.atanh,
            "cos": tf.cos,
            "cosh": tf.cosh,
            "digamma": pointwise.digamma,
            "erf": tf.math.erf,
            "erfc": tf.math.erfc,
            "erfinv": tf.math.erfinv,
            "exp": tf.exp,
            "exp2": pointwise.exp2,
            "expm1": tf.math.expm1,
            "i0": tf.math.bessel_i0,
            "lgamma": tf.math.lgamma,
            "log": tf.math.log,
            "log10": pointwise.log_base(10),
            "log1p": tf.math.log1p,
            "log2": pointwise.log_base(2),
            "reciprocal": tf.math.reciprocal,
            "rsqrt": tf.math.rsqrt,
            "sigmoid": tf.sigmoid,
            "sin": tf.sin,
            "sinh": tf.sinh,
            "sqrt": tf.sqrt,
            "tan": tf.tan,
            "tanh": tf.tanh,
        }.items()
    },
    **{
        f"aten.{name}.{overload}": comparison(function)
        for name, function in {
            "eq": tf.equal,
            "ge": tf.greater_equal,
            "gt": tf.greater,
            "le": tf.less_equal,
            "lt": tf.less,
            "ne": tf.not_equal,
        }.items()
        for overload in ("Scalar", "Tensor")
    },
    **{
        f"aten.bitwise_{name}.{overload}": bitwise(on_bits, on_bools)
        for name, on_bits, on_bools in (
            ("and", tf.bitwise.bitwise_and, tf.logical_and),
            ("or", tf.bitwise.bitwise_or, tf.logical_or),
            ("xor", tf.bitwise.bitwise_xor, tf.math.logical_xor),
        )
        for overload in ("Scalar", "Tensor", "Scalar_Tensor")
    },
    **{
        f"aten.bitwise_{side}_shift.{overload}": binary(function)
        for side, function in (("left", tf.bitwise.left_shift), ("right", tf.bitwise.right_shift))
        for overload in ("Tensor", "Tensor_Scalar", "Scalar_Tensor")
    },
    "aten.abs.default": pointwise.absolute,
    "aten.add.Scalar": pointwise.add,
    "aten.add.Tensor": pointwise.add,
    "aten.atan2.default": binary(in_float32(tf.atan2), floating=True),
    "aten.bitwise_not.default": pointwise.bitwise_not,
    "aten.ceil.default": pointwise.rounded(tf.math.ceil),
    "aten.clamp.Tensor": pointwise.clamp,
    "aten.clamp.default": pointwise.clamp,
    "aten.copy.default": pointwise.copy,
    "aten.copysign.Scalar": pointwise.copysign,
    "aten.copysign.Tensor": pointwise.copysign,
    "aten.div.Scalar": pointwise.divide,
    "aten.div.Scalar_mode": pointwise.divide,
    "aten.div.Tensor": pointwise.divide,
    "aten.div.Tensor_mode": pointwise.divide,
    "aten.floor.default": pointwise.rounded(tf.floor),
    "aten.fmax.default": pointwise.extremum_but_nan(tf.maximum),
    "aten.fmin.default": pointwise.extremum_but_nan(tf.minimum),
    "aten.fmod.Scalar": binary(tf.truncatemod),
    "aten.fmod.Tensor": binary(tf.truncatemod),
    "aten.frac.default": pointwise.fraction,
    "aten.hypot.default": binary(in_float32(pointwise.hypot)),
    "aten.isinf.default": pointwise.float_test(tf.math.is_inf),
    "aten.isnan.default": pointwise.float_test(tf.math.is_nan),
    "aten.lerp.Scalar": in_float32(pointwise.lerp),
    "aten.lerp.Tensor": in_float32(pointwise.lerp),
    "aten.logical_and.default": logical(tf.logical_and),
    "aten.logical_not.default": pointwise.logical_not,
    "aten.logical_or.default": logical(tf.logical_or),
    "aten.logical_xor.default": logical(tf.math.logical_xor),
    "aten.logit.default": in_float32(pointwise.logit),
    "aten.maximum.default": pointwise.extremum(tf.maximum, tf.logical_or),
    "aten.minimum.default": pointwise.extremum(tf.minimum, tf.logical_and),
    "aten.mul.Scalar": pointwise.multiply,
    "aten.mul.Tensor": pointwise.multiply,
    "aten.neg.default": pointwise.negative,
    "aten.pow.Scalar": pointwise.power,
    "aten.pow.Tensor_Scalar": pointwise.power,
    "aten.pow.Tensor_Tensor": pointwise.power,
    "aten.remainder.Scalar": binary(pointwise.remainder),
    "aten.remainder.Scalar_Tensor": binary(pointwise.remainder),
    "aten.remainder.Tensor": binary(pointwise.remainder),
    "aten.round.decimals": pointwise.round_decimals,
    "aten.round.default": pointwise.rounded(tf.round),
    "aten.rsub.Scalar": pointwise.rsubtract,
    "aten.rsub.Tensor": pointwise.rsubtract,
    "aten.sign.default": pointwise.sign,
    "aten.signbit.default": pointwise.signbit,
    "aten.sub.Scalar": pointwise.subtract,
    "aten.sub.Tensor": pointwise.subtract,
    "aten.trunc.default": pointwise.truncate,
    "aten.where.self": pointwise.where,
}

_ACTIVATIONS: dict[str, Op] = {
    "aten._log_softmax.default": activations.softmax(tf.nn.log_softmax),
    "aten._safe_softmax.default": activations.safe_softmax,
    "aten._softmax.default": activations.softmax(tf.nn.softmax),
    "aten.elu.default": activations.elu,
    "aten.gelu.default": activations.gelu,
    "aten.glu.default": activations.glu,
    "aten.hardsigmoid.default": activations.hardsigmoid,
    "aten.hardswish.default": activations.hardswish,
    "aten.hardtanh.default": activations.hardtanh,
    "aten.leaky_relu.default": activations.leaky_relu,
    "aten.log_sigmoid_forward.default": activations.log_sigmoid_forward,
    "aten.mish.default": activations.mish,
    "aten.relu.default": activations.relu,
    "aten.silu.default": activations.silu,
    "aten.softplus.default": activations.softplus,
}

_REDUCTIONS: dict[str, Op] = {
    **{
        f"aten.{name}.{overload}": reductions.truth(function)
        for name, function in (("all", tf.reduce_all), ("any", tf.reduce_any))
        for overload in ("default", "dim", "dims")
    },
    **{
        f"aten.{name}.default": reductions.extremum(function, on_bools)
        for name, function, on_bools in (
            ("amax", tf.reduce_max, tf.reduce_any),
            ("amin", tf.reduce_min, tf.reduce_all),
            ("max", tf.reduce_max, tf.reduce_any),
            ("min", tf.reduce_min, tf.reduce_all),
        )
    },
    "aten._logcumsumexp.default": reductions.logcumsumexp,
    "aten.aminmax.default": reductions.aminmax,
    "aten.argmax.default": reductions.argument(largest=True),
    "aten.argmin.default": reductions.argument(largest=False),
    "aten.bincount.default": reductions.bincount,
    "aten.count_nonzero.default": reductions.count_nonzero,
    "aten.cummax.default": reductions.running_extremum(largest=True),
    "aten.cummin.default": reductions.running_extremum(largest=False),
    "aten.cumprod.default": reductions.running(tf.math.cumprod),
    "aten.cumsum.default": reductions.running(tf.cumsum),
    "aten.kthvalue.default": reductions.kth_value,
    "aten.linalg_vector_norm.default": reductions.vector_norm,
    "aten.logcumsumexp.default": reductions.logcumsumexp,
    "aten.logsumexp.default": reductions.logsumexp,
    "aten.max.dim": reductions.extremum_and_place(largest=True),
    "aten.mean.default": reductions.mean_of_all,
    "aten.mean.dim": reductions.mean,
    "aten.median.default": reductions.median,
    "aten.median.dim": reductions.median,
    "aten.min.dim": reductions.extremum_and_place(largest=False),
    "aten.prod.default": reductions.total(tf.reduce_prod),
    "aten.prod.dim_int": reductions.accumulation(tf.reduce_prod),
    "aten.std.correction": reductions.std,
    "aten.sum.default": reductions.total(tf.reduce_sum),
    "aten.sum.dim_IntList": reductions.accumulation(tf.reduce_sum),
    "aten.var.correction": reductions.variance,
    "aten.var.dim": reductions.variance_unbiased,
    "aten.var_mean.correction": reductions.var_mean,
}

_SHAPES: dict[str, Op] = {
    "aten._reshape_alias.default": shapes.reshape_alias,
    "aten._unsafe_view.default": shapes.view,
    "aten.alias.default": shapes.same,
    "aten.as_strided.default": shapes.as_strided,
    "aten.cat.default": shapes.cat,
    "aten.clone.default": shapes.same,
    "aten.constant_pad_nd.default": shapes.constant_pad_nd,
    "aten.detach.default": shapes.same,
    "aten.diagonal.default": shapes.diagonal,
    "aten.expand.default": shapes.expand,
    "aten.flip.default": shapes.flip,
    "aten.lift.default": shapes.same,
    "aten.lift_fresh_copy.default": shapes.same,
    "aten.permute.default": shapes.permute,
    "aten.pixel_shuffle.default": shapes.pixel_shuffle,
    "aten.repeat.default": shapes.repeat,
    "aten.repeat_interleave.Tensor": shapes.repeat_interleave_index,
    "aten.roll.default": shapes.roll,
    "aten.select.int": shapes.select,
    "aten.select_scatter.default": shapes.select_scatter,
    "aten.slice.Tensor": shapes.slice_tensor,
    "aten.slice_scatter.default": shapes.slice_scatter,
    "aten.split.Tensor": shapes.split,
    "aten.split_with_sizes.default": shapes.split_with_sizes,
    "aten.squeeze.default": shapes.squeeze,
    "aten.squeeze.dim": shapes.squeeze,
    "aten.squeeze.dims": shapes.squeeze,
    "aten.stack.default": shapes.stack,
    "aten.t.default": shapes.matrix_transpose,
    "aten.transpose.int": shapes.transpose,
    "aten.unbind.int": shapes.unbind,
    "aten.unfold.default": shapes.unfold,
    "aten.unsqueeze.default": shapes.unsqueeze,
    "aten.view.default": shapes.view,
    "aten.view.dtype": shapes.view_dtype,
    "aten.view_as_complex.default": shapes.view_as_complex,
    "aten.view_as_real.default": shapes.view_as_real,
}

_INDEXING: dict[str, Op] = {
    "aten._embedding_bag.default": bags.embedding_bag,
    "aten._embedding_bag_forward_only.default": bags.embedding_bag,
    "aten._unsafe_index.Tensor": indexing.index,
    "aten._unsafe_index_put.default": indexing.index_put,
    "aten.bucketize.Scalar": indexing.bucketize,
    "aten.bucketize.Tensor": indexing.bucketize,
    "aten.embedding.default": indexing.embedding,
    "aten.gather.default": indexing.gather,
    "aten.index.Tensor": indexing.index,
    "aten.index_add.default": indexing.index_add,
    "aten.index_put.default": indexing.index_put,
    "aten.index_select.default": indexing.index_select,
    "aten.masked_scatter.default": indexing.masked_scatter,
    "aten.masked_select.default": indexing.masked_select,
    "aten.nonzero.default": indexing.nonzero,
    "aten.scatter.reduce": indexing.scatter_reduce_by_name,
    "aten.scatter.src": indexing.scatter,
    "aten.scatter.value": indexing.scatter_value,
    "aten.scatter.value_reduce": indexing.scatter_value_reduce,
    "aten.scatter_add.default": indexing.scatter_add,
    "aten.scatter_reduce.two": indexing.scatter_reduce,
    "aten.searchsorted.Scalar": indexing.searchsorted,
    "aten.searchsorted.Tensor": indexing.searchsorted,
    "aten.sort.default": indexing.sort,
    "aten.sort.stable": indexing.sort_stable,
    "aten.take.default": indexing.take,
    "aten.topk.default": indexing.topk,
}

_CREATION: dict[str, Op] = {
    "aten._to_copy.default": pointwise.to_copy,
    "aten.arange.default": creation.arange_to,
    "aten.arange.start": creation.arange,
    "aten.arange.start_step": creation.arange,
    "aten.bernoulli.default": creation.bernoulli,
    "aten.bernoulli.p": creation.bernoulli,
    "aten.complex.default": creation.complex_of,
    "aten.empty.memory_format": creation.filled(0),
    "aten.empty_like.default": creation.filled_like(0),
    "aten.empty_strided.default": creation.empty_strided,
    "aten.eye.default": creation.eye,
    "aten.eye.m": creation.eye,
    "aten.fill.Scalar": creation.fill,
    "aten.fill.Tensor": creation.fill,
    "aten.full.default": creation.full,
    "aten.full_like.default": creation.full_like,
    "aten.linspace.default": creation.linspace,
    "aten.native_dropout.default": creation.native_dropout,
    "aten.new_full.default": creation.new_full,
    "aten.new_ones.default": creation.new_filled(1),
    "aten.new_zeros.default": creation.new_filled(0),
    "aten.ones.default": creation.filled(1),
    "aten.ones_like.default": creation.filled_like(1),
    "aten.rand.default": creation.rand,
    "aten.rand_like.default": creation.rand_like,
    "aten.randint.default": creation.randint_to,
    "aten.randint.low": creation.randint,
    "aten.randn.default": creation.randn,
    "aten.randn_like.default": creation.randn_like,
    "aten.randperm.default": creation.randperm,
    "aten.scalar_tensor.default": creation.scalar_tensor,
    "aten.tril.default": creation.triangle(lower=True),
    "aten.tril_indices.default": creation.triangle_indices(lower=True),
    "aten.triu.default": creation.triangle(lower=False),
    "aten.triu_indices.default": creation.triangle_indices(lower=False),
    "aten.zeros.default": creation.filled(0),
    "aten.zeros_like.default": creation.filled_like(0),
}

_LAYERS: dict[str, Op] = {
    **{
        f"aten.{name}{space}d.{overload}": make(space, how, corners)
        for name, space, how, corners in (
            *(("upsample_nearest", space, resize.nearest(0.0), False) for space in (1, 2, 3)),
            *(("_upsample_nearest_exact", space, resize.nearest(0.5), False) for space in (1, 2, 3)),
            ("upsample_linear", 1, resize.linear, True),
            ("upsample_bilinear", 2, resize.linear, True),
            ("upsample_trilinear", 3, resize.linear, True),
            ("upsample_bicubic", 2, resize.cubic, True),
        )
        for overload, make in (("default", resize.upsample), ("vec", resize.upsample_vec))
    },
    **{f"aten.reflection_pad{space}d.default": padding.reflection for space in (1, 2, 3)},
    **{f"aten.replication_pad{space}d.default": padding.replication for space in (1, 2, 3)},
    **{f"aten.avg_pool{space}d.default": pooling.avg_pool(space) for space in (1, 2, 3)},
    **{f"aten.max_pool{space}d_with_indices.default": pooling.max_pool(space) for space in (2, 3)},
    **{f"aten.max_pool{space}d.default": pooling.max_pool(space, with_places=False) for space in (1, 2, 3)},
    **{f"aten._adaptive_avg_pool{space}d.default": pooling.adaptive_avg_pool(space) for space in (2, 3)},
    **{f"aten.adaptive_avg_pool{space}d.default": pooling.adaptive_avg_pool(space) for space in (1, 2, 3)},
    **{f"aten.adaptive_max_pool{space}d.default": pooling.adaptive_max_pool(space) for space in (1, 2, 3)},
    "aten._batch_norm_no_update.default": normalization.batch_norm_no_update,
    "aten._native_batch_norm_legit.default": normalization.batch_norm,
    "aten._native_batch_norm_legit.no_stats": normalization.batch_norm_of_batch,
    "aten._native_batch_norm_legit_no_training.default": normalization.batch_norm_inference,
    "aten._native_multi_head_attention.default": attention.native_multi_head_attention,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": attention.flash_attention_for_cpu,
    "aten._transformer_encoder_layer_fwd.default": attention.transformer_encoder_layer,
    "aten.col2im.default": grid.col2im,
    "aten.convolution.default": convolution.convolution,
    "aten.grid_sampler_2d.default": grid.grid_sampler_2d,
    "aten.gru.input": recurrent.gru,
    "aten.layer_norm.default": normalization.layer_norm,
    "aten.lstm.input": recurrent.lstm,
    "aten.native_group_norm.default": normalization.native_group_norm,
    "aten.native_layer_norm.default": normalization.native_layer_norm,
    "aten.pad.default": padding.pad,
    "aten.rms_norm.default": normalization.rms_norm,
    "aten.rnn_relu.input": recurrent.rnn_relu,
    "aten.rnn_tanh.input": recurrent.rnn_tanh,
    "aten.scaled_dot_product_attention.default": attention.scaled_dot_product_attention,
}

_LINEAR: dict[str, Op] = {
    "aten._cdist_forward.default": linear.cdist,
    "aten._fft_c2c.default": fourier.c2c,
    "aten._fft_c2r.default": fourier.c2r,
    "aten._fft_r2c.default": fourier.r2c,
    "aten._pdist_forward.default": linear.pdist,
    "aten._trilinear.default": linear.trilinear,
    "aten.addbmm.default": linear.addbmm,
    "aten.addmm.default": linear.addmm,
    "aten.addmv.default": linear.addmm,
    "aten.baddbmm.default": linear.addmm,
    "aten.bmm.default": linear.matmul,
    "aten.dot.default": linear.matmul,
    "aten.linear.default": linear.linear,
    "aten.matmul.default": linear.matmul,
    "aten.mm.default": linear.matmul,
    "aten.mv.default": linear.matmul,
}

_SIZES: dict[str, Op] = {
    **{
        f"_operator.{name}": symbolic.binary(getattr(operator, name))
        for name in ("add", "eq", "floordiv", "ge", "gt", "le", "lt", "mod", "mul", "ne", "pow", "sub")
    },
    **dict.fromkeys(
        (
            "aten._assert_async.msg",
            "aten._assert_scalar.default",
            "aten._assert_tensor_metadata.default",
            "aten.sym_constrain_range.default",
            "aten.sym_constrain_range_for_size.default",
        ),
        symbolic.nothing,
    ),
    "_operator.and_": symbolic.both,
    "_operator.getitem": symbolic.item,
    "_operator.neg": symbolic.negate,
    "_operator.or_": symbolic.either,
    "_operator.truediv": symbolic.true_divide,
    "aten._local_scalar_dense.default": symbolic.number,
    "aten.sym_numel.default": symbolic.count,
    "aten.sym_size.int": symbolic.size,
    "aten.sym_storage_offset.default": symbolic.zero,
    "aten.sym_stride.int": symbolic.stride,
    "math.ceil": symbolic.ceil,
    "math.floor": symbolic.floor,
    "math.trunc": symbolic.trunc,
    "round": symbolic.round_to_even,
    "torch.sym_float": symbolic.to_float,
    "torch.sym_int": symbolic.to_int,
    "torch.sym_ite": symbolic.choose,
    "torch.sym_max": symbolic.binary(max, tf.maximum),
    "torch.sym_min": symbolic.binary(min, tf.minimum),
    "torch.sym_not": symbolic.invert,
    "torch.sym_sqrt": symbolic.square_root,
    "torch.sym_sum": symbolic.total,
}

_GRAPHS: dict[str, Op] = {
    "cond": control.cond,
    "while_loop": control.while_loop,
    "wrap_with_autocast": control.wrap_with_autocast,
    "wrap_with_set_grad_enabled": control.wrap_with_set_grad_enabled,
}

OPS: dict[str, Op] = {
    **_POINTWISE,
    **_ACTIVATIONS,
    **_REDUCTIONS,
    **_SHAPES,
    **_INDEXING,
    **_CREATION,
    **_LAYERS,
    **_LINEAR,
    **_SIZES,
    **_GRAPHS,
}
"""Target → function."""

_ONE_BY_ONE = (
    *(
        "abs",
        "clamp",
        "elu",
        "exp",
        "gelu",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "mish",
        "neg",
        "relu",
    ),
    *("sigmoid", "silu", "softplus", "sqrt", "tanh"),
    *("_to_copy", "alias", "clone", "detach"),
)
_BROADCAST = [f"{name}.{of}" for name in ("add", "div", "mul", "sub") for of in ("Scalar", "Tensor")]

LAID_OUT: dict[str, Op] = {
    **{
        f"aten.{name}": laid_out.elementwise(OPS[f"aten.{name}"])
        for name in (*(f"{each}.default" for each in _ONE_BY_ONE), *_BROADCAST, "maximum.default", "minimum.default")
    },
    "_operator.getitem": laid_out.item,
    "aten._adaptive_avg_pool2d.default": laid_out.adaptive_avg_pool2d,
    "aten._native_batch_norm_legit_no_training.default": laid_out.batch_norm_inference,
    "aten.adaptive_avg_pool2d.default": laid_out.adaptive_avg_pool2d,
    "aten.avg_pool2d.default": laid_out.avg_pool2d,
    "aten.cat.default": laid_out.cat,
    "aten.convolution.default": laid_out.convolution,
    "aten.max_pool2d.default": laid_out.max_pool2d,
    "aten.mean.dim": laid_out.mean,
    "aten.permute.default": laid_out.permute,
    "aten.sym_size.int": laid_out.size,
    "aten.transpose.int": laid_out.transpose,
}
"""Target → function that takes and returns tensors that lie in another order, or says NotImplemented."""

WITH_STRIDES = frozenset({"aten.as_strided.default"})
"""What needs to know how its first argument lies in PyTorch's memory, as `strides`."""

WITH_GRAPHS = frozenset(_GRAPHS)
"""What calls graphs, by `run`."""
