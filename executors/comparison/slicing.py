"""The names of slices: a JSON object of feature → word, `{}` for all rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

ALL_ROWS = "{}"


def name(words: Mapping[str, str]) -> str:
    """The name of the slice in which these features have these values."""
    return json.dumps(dict(words), sort_keys=True, ensure_ascii=False)


def names(words: Mapping[str, Sequence[str]], kinds: Iterable[Sequence[str]]) -> list[str]:
    """The slices a row is in, as TFMA has them: a feature with several values brings it into several.

    Args:
        words: The values of the row's features.
        kinds: The features of each kind of slice.
    """
    found = [ALL_ROWS]
    for features in kinds:
        combinations = product(*(words[feature] for feature in features))
        found += [name(dict(zip(features, combination, strict=True))) for combination in combinations]
    return found


def of(slice_name: str) -> dict[str, str]:
    """Feature → word."""
    return dict(json.loads(slice_name))
