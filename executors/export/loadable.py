"""Where TensorFlow can load a SavedModel from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_SPECIAL = frozenset("*?[]\\")


@contextmanager
def loadable(path: str) -> Iterator[str]:
    """A folder to load a SavedModel from: TensorFlow takes the path of its variables for a pattern.

    Yields:
        The path itself, or, where characters in it are special in patterns, that of a copy, while the context lasts.
    """
    if not _SPECIAL & set(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="polytrainer-model-") as folder:
        copy(path, folder)
        yield folder


def copy(source: str, target: str) -> None:
    """Copies a folder, on any file system that TensorFlow knows."""
    from tensorflow.io import gfile

    for folder, _, files in gfile.walk(source):
        inside = os.path.relpath(folder, source)
        into = target if inside == "." else os.path.join(target, inside)  # "." is a name like others, e.g. in ram://
        gfile.makedirs(into)
        for name in files:
            gfile.copy(os.path.join(folder, name), os.path.join(into, name), overwrite=True)
