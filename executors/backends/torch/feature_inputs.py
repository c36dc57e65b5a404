"""What a tabular model gets: which features, how many values of each, and whether they are numbers or ids."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

NO_VALUE = -1  # what Transform gives a word that is not in the vocabulary


@dataclass(frozen=True)
class Ids:
    """The ids of an integer feature: from `first` up to, and without, `first + size`."""

    size: int
    first: int = 0


@dataclass(frozen=True)
class Input:
    """One feature.

    Attributes:
        name: Its name.
        size: Values in each example; None: any number.
        ids: If they are ids.
    """

    name: str
    size: int | None
    ids: Ids | None


def describe(
    features: Any,
    vocabulary_sizes: Mapping[str, int],
    exclude: Collection[str],
    numeric: Collection[str],
) -> list[Input]:
    """The inputs of a model, in the order of their names; arguments as in `Features`.

    Raises:
        ValueError: If an argument names no feature, a feature is of bytes, is ragged and of numbers, or an integer
            feature's number of ids is not known.
    """
    ids = {name: Ids(size) for name, size in vocabulary_sizes.items()}
    if not isinstance(features, Mapping):
        features, known = _of_schema(features)
        ids = {**known, **ids}
    for argument, names in (("vocabulary_sizes", vocabulary_sizes), ("numeric", numeric)):
        check_known(argument, names, features)
    kept = {name: features[name] for name in sorted(set(features) - set(exclude))}
    types = {name: _type(feature, name in ids) for name, feature in kept.items()}
    inputs = [
        Input(name, _size(feature), None if types[name] == FLOAT or name in numeric else ids.get(name))
        for name, feature in kept.items()
    ]
    _refuse_bytes([name for name in kept if types[name] == BYTES and name not in ids])
    _refuse_unknown_sizes(
        [each.name for each in inputs if types[each.name] == INT and each.name not in {*ids, *numeric}]
    )
    _refuse_ragged_numbers([each.name for each in inputs if each.size is None and each.ids is None])
    return inputs


def check_known(argument: str, names: Collection[str], features: Collection[str]) -> None:
    """Refuses names that are none of the features.

    Raises:
        ValueError: Names them.
    """
    unknown = sorted(set(names) - set(features))
    if unknown:
        expected = f"names of features, which are {', '.join(sorted(features))}"
        raise ValueError(str(Problem(argument, ", ".join(unknown), expected)))


FLOAT, INT, BYTES = "float", "int", "bytes"


def _type(feature: Any, has_ids: bool) -> str:
    if feature is None or isinstance(feature, int):
        return INT if has_ids else FLOAT
    dtype = getattr(feature.dtype, "name", str(feature.dtype))  # TensorFlow's, or a name as NumPy and torch have it
    if "int" in dtype or "bool" in dtype:
        return INT
    return FLOAT if "float" in dtype or "double" in dtype else BYTES


def _size(feature: Any) -> int | None:
    """Values in an example: of a size, or of a `tf.io.FixedLenFeature`; None for any other."""
    if feature is None or isinstance(feature, int):
        return feature
    shape = getattr(feature, "shape", None)
    return None if shape is None else math.prod(int(dimension) for dimension in shape)


def _of_schema(schema: schema_pb2.Schema) -> tuple[Mapping[str, Any], dict[str, Ids]]:
    """The feature spec of a schema, and the ids that its int_domains say."""
    from polytrainer.executors.data import feature_specs

    domains = {
        feature.name: feature.int_domain
        for feature in schema.feature
        if feature.HasField("int_domain") and feature.int_domain.HasField("max")
    }
    return feature_specs.from_schema(schema), {name: _ids(domain) for name, domain in domains.items()}


def _ids(domain: schema_pb2.IntDomain) -> Ids:
    first = 0 if domain.min == NO_VALUE else domain.min
    return Ids(domain.max - first + 1, first)


def _refuse_bytes(names: Collection[str]) -> None:
    if names:
        remedy = (
            "Encode them (Transform's vocabularies, or encoders), give vocabulary_sizes for these, or exclude them."
        )
        raise ValueError(str(Problem("Features", f"bytes in {', '.join(names)}", "numbers and ids", remedy)))


def _refuse_unknown_sizes(names: Collection[str]) -> None:
    if names:
        got = f"integer features without a number of ids: {', '.join(names)}"
        expected = "an int_domain with a max in the schema, or vocabulary_sizes={name: number}"
        remedy = "Quantities go into numeric=(name, …)."
        raise ValueError(str(Problem("Features", got, expected, remedy)))


def _refuse_ragged_numbers(names: Collection[str]) -> None:
    if names:
        remedy = "One that is a single number which may be missing: defaults={name: value}; exclude others."
        got = f"any number of numbers in {', '.join(names)}"
        raise ValueError(str(Problem("Features", got, "a fixed number of numbers, or ids", remedy)))
