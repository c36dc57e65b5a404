"""The names of slices: a JSON object of feature → word, `{}` for all rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_pb2 import ComparatorArgs

ALL_ROWS = "{}"
NAMED = "__slice__"  # feature whose word is the name of a slice itself: how a query's row says which slice it is about

Kind = tuple[str, ...]


def kinds(args: ComparatorArgs) -> list[Kind]:
    """The features of each kind of slice; of all rows, none."""
    return [(), *comparator_args.slices(args)]


def features(kinds_of_slices: Iterable[Kind]) -> list[str]:
    """The features that tell the slices of a row."""
    return sorted({feature for kind in kinds_of_slices for feature in kind})


def name(words: Mapping[str, str]) -> str:
    """The name of the slice in which these features have these values."""
    return words[NAMED] if NAMED in words else json.dumps(dict(words), sort_keys=True, ensure_ascii=False)


def members(
    words: Mapping[str, Sequence[Sequence[str]]], kinds_of_slices: Iterable[Kind], rows: int
) -> dict[str, list[int]]:
    """The numbers of the rows of each slice, as TFMA has them: a feature with several values brings a row into several.

    Args:
        words: For each feature the values of each row.
        kinds_of_slices: The features of each kind of slice.
        rows: How many there are.
    """
    found: dict[str, list[int]] = {}
    for kind in kinds_of_slices:
        if not kind:
            found[ALL_ROWS] = list(range(rows))
            continue
        for row in range(rows):
            for combination in product(*(words[feature][row] for feature in kind)):
                found.setdefault(name(dict(zip(kind, combination, strict=True))), []).append(row)
    return found


def of(slice_name: str) -> dict[str, str]:
    """Feature → word."""
    return dict(json.loads(slice_name))
