"""`fit`: a training without a pipeline, e.g. in a notebook."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytrainer.executors import storage
from polytrainer.executors.backends import fit_data
from polytrainer.executors.backends.code_signature import code_signature
from polytrainer.executors.backends.fit_data import FitData
from polytrainer.executors.backends.fit_result import MODEL, FitResult, base_model_path
from polytrainer.executors.checkpoint_lock import locked
from polytrainer.executors.checkpoints import data_signature, fingerprint, remove_checkpoints
from polytrainer.executors.data.files import matching_files
from polytrainer.executors.distributed import ranks
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.result import TrainResult
from polytrainer.executors.run_args import RunArgs
from polytrainer.proto import args
from polytrainer.proto import export_args as export_args_lib
from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs

if TYPE_CHECKING:
    from polytrainer.executors.backends.base import BaseTrainer

SCHEMA_FILE = "schema.pbtxt"
_OF_THE_BASE = (
    "label_key", "raw_label_key", "weight_key", "raw_weight_key", "class_weights", "examples_are", "label_vocabulary",
    "params",
    "_given_spec", "_defaults",
)  # fmt: skip
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the repr of an object: another one in each process


def fit(trainer: BaseTrainer, train_files: Any, eval_files: Any, *, resume: bool, **options: Any) -> FitResult:
    """Trains; what the trainers' `fit` does."""
    is_temporary = options.get("output_dir") is None
    fn_args = run_args(trainer, train_files, eval_files, **options)
    root = Path(root_of(fn_args))
    is_chief, succeeded = ranks.is_chief(fn_args.train_args.strategy), False
    places = {"output_dir": str(root)}
    try:
        storage.check_writable(places)
        with storage.errors_explained(places), locked(fn_args.checkpoint_dir if is_chief else None):
            if not resume and is_chief:
                remove_checkpoints(fn_args.checkpoint_dir)
            returned = TrainResult.of(trainer.run_fn(fn_args))  # type: ignore[arg-type] # all that it reads is there
            if is_chief:
                remove_checkpoints(fn_args.checkpoint_dir)
        succeeded = True
    finally:
        if is_temporary:
            _remove(root, but={MODEL, SCHEMA_FILE} if succeeded else set())
    if is_chief and not is_temporary:
        fit_data.remove_other_tables(root, _table_paths(fn_args, root))
    return FitResult.from_training(returned, root, fn_args.schema_path, is_temporary=is_temporary)


def run_args(
    trainer: BaseTrainer,
    train_files: Any,
    eval_files: Any = None,
    *,
    test_files: Mapping[str, Any] | None = None,
    schema: Any = None,
    transform_graph: str | None = None,
    output_dir: str | None = None,
    base_model: Any = None,
    train_args: Any = None,
    eval_args: Any = None,
    export_args: Any = None,
    **more_train_args: Any,
) -> RunArgs:
    """The arguments of `fit` as those of a run; tables in memory are written as files.

    Raises:
        PreflightError: If train or eval args contradict themselves, there is no file behind a pattern, or a table or
            the base model cannot be taken.
        ValueError, TypeError: If they hold what is none of theirs.
    """
    told = args.parse(train_args, TrainArgs)
    told.MergeFrom(args.parse(more_train_args, TrainArgs))
    told_eval = args.parse(eval_args, EvalArgs)
    formats = list(trainer._FIT_FORMATS)
    told_export = ExportArgs(formats=formats) if export_args is None else args.parse(export_args, ExportArgs)
    data = fit_data.read_arguments(trainer, train_files, eval_files, test_files, schema, transform_graph)
    base_model, base_problems = base_model_path(base_model)
    if problems := [
        *args.check(told, told_eval),
        *args.check_for_trainers(told, told_eval),
        *export_args_lib.check(told_export),
        *data.problems,
        *base_problems,
    ]:
        raise PreflightError(problems)
    args.resolve_aliases(told)
    told.splits[:] = told.splits or ["train"]
    told_eval.splits[:] = told_eval.splits or list(data.eval)
    said: dict[str, Any] = {
        "code": code_signature(type(trainer)),
        "trainer": f"{type(trainer).__module__}.{type(trainer).__qualname__}",
        "arguments": {name: _described(getattr(trainer, name)) for name in (*trainer._arguments, *_OF_THE_BASE)},
        "inputs": [_content(data.schema), str(transform_graph), str(base_model)],
        "args": [
            told.SerializeToString(deterministic=True).hex(),
            told_eval.SerializeToString(deterministic=True).hex(),
        ],
    }
    root = Path(output_dir or tempfile.mkdtemp(prefix="polytrainer-"))  # last of all that the arguments may make fail
    try:
        data.write(root)
        schema_path = _schema_path(data.schema, root)
    except BaseException:
        if not output_dir:
            shutil.rmtree(root, ignore_errors=True)
        raise
    eval_splits = {name: split.patterns for name, split in data.eval.items()}
    said["files"] = [data.train.patterns, eval_splits]
    said["data"] = _data_signature(data)
    return RunArgs(
        train_files=data.train.patterns,
        eval_files=[pattern for patterns in eval_splits.values() for pattern in patterns],
        eval_split_files=eval_splits,
        test_files={name: split.patterns for name, split in data.test.items()},
        train_args=told,
        eval_args=told_eval,
        serving_model_dir=str(root / MODEL / "Format-Serving"),
        eval_model_dir=str(root / MODEL / "Format-TFMA"),
        model_run_dir=str(root / "model_run"),
        checkpoint_dir=str(root / ".checkpoints" / fingerprint(said)),
        schema_path=schema_path,
        transform_graph_path=transform_graph,
        base_model=base_model,
        export_args=told_export,
        test_results_dir=str(root / "test_results") if output_dir else None,
    )


def root_of(fn_args: RunArgs) -> str:
    """The folder that all outputs of a run are in."""
    return os.path.dirname(fn_args.model_run_dir)


def _data_signature(data: FitData) -> list[Any]:
    """What tells whether the data were changed: of a table its content, of files their sizes and times of change."""
    read = [data.train, *data.eval.values()]
    files = [file for split in read if split.digest is None for each in split.patterns for file in matching_files(each)]
    return [*data_signature(files), *(split.digest for split in read if split.digest is not None)]


def _table_paths(fn_args: RunArgs, root: Path) -> Iterator[str]:
    """Files of this training that were tables."""
    by_split = [*fn_args.eval_split_files.values(), *fn_args.test_files.values()]
    for patterns in [fn_args.train_files, *by_split]:
        yield from (each for each in patterns if Path(each).parent == root / fit_data.FOLDER)


def _remove(root: Path, but: set[str]) -> None:
    """Removes all in a folder but some of its entries, or all of it."""
    if not but:
        shutil.rmtree(root, ignore_errors=True)
        return
    for path in root.iterdir():
        if path.name not in but:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _described(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))


def _content(schema: Any) -> str:
    """A schema itself, not when its file was written: a script may write it each time."""
    from tensorflow.io import gfile

    if not isinstance(schema, (str, os.PathLike)):
        return str(schema)
    with gfile.GFile(str(schema), "r") as file:
        return str(file.read())


def _schema_path(schema: Any, root: Path) -> str | None:
    if schema is None or isinstance(schema, (str, os.PathLike)):
        return None if schema is None else str(schema)
    from google.protobuf import text_format

    root.mkdir(parents=True, exist_ok=True)
    path = root / SCHEMA_FILE
    path.write_text(text_format.MessageToString(schema))
    return str(path)
