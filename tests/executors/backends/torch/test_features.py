"""Features of a table as one tensor."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.newest


class Ragged(NamedTuple):
    values: Any
    row_splits: Any


SIZES = {"age": 1, "city": 1, "pixels": 3, "sizes": 2, "words": None}
VOCABULARIES = {"city": 5, "sizes": 3, "words": 4}


@pytest.fixture
def make():
    """Features whose embeddings of an id are the id, and 10 more; the unknown row stands last."""
    import torch

    from polytrainer.executors.backends.torch.features import Features

    def make(features, **options):
        layer = Features(features, **options)
        with torch.no_grad():
            for table in layer.tables.values():
                table.weight.copy_(torch.arange(len(table.weight))[:, None] + 10.0)
        return layer

    return make


def batch(**changes):
    import torch

    features = {
        "age": torch.tensor([[0.5], [1.5]]),
        "city": torch.tensor([[0], [4]]),
        "pixels": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        "sizes": torch.tensor([[0, 2], [1, 1]]),
        "words": Ragged(torch.tensor([0, 3, 1]), torch.tensor([0, 3, 3])),
        "label": torch.tensor([[1], [0]]),
    }
    return {**features, **changes}


def test_numbers_and_embeddings_stand_in_the_order_of_names(make):
    layer = make(SIZES, vocabulary_sizes=VOCABULARIES, embedding_dim=1)
    assert layer(batch()).tolist() == [
        [0.5, 10, 1, 2, 3, 10, 12, pytest.approx(10 + 4 / 3)],
        [1.5, 14, 4, 5, 6, 11, 11, 0],  # no words
    ]
    assert layer.out_features == 8
    assert layer.names == ("age", "city", "pixels", "sizes", "words")


def test_embeddings_have_the_size_of_the_rule_or_the_given_one(make):
    from polytrainer.executors.backends.torch.features import embedding_size

    assert [embedding_size(n) for n in (2, 10, 100, 1000, 10**6)] == [2, 6, 21, 50, 50]
    layer = make({"city": 1, "words": None}, vocabulary_sizes={"city": 100, "words": 10}, embedding_dim={"words": 3})
    assert [tuple(table.weight.shape) for table in layer.tables.values()] == [(101, 21), (11, 3)]
    assert layer.out_features == 24


def test_ids_that_are_not_known_share_the_last_row(make):
    import torch

    layer = make(SIZES, vocabulary_sizes=VOCABULARIES, embedding_dim=1)
    words = Ragged(torch.tensor([-1, 4, 2]), torch.tensor([0, 2, 3]))
    found = layer(batch(city=torch.tensor([[-1], [5]]), sizes=torch.tensor([[3, -7], [2**40, 0]]), words=words))
    assert found[:, 1].tolist() == [15, 15]
    assert found[:, 5:7].tolist() == [[13, 13], [13, 10]]
    assert found[:, 7].tolist() == [14, 12]


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 1)])
def test_single_values_may_have_any_shape_that_is_one(shape, make):
    layer = make(SIZES, vocabulary_sizes=VOCABULARIES, embedding_dim=1)
    expected = layer(batch())
    features = batch(city=batch()["city"].reshape(shape), age=batch()["age"].reshape(shape))
    assert layer(features).equal(expected)
    assert layer(batch(pixels=batch()["pixels"].reshape(2, 3, 1))).equal(expected)


def test_a_whole_batch_without_words(make):
    import torch

    layer = make({"words": None}, vocabulary_sizes={"words": 4}, embedding_dim=2)
    empty = Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    assert layer({"words": empty}).tolist() == [[0, 0], [0, 0]]


def test_masks_come_in_beside_their_features(make):
    import torch

    layer = make(
        {"age": 1, "pixels": 3, "city": 1}, vocabulary_sizes={"city": 5}, embedding_dim=1, masks=("pixels", "city")
    )
    masks = {
        "pixels_mask": torch.tensor([[True, False, True], [False, True, True]]),
        "city_mask": torch.tensor([[True], [False]]),
    }
    assert layer.names == ("age", "city", "city_mask", "pixels", "pixels_mask")
    assert layer(batch(**masks)).tolist() == [
        [0.5, 10, 1, 1, 2, 3, 1, 0, 1],
        [1.5, 14, 0, 4, 5, 6, 0, 1, 1],
    ]
    with pytest.raises(ValueError, match="masks: got words; expected names of features, which are age"):
        make({"age": 1, "words": None}, vocabulary_sizes={"words": 5}, masks=("words",))


def test_numbers_of_other_types_become_floats(make):
    import torch

    layer = make({"age": 1, "count": 1})
    out = layer({"age": torch.tensor([[1.5]]), "count": torch.tensor([[3]])})
    assert out.tolist() == [[1.5, 3.0]]
    assert layer({"age": torch.tensor([[True]]), "count": torch.tensor([[3]])}).dtype == torch.float32


def test_what_is_missing_or_of_another_size_is_named(make):
    import torch

    layer = make(SIZES, vocabulary_sizes=VOCABULARIES)
    features = batch()
    del features["age"], features["words"]
    with pytest.raises(
        ValueError, match="Features: got features without age, words; expected all of age, city, pixels"
    ):
        layer(features)
    with pytest.raises(ValueError, match=r"got pixels of shape \[2, 4\]; expected 3 values in each example"):
        layer(batch(pixels=torch.zeros(2, 4)))
    with pytest.raises(ValueError, match="got words of 1 examples; expected 2, as of the other features"):
        layer(batch(words=Ragged(torch.tensor([1]), torch.tensor([0, 1]))))


def test_names_in_arguments_are_those_of_features(make):
    with pytest.raises(ValueError, match="vocabulary_sizes: got town; expected names of features, which are age, city"):
        make({"age": 1, "city": 1}, vocabulary_sizes={"town": 3})
    with pytest.raises(ValueError, match="embedding_dim: got age; expected names of features, which are city"):
        make({"age": 1, "city": 1}, vocabulary_sizes={"city": 3}, embedding_dim={"age": 3})
    with pytest.raises(ValueError, match="Features: got no features; expected at least one"):
        make({"label": 1}, exclude=["label"])


def test_a_ragged_feature_of_numbers_is_refused(make):
    with pytest.raises(ValueError, match="got any number of numbers in prices, weights; expected a fixed number"):
        make({"prices": None, "weights": None, "age": 1})


# ---- from TensorFlow's descriptions


@pytest.fixture
def spec():
    import tensorflow as tf

    return {
        "age": tf.io.FixedLenFeature([1], tf.float32),
        "city": tf.io.FixedLenFeature([], tf.int64),
        "sizes": tf.io.FixedLenFeature([2, 1], tf.int64),
        "words": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
        "more_words": tf.io.VarLenFeature(tf.int64),
        "name": tf.io.FixedLenFeature([1], tf.string),
        "label": tf.io.FixedLenFeature([1], tf.int64),
    }


def test_a_feature_spec(spec):
    from polytrainer.executors.backends.torch.features import Features

    sizes = {**VOCABULARIES, "more_words": 7}
    layer = Features.from_spec(spec, vocabulary_sizes=sizes, exclude=("label", "name"), embedding_dim=2)
    assert layer.names == ("age", "city", "more_words", "sizes", "words")
    assert layer.out_features == 1 + 2 + 2 + 4 + 2
    assert layer(batch(more_words=batch()["words"])).shape == (2, 11)


def test_a_spec_with_sizes_that_nobody_knows(spec):
    from polytrainer.executors.backends.torch.features import Features

    message = (
        "integer features without a number of ids: city, more_words; expected an int_domain .* or vocabulary_sizes="
    )
    with pytest.raises(ValueError, match=message):
        Features.from_spec(spec, {"sizes": 3, "words": 4}, exclude=("label", "name"))
    layer = Features.from_spec(
        spec, {"sizes": 3, "words": 4}, exclude=("label", "name", "more_words"), numeric=["city"]
    )
    assert layer._widths["city"] == 1


def test_bytes_are_refused_unless_an_encoder_makes_ids_of_them(spec):
    from polytrainer.executors.backends.torch.features import Features

    sizes = {**VOCABULARIES, "more_words": 7}
    with pytest.raises(ValueError, match=r"Features: got bytes in name; expected numbers and ids. Encode them"):
        Features.from_spec(spec, sizes, exclude=("label",))
    assert "name" in Features.from_spec(spec, {**sizes, "name": 9}, exclude=("label",)).names


SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 2 } } }
    feature { name: "plain" type: INT int_domain { max: 4 } presence { min_fraction: 1 } shape { dim { size: 1 } } }
    feature { name: "word" type: INT int_domain { min: -1 max: 4 is_categorical: true }
              presence { min_fraction: 1 } shape { dim { size: 1 } } }
    feature { name: "year" type: INT int_domain { min: 1990 max: 1994 } presence { min_fraction: 1 } shape {} }
    feature { name: "words" type: INT int_domain { min: 1 max: 9 } }
"""


