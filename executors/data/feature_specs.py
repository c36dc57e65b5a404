"""Which features there are, and how tf.Examples are parsed into tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

FeatureSpec = dict[str, Any]  # name → tf.io.FixedLenFeature, VarLenFeature, RaggedFeature or SparseFeature


def read_schema(path: str) -> schema_pb2.Schema:
    """Reads a schema in protobuf's text format.

    Raises:
        ValueError: If the file is no such thing.
    """
    from tensorflow.io import gfile

    with gfile.GFile(path, "rb") as file:
        content = file.read()
    try:
        return text_format.Parse(content.decode(), schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}, which is not a schema ({error})") from error


def from_schema(schema: schema_pb2.Schema, defaults: Mapping[str, Any] | None = None) -> FeatureSpec:
    """The spec by which TFX itself parses examples of a schema.

    A feature that is present in every example, with a shape, is dense: `[batch, *shape]`. Any other is a SparseTensor,
    or ragged where the schema says so.

    Args:
        schema: The schema.
        defaults: Values for features that may be missing, by name; such a feature becomes dense, `[batch, 1]`.
    """
    from tensorflow_transform.tf_metadata import schema_utils

    return with_defaults(schema_utils.schema_as_feature_spec(schema).feature_spec, defaults or {})


def with_defaults(spec: Mapping[str, Any], defaults: Mapping[str, Any]) -> FeatureSpec:
    """Makes the named features dense, with a value where an example has none: `[batch, 1]`, or of the spec's shape.

    Raises:
        ValueError: If a name is not in the spec.
    """
    import tensorflow as tf

    unknown = sorted(set(defaults) - set(spec))
    if unknown:
        raise ValueError(f"defaults: got {unknown}; expected names of features, which are {sorted(spec)}.")
    dense = {}
    for name, value in defaults.items():
        size = math.prod(getattr(spec[name], "shape", ()))
        shape = spec[name].shape if size > 1 else [1]
        dense[name] = tf.io.FixedLenFeature(shape, spec[name].dtype, [value] * size)
    return {**spec, **dense}


def has_default(feature: Any) -> bool:
    """Whether a feature is dense, with a default where an example has no value."""
    import tensorflow as tf

    return isinstance(feature, tf.io.FixedLenFeature) and feature.default_value is not None


def optional(feature: Any) -> Any:
    """The same feature, but an example may lack it: for a label, which nobody knows at serving time."""
    import tensorflow as tf

    if not isinstance(feature, tf.io.FixedLenFeature) or feature.default_value is not None:
        return feature
    filler = "" if feature.dtype == tf.string else 0
    size = 1
    for dimension in feature.shape:
        size *= dimension
    return tf.io.FixedLenFeature(feature.shape, feature.dtype, [filler] * size)
