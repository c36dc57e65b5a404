"""A name for what decoding a split yields."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polytrainer.executors.data.feature_specs import FeatureSpec

VERSION = 1  # of how a split is decoded and laid out: one more whenever that changes


def key_of(files: Sequence[str], spec: FeatureSpec, callables: Mapping[str, Any]) -> str | None:
    """A name for what decoding yields: of the files (path, size, time), the features and what is done to them.

    Args:
        files: Paths on any file system TensorFlow knows.
        spec: The features.
        callables: Encoders and the like, by name. Each says by `cache_key`, a string, all of what it does.

    Returns:
        32 hexadecimal digits. None if a callable has no `cache_key`: nobody knows whether another process means the
        same by it.
    """
    import tensorflow as tf

    if not all(hasattr(function, "cache_key") for function in callables.values()):
        return None
    stats = [(file, tf.io.gfile.stat(file)) for file in map(_whole, files)]
    content = {
        "format": [VERSION, sys.byteorder],
        "files": [(file, stat.length, stat.mtime_nsec) for file, stat in stats],
        "spec": [(name, _described(feature)) for name, feature in spec.items()],
        "callables": [(name, str(function.cache_key)) for name, function in sorted(callables.items())],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _described(feature: Any) -> list[str]:
    """All of what a feature says; NumPy would abbreviate a long default."""
    import numpy as np

    default = getattr(feature, "default_value", None)
    fields = {name: value for name, value in feature._asdict().items() if name != "default_value"}
    return [type(feature).__name__, repr(fields), repr(None if default is None else np.asarray(default).tolist())]


def _whole(file: str) -> str:
    """A path that means the same in another working directory."""
    return file if "://" in file else str(Path(file).absolute())