@pytest.fixture
def schema():
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(SCHEMA, schema_pb2.Schema())


def test_a_schema_says_which_ids_there_are(schema, make):
    import torch

    layer = make(schema, embedding_dim=1)
    features = {
        "x": torch.zeros(3, 2),
        "plain": torch.tensor([[0], [4], [5]]),
        "word": torch.tensor([[0], [4], [-1]]),
        "year": torch.tensor([1990, 1994, 1989]),
        "words": Ragged(torch.tensor([9, 0]), torch.tensor([0, 1, 2, 2])),
    }
    assert layer(features).tolist() == [
        [10, 10, 18, 0, 0, 10],
        [14, 14, 19, 0, 0, 14],
        [15, 15, 0, 0, 0, 15],
    ]
    assert [len(table.weight) for table in layer.tables.values()] == [6, 6, 10, 6]


def test_what_is_given_goes_before_the_schema(schema):
    from polytrainer.executors.backends.torch.features import Features

    layer = Features.from_schema(schema, vocabulary_sizes={"word": 20}, exclude=("words",))
    assert len(layer.tables["of_word"].weight) == 21


def test_a_domain_without_a_maximum_says_nothing(schema):
    from polytrainer.executors.backends.torch.features import Features

    schema.feature[1].int_domain.ClearField("max")
    with pytest.raises(ValueError, match="integer features without a number of ids: plain;"):
        Features.from_schema(schema)


