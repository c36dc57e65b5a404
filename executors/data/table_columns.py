"""Tables in memory, pandas DataFrames and dicts of arrays → typed columns, as tf.Examples have them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from polytrainer.proto.problems import Problem

Array = np.ndarray[Any, Any]

INT, FLOAT, BYTES = "int64", "float32", "bytes"
NUMPY_KINDS = {"b": INT, "i": INT, "u": INT, "f": FLOAT, "U": BYTES, "S": BYTES}
_EXPECTED = "int, bool, float, str or bytes, or arrays of them that all have one shape"
_REMEDY = "Convert the column, or leave it out."


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Name of the feature.
        kind: `int64`, `float32` or `bytes`.
        shape: Of the values of one row; `(1,)` for a column of single values.
        values: `[rows, size]`: int64, float32, or objects of type bytes.
        missing: Whether a row has no value, `[rows]`; None where each has one.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    values: Array
    missing: Array | None = None

    def __len__(self) -> int:
        return len(self.values)


class _ColumnError(ValueError):
    """A column that cannot be taken: what was got, what was expected, how to mend it."""

    def __init__(self, got: str, expected: str = _EXPECTED, remedy: str = _REMEDY):
        super().__init__(got)
        self.got, self.expected, self.remedy = got, expected, remedy


def is_dataframe(data: Any) -> bool:
    """Whether it is a pandas DataFrame."""
    pandas = sys.modules.get("pandas")  # who has a DataFrame has imported pandas
    return pandas is not None and isinstance(data, pandas.DataFrame)


def is_table(data: Any) -> bool:
    """Whether it is a DataFrame, or a dict with an array among its values: a dict of splits has none."""
    return is_dataframe(data) or (isinstance(data, Mapping) and any(_is_array(each) for each in data.values()))


def table_columns(data: Any, where: str, kinds: Mapping[str, str] | None = None) -> tuple[list[Column], list[Problem]]:
    """Converts a table.

    Args:
        data: A pandas DataFrame, or arrays by name. NaN, None and NA of a DataFrame are missing values; NaN in an array
            of floats is a value.
        where: The argument that it was given as, for the problems.
        kinds: The kinds that columns are to have, by name; other columns are left out. None: all columns are taken,
            each as it is.

    Returns:
        The columns in the order of the table; and what is wrong, in which case the columns are of no use.
    """
    names = list(data)
    if problems := _check_names(names, where):
        return [], problems
    columns: list[Column] = []
    for name in names:
        if kinds is not None and name not in kinds:
            continue
        try:
            columns.append(_column(name, data[name], kinds[name] if kinds is not None else None))
        except _ColumnError as refused:
            problems.append(Problem(f"column {name!r} of {where}", refused.got, refused.expected, refused.remedy))
    return columns, problems or _check_lengths(columns, where)


def _check_names(names: Sequence[Any], where: str) -> list[Problem]:
    remedy = "df.columns = df.columns.astype(str) makes names of numbers."
    problems = [
        Problem(where, f"a column named {name!r} ({type(name).__name__})", "names of type str", remedy)
        for name in names
        if not isinstance(name, str)
    ]
    twice = [name for position, name in enumerate(names) if name in names[:position]]
    return problems + [Problem(where, f"two columns named {name!r}", "each name once") for name in twice]


def _check_lengths(columns: Sequence[Column], where: str) -> list[Problem]:
    lengths = {column.name: len(column) for column in columns}
    if not any(lengths.values()):
        return [Problem(where, "a table without rows or columns", "at least one row and one column")]
    if len(set(lengths.values())) > 1:
        return [Problem(where, f"columns of different lengths, {lengths}", "a value of each row in each column")]
    return []


def _column(name: str, given: Any, kind: str | None) -> Column:
    array, missing = _as_array(given)
    shape = tuple(array.shape[1:]) or (1,)
    if array.dtype.kind == "O":
        array, shape, found = _of_objects(array, missing, kind)
    elif (found := NUMPY_KINDS.get(array.dtype.kind, "")) == "":
        raise _ColumnError(f"values of type {array.dtype}")
    values = _as_kind(array, missing, found, kind or found)
    rows = values.reshape(len(values), math.prod(shape))
    return Column(name, kind or found, shape, rows, missing if missing is not None and missing.any() else None)


def _as_array(given: Any) -> tuple[Array, Array | None]:
    """The values as an array, and which of them are missing; None where the given type has no missing values."""
    if hasattr(given, "isna") and hasattr(given, "to_numpy"):  # a pandas Series
        own = given if isinstance(given.dtype, np.dtype) else given.astype(object)  # categories, and pandas's own types
        return own.to_numpy(), np.asarray(given.isna(), dtype=bool)
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    elif not isinstance(given, np.ndarray):
        given = _of_list(given)
    if given.ndim == 0:
        raise _ColumnError("a single value", "an array with a value of each row")
    missing: Array | None = None
    if given.dtype.kind == "O" and given.ndim == 1:
        missing = np.array([_is_missing(each) for each in given], dtype=bool)
    return given, missing


def _of_list(given: Any) -> Array:
    if not isinstance(given, (list, tuple)):
        raise _ColumnError(f"a {type(given).__name__}", "a numpy array, a pandas Series, a tensor or a list")
    values = np.empty(len(given), dtype=object)
    values[:] = given
    return values


def _is_missing(value: Any) -> bool:
    is_nan = isinstance(value, (float, np.floating)) and bool(np.isnan(value))
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _of_objects(array: Array, missing: Array | None, kind: str | None) -> tuple[Array, tuple[int, ...], str]:
    """Objects of one type as an array of it, the shape of a row, and the kind; zeros and b"" where they are missing."""
    shape = tuple(array.shape[1:]) or (1,)
    skipped = missing if missing is not None else np.zeros(len(array), dtype=bool)
    present = array[~skipped].reshape(-1).tolist()
    if not present:
        if kind is None:
            raise _ColumnError("missing values only", "a value in at least one row", "Leave it out, or give a schema.")
        return _filled(array, skipped, [], kind), shape, kind
    if all(isinstance(each, (np.ndarray, list, tuple)) for each in present):
        return _of_arrays(present, skipped)
    if all(isinstance(each, (str, bytes)) for each in present):
        return _filled(array, skipped, [_utf8(each) for each in present], BYTES), shape, BYTES
    if all(isinstance(each, (bool, np.bool_, Integral)) for each in present):
        return _filled(array, skipped, [int(each) for each in present], INT), shape, INT
    if all(isinstance(each, Real) for each in present):
        return _filled(array, skipped, [float(each) for each in present], FLOAT), shape, FLOAT
    types = sorted({type(each).__name__ for each in present})
    raise _ColumnError(f"values of type {', '.join(types)}")


def _of_arrays(present: Sequence[Any], skipped: Array) -> tuple[Array, tuple[int, ...], str]:
    """Arrays in the cells of a column."""
    shapes = sorted({np.shape(each) for each in present})
    if len(shapes) > 1:
        remedy = "Pad them, or write tf.Examples and give the files, with a schema: there a feature may be ragged."
        raise _ColumnError(f"arrays of different shapes, {', '.join(map(str, shapes[:3]))}", _EXPECTED, remedy)
    stacked = np.stack([np.asarray(each) for each in present])
    kind = NUMPY_KINDS.get(stacked.dtype.kind)
    if kind is None:
        raise _ColumnError(f"arrays of type {stacked.dtype}")
    whole = np.zeros((len(skipped), *stacked.shape[1:]), dtype=stacked.dtype)
    whole[~skipped] = stacked
    return whole, tuple(stacked.shape[1:]), kind


def _filled(array: Array, skipped: Array, present: Sequence[Any], kind: str) -> Array:
    values = np.full(array.shape, b"" if kind == BYTES else 0, dtype=object)
    row_values = np.empty(len(present), dtype=object)
    row_values[:] = present
    values[~skipped] = row_values.reshape(-1, *array.shape[1:])
    return values


def _utf8(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _as_kind(array: Array, missing: Array | None, found: str, kind: str) -> Array:
    """The values in the type of their kind, where nothing is lost by it."""
    present = array if missing is None else array[~missing]
    if found == kind == BYTES:
        return _of_words(array)
    if kind == FLOAT and found in (INT, FLOAT):
        return _as_floats(array, present)
    if kind == INT and (found == INT or (found == FLOAT and _all_whole(present))):
        return _as_integers(array, missing, present)
    raise _ColumnError(f"values of type {found}", f"{kind}, as the schema has it", "Convert the column.")


def _of_words(array: Array) -> Array:
    words = np.empty(array.shape, dtype=object)
    words.reshape(-1)[:] = [_utf8(each) for each in array.reshape(-1).tolist()]
    return words


def _as_floats(array: Array, present: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        values = array.astype(np.float32)
    wide = present.astype(np.float64)
    if np.isfinite(wide).any() and np.abs(wide[np.isfinite(wide)]).max() > np.finfo(np.float32).max:
        raise _ColumnError("numbers larger than a float32 holds", "numbers up to 3.4e38", "Scale the column.")
    return values


def _as_integers(array: Array, missing: Array | None, present: Array) -> Array:
    limits = np.iinfo(np.int64)
    if len(present) and not (limits.min <= int(present.min()) and int(present.max()) <= limits.max):
        raise _ColumnError("integers that an int64 does not hold", f"{limits.min} to {limits.max}", _REMEDY)
    whole = array
    if missing is not None and missing.any():
        whole = array.copy()
        whole[missing] = 0
    return whole.astype(np.int64)


def _all_whole(present: Array) -> bool:
    floats = present.astype(np.float64)
    return bool((np.isfinite(floats) & (floats == np.floor(floats))).all())


def _is_array(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        or hasattr(value, "detach")
        or (hasattr(value, "isna") and hasattr(value, "to_numpy") and not is_dataframe(value))
    )


def column_kinds(columns: Iterable[Column]) -> dict[str, str]:
    """The kinds of columns, by name."""
    return {column.name: column.kind for column in columns}
