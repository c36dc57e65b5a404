"""A schema says what the feature spec says: defaults, and features that a trainer was given a spec of its own for."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.line
TEXT = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 2 } } }
    feature { name: "age" type: FLOAT presence { min_fraction: 0.5 min_count: 1 } value_count { min: 1 max: 1 } }
    feature { name: "city" type: INT presence { min_count: 1 } int_domain { min: 0 max: 9 } }
    feature { name: "tags" type: BYTES }
"""


@pytest.fixture
def schema():
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(TEXT, schema_pb2.Schema())


def spec_of(schema):
    from polytrainer.executors.data.feature_specs import from_schema

    return {name: (type(each).__name__, getattr(each, "shape", None)) for name, each in from_schema(schema).items()}


def test_a_schema_that_agrees_is_returned_itself(schema):
    from polytrainer.executors.data.feature_specs import from_schema
    from polytrainer.executors.data.schema_from_spec import with_spec

    assert with_spec(schema, from_schema(schema)) is schema


def test_features_with_a_default_are_dense_and_keep_their_domain(schema):
    from polytrainer.executors.backends.torch.features import Features
    from polytrainer.executors.data.feature_specs import from_schema
    from polytrainer.executors.data.schema_from_spec import with_spec

    agreed = with_spec(schema, from_schema(schema, {"age": 7.0, "city": 3}))
    dense = ("FixedLenFeature", [1])
    expected = {"x": ("FixedLenFeature", [2]), "age": dense, "city": dense, "tags": ("VarLenFeature", None)}
    assert spec_of(agreed) == expected
    assert {name: from_schema(agreed)[name].default_value for name in ("age", "city")} == {"age": 7.0, "city": 3}
    layer = Features.from_schema(agreed, exclude=["tags"], masks=["age"], embedding_dim=4)
    assert layer.names == ("age", "age_mask", "city", "x")
    assert layer.out_features == 1 + 1 + 4 + 2


def test_a_spec_of_ones_own_goes_before_the_schema(schema):
    import tensorflow as tf

    from polytrainer.executors.data.schema_from_spec import with_spec

    spec = {"x": tf.io.VarLenFeature(tf.float32), "new": tf.io.FixedLenFeature([3], tf.int64)}
    agreed = with_spec(schema, spec)
    assert spec_of(agreed) == {"x": ("VarLenFeature", None), "new": ("FixedLenFeature", [3])}
