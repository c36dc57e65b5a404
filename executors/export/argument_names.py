"""What the arguments of a signature are called: TensorFlow takes fewer names than features may have."""

from __future__ import annotations

import json
import keyword
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping

FILE = ("assets.extra", "predict_inputs.json")  # in a SavedModel

_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*", re.ASCII)  # what TensorFlow calls a placeholder
_PARAMETER = re.compile(r"[^A-Za-z0-9]", re.ASCII)
_RESERVED = {"self", "none", "true", "false", *map(str.lower, keyword.kwlist)}


def argument_names(features: Iterable[str]) -> dict[str, str]:
    """Names of arguments, one for each feature, all different.

    A feature's own name wherever TensorFlow takes it; `a b` becomes `a_b`, or `a_b_2` where there is an `a_b`, too.
    They are the same in whichever order the features come, and on each line of TensorFlow.

    Args:
        features: Their names, all different.

    Returns:
        The argument's name by the feature's, sorted by the latter.
    """
    # plain names first, so that no other feature takes theirs
    in_order = sorted(features, key=lambda name: (not _is_plain(name), not _is_taken_by_tensorflow(name), name))
    taken: set[str] = set()
    arguments: dict[str, str] = {}
    for name in in_order:
        argument = stem = name if _is_taken_by_tensorflow(name) else _plain(name)
        number = 2
        while _parameter(argument) in taken:
            argument, number = f"{_plain(stem)}_{number}", number + 1
        taken.add(_parameter(argument))
        arguments[name] = argument
    return {name: arguments[name] for name in sorted(arguments)}


def write(saved_model: str, names: Mapping[str, str]) -> None:
    """Writes beside a SavedModel which argument is which feature, where one has another name than its feature.

    Args:
        saved_model: Its folder.
        names: The argument's by the feature's, of the signature that takes features by name.
    """
    from tensorflow.io import gfile

    if all(feature == argument for feature, argument in names.items()):
        return
    path = os.path.join(saved_model, *FILE)
    gfile.makedirs(os.path.dirname(path))
    with gfile.GFile(path, "w") as file:
        by_argument = {argument: feature for feature, argument in names.items()}
        file.write(json.dumps(by_argument, indent=1, ensure_ascii=False) + "\n")


def _is_plain(name: str) -> bool:
    return _is_taken_by_tensorflow(name) and name == _plain(name)


def _is_taken_by_tensorflow(name: str) -> bool:
    is_node_name = _NODE_NAME.fullmatch(name) is not None and not name.endswith("/")
    return is_node_name and _parameter(name) not in _RESERVED


def _plain(name: str) -> str:
    """A name of ASCII letters, digits and `_` that begins with a letter and is not reserved."""
    bare = (letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    plain = _PARAMETER.sub("_", "".join(bare))
    return plain if plain[:1].isalpha() and plain.lower() not in _RESERVED else f"arg_{plain}"


def _parameter(argument: str) -> str:
    """What TensorFlow makes of it: names that differ in their case, or in what is no letter or digit, are the same."""
    swapped = _PARAMETER.sub("_", argument).lower()
    return swapped if swapped[:1].isalpha() else f"arg_{swapped}"