# ---- in a model


def test_weights_are_called_like_their_features_whatever_these_are_called(make):
    import torch

    layer = make({"keys": 1, "a.b": 1}, vocabulary_sizes={"keys": 3, "a.b": 3}, embedding_dim=1)
    assert list(layer.state_dict()) == ["tables.of_a%2Eb.weight", "tables.of_keys.weight"]
    assert layer({"keys": torch.tensor([0]), "a.b": torch.tensor([1])}).tolist() == [[11, 10]]


def test_it_learns(make):
    import torch

    torch.manual_seed(0)
    layer = make(SIZES, vocabulary_sizes=VOCABULARIES)
    layer(batch()).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_model_can_be_exported_for_any_number_of_examples(rows, exported):
    import torch

    model, program = exported
    torch.manual_seed(rows)
    splits = torch.tensor([0, *torch.randint(0, 4, (rows,)).cumsum(0).tolist()])
    features = {
        "age": torch.randn(rows, 1),
        "city": torch.randint(-1, 7, (rows, 1)),
        "sizes": torch.randint(-1, 4, (rows, 2)),
        "words": Ragged(torch.randint(-1, 6, (int(splits[-1]),)), splits),
    }
    torch.testing.assert_close(program(features), model(features))


@pytest.fixture(scope="module")
def exported():
    import torch
    from torch.export import Dim, export

    from polytrainer.executors.backends.torch.features import Features

    layer = Features({"age": 1, "city": 1, "sizes": 2, "words": None}, vocabulary_sizes=VOCABULARIES)
    model = torch.nn.Sequential(layer, torch.nn.Linear(layer.out_features, 3)).eval()
    features = {name: value for name, value in batch().items() if name in layer.names}
    rows = Dim("rows", min=1)
    shapes = {name: Ragged({0: Dim.AUTO}, {0: rows + 1}) if name == "words" else {0: rows} for name in features}
    return model, export(model, (features,), dynamic_shapes=(shapes,)).module()
