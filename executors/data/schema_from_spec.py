"""A schema that says of its features what a feature spec says: whoever reads the one reads the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.feature_specs import FeatureSpec, from_schema

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2


def with_spec(schema: schema_pb2.Schema, spec: FeatureSpec) -> schema_pb2.Schema:
    """Returns a schema whose feature spec is the given one, defaults included; domains stay as they are.

    Args:
        schema: The schema; it is returned itself where the two agree.
        spec: What `from_schema` is to make of it. Ragged and sparse features must be as the schema has them.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.tfxio import tensor_representation_util

    own = from_schema(schema)
    if own == spec:
        return schema
    agreed = schema_pb2.Schema()
    agreed.CopyFrom(schema)
    del agreed.feature[:]
    agreed.feature.extend(feature for feature in schema.feature if feature.name in spec or feature.name not in own)
    known = {feature.name for feature in agreed.feature}
    for name in sorted(set(spec) - known - set(own)):
        agreed.feature.add(name=name, type=_type(spec[name].dtype))
    inferred = tensor_representation_util.InferTensorRepresentationsFromMixedSchema(agreed)
    representations = {name: each for name, each in inferred.items() if name in spec}
    for name, feature in spec.items():
        if own.get(name) != feature and (changed := _representation(name, feature)) is not None:
            representations[name] = changed
    tensor_representation_util.SetTensorRepresentationsInSchema(agreed, representations)
    return agreed


def _representation(name: str, feature: Any) -> schema_pb2.TensorRepresentation | None:
    """How a dense or a sparse feature is described; None of any other kind."""
    import tensorflow as tf
    from tensorflow_metadata.proto.v0 import schema_pb2

    representation = schema_pb2.TensorRepresentation()
    if isinstance(feature, tf.io.VarLenFeature):
        representation.varlen_sparse_tensor.column_name = name
        return representation
    if not isinstance(feature, tf.io.FixedLenFeature):
        return None
    dense = representation.dense_tensor
    dense.column_name = name
    dense.shape.SetInParent()
    for size in feature.shape:
        dense.shape.dim.add().size = size
    if feature.default_value is not None:
        _set_default(dense.default_value, feature)
    return representation


def _set_default(target: Any, feature: Any) -> None:
    """Sets the one value by which all missing ones are replaced."""
    import numpy as np

    value = np.asarray(feature.default_value).reshape(-1)[0]
    if feature.dtype.is_floating:
        target.float_value = float(value)
    elif feature.dtype.is_integer:
        target.int_value = int(value)
    else:
        target.bytes_value = value if isinstance(value, bytes) else str(value).encode()


def _type(dtype: Any) -> int:
    from tensorflow_metadata.proto.v0 import schema_pb2

    if dtype.is_floating:
        return int(schema_pb2.FLOAT)
    return int(schema_pb2.INT if dtype.is_integer else schema_pb2.BYTES)
