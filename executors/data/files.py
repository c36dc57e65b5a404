"""The files behind TFX's patterns, which are folders with `/*` behind them."""

from __future__ import annotations

import os
from collections.abc import Iterable

_SPECIAL = frozenset("*?[]{}\\")
_ALL = "/*"


def data_files(patterns: Iterable[str]) -> list[str]:
    """The files of data behind patterns, sorted; a pattern given twice has its files twice.

    A pattern `<folder>/*`, as TFX makes one of each split, means the files in this very folder: it is listed, so that
    characters that are special in patterns may be in its name. Markers that writers leave beside data, such as Spark's
    `_SUCCESS`, begin with an underscore or a dot and are left out.
    """
    return sorted(file for pattern in patterns for file in matching_files(pattern) if not _is_marker(file))


def matching_files(pattern: str) -> list[str]:
    """The files behind one pattern, sorted, markers among them."""
    from tensorflow.io import gfile  # not TFX's: a training runs without TFX, too

    folder = pattern.removesuffix(_ALL)
    if folder != pattern and gfile.isdir(folder):
        return files_in(folder)
    if _SPECIAL & set(pattern) and gfile.exists(pattern):
        return [pattern]  # the path of a file, and no pattern
    return sorted(gfile.glob(pattern))


def files_in(folder: str) -> list[str]:
    """What lies in a folder, sorted; nothing where there is no folder."""
    from tensorflow.io import gfile

    names = gfile.listdir(folder) if gfile.isdir(folder) else []
    return sorted(os.path.join(folder, name) for name in names if name)


def _is_marker(file: str) -> bool:
    return os.path.basename(file).startswith(("_", "."))
