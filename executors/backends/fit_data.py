"""The data that `fit` is given: patterns of files, or tables in memory, which become files in the output folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.files import matching_files
from polytrainer.executors.data.table_columns import Column, column_kinds, is_dataframe, is_table, table_columns
from polytrainer.executors.data.table_examples import schema_kinds, spec_kinds, table_schema, write_examples
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

    from polytrainer.executors.backends.base import BaseTrainer

FOLDER = ".data"  # in the output folder: tables as files
_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9_-]")


@dataclass
class Split:
    """One split.

    Attributes:
        argument: The argument that it was given as, for messages.
        patterns: Of its files; empty for a table that is not written yet.
        columns: Of a table; None for files.
        digest: Of a table's examples, once they are written.
    """

    argument: str
    patterns: list[str] = field(default_factory=list)
    columns: list[Column] | None = None
    digest: str | None = None

    def write(self, folder: Path, name: str) -> None:
        """Writes a table; files are left as they are."""
        if self.columns is not None:
            path, self.digest = write_examples(self.columns, folder, _NOT_IN_FILE_NAMES.sub("_", name))
            self.patterns = [path]


@dataclass
class FitData:
    """All splits.

    Attributes:
        train: What is trained on.
        eval: What is evaluated on, by split.
        test: What is tested on, by split.
        schema: The schema, a path or a Schema; that of the training table, where there is none and one is needed.
        problems: What is wrong with any of them.
    """

    train: Split
    eval: dict[str, Split]
    test: dict[str, Split]
    schema: Any
    problems: list[Problem]

    def splits(self) -> Iterator[tuple[str, Split]]:
        """All of them, with what their files are called."""
        yield "train", self.train
        yield from ((f"eval-{name}", split) for name, split in self.eval.items())
        yield from ((f"test-{name}", split) for name, split in self.test.items())

    def write(self, root: Path) -> None:
        """Writes the tables below an output folder."""
        for name, split in self.splits():
            split.write(root / FOLDER, name)


def remove_other_tables(root: Path, used: Iterable[str]) -> None:
    """Removes the tables that earlier trainings wrote into an output folder and this one did not read."""
    kept = set(used)
    for path in (root / FOLDER).glob("*"):
        if str(path) not in kept:
            path.unlink(missing_ok=True)


def read_arguments(
    trainer: BaseTrainer,
    train_files: Any,
    eval_files: Any,
    test_files: Any,
    schema: Any,
    transform_graph: str | None,
) -> FitData:
    """Looks at the data arguments of `fit`; nothing is written yet."""
    problems: list[Problem] = []
    schema_is_given = schema is not None or transform_graph is not None or trainer._given_spec is not None
    kinds = _given_kinds(trainer, schema) if transform_graph is None else None
    train = _split(trainer, train_files, "train_files", kinds, problems)
    if train.columns and not schema_is_given and not problems:
        schema, kinds = table_schema(train.columns), column_kinds(train.columns)
    evaluated, tested = (
        {name: _split(trainer, each, argument, kinds, problems) for name, each in by_split.items()}
        for argument, by_split in (
            ("eval_files", _by_split(eval_files, "eval")),
            ("test_files", _by_split(test_files, "test")),
        )
    )
    data = FitData(train, evaluated, tested, schema, problems)
    if not evaluated and trainer._NEEDS_EVAL_DATA:
        expected = f"data to evaluate the model on, which {type(trainer).__name__} needs"
        problems.append(Problem("eval_files", "none", expected))
    problems += _without_files(trainer, [split for _, split in data.splits()])
    return data


def path_patterns(files: Any) -> list[str]:
    """Paths or patterns; a folder stands for all files in it."""
    given = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    return [str(Path(each) / "*") if Path(each).is_dir() else str(each) for each in given]


def are_paths(data: Any) -> bool:
    """Whether it is a path, or several."""
    if isinstance(data, (str, os.PathLike)):
        return True
    return isinstance(data, (list, tuple, set, frozenset)) and all(
        isinstance(each, (str, os.PathLike)) for each in data
    )


def unknown_data(where: str, data: Any, more: str = "") -> Problem:
    """What is wrong with data of a kind that is not read."""
    got = f"a {type(data).__module__}.{type(data).__qualname__}"
    expected = f"paths or patterns of files, a pandas DataFrame, {more}or a dict of numpy arrays by feature"
    remedy = "A table of another library: .to_pandas(). A single array: {'x': array}."
    return Problem(where, got, expected, remedy)


def _given_kinds(trainer: BaseTrainer, schema: Any) -> dict[str, str] | None:
    """The kinds of columns that a schema or a feature spec asks for; None without either."""
    if trainer._given_spec is not None:
        return spec_kinds(trainer._given_spec)
    if schema is None:
        return None
    return schema_kinds(read_schema(schema))


def read_schema(schema: Any) -> schema_pb2.Schema:
    """A schema, given as one or as the path of one."""
    from polytrainer.executors.data import feature_specs

    return feature_specs.read_schema(str(schema)) if isinstance(schema, (str, os.PathLike)) else schema


def _split(
    trainer: BaseTrainer, given: Any, argument: str, kinds: Mapping[str, str] | None, problems: list[Problem]
) -> Split:
    table, found = trainer._as_table(given, argument)
    problems += found
    if table is not None:
        columns, wrong = table_columns(table, argument, kinds)
        problems += wrong
        return Split(argument, columns=columns)
    if not found and not isinstance(given, Iterator) and not are_paths(given):
        problems.append(unknown_data(argument, given, trainer._OTHER_DATA))
    if found or problems:
        return Split(argument)
    return Split(argument, path_patterns(given))


def _by_split(files: Any, name: str) -> dict[str, Any]:
    if files is None:
        return {}
    if isinstance(files, Mapping) and not is_table(files):
        return dict(files)
    return {name: files}


def _without_files(trainer: BaseTrainer, splits: Iterable[Split]) -> list[Problem]:
    """The patterns of each argument that no file is behind; an `input_fn` of the user's may read something else."""
    if not type(trainer).input_fn.__module__.startswith("polytrainer.executors."):
        return []
    expected, remedy = "at least one file behind it", f"Relative paths begin at {Path.cwd()}."
    patterns = [(split.argument, each) for split in splits for each in split.patterns]
    return [Problem(name, repr(each), expected, remedy) for name, each in patterns if not matching_files(each)]


def as_table(data: Any) -> Any | None:
    """The data, if it is a table; else None."""
    return data if is_dataframe(data) or isinstance(data, Mapping) else None
