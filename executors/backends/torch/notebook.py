"""What a trainer is told where there is no pipeline to tell it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytrainer.executors.backends.code_signature import code_signature
from polytrainer.executors.checkpoints import data_signature, fingerprint
from polytrainer.executors.data.files import matching_files
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.run_args import RunArgs
from polytrainer.proto import args
from polytrainer.proto import export_args as export_args_lib
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs

if TYPE_CHECKING:
    from polytrainer.executors.backends.base import BaseTrainer

CACHE_MB = 2048
_OF_THE_BASE = (
    "label_key", "raw_label_key", "weight_key", "raw_weight_key", "class_weights", "examples_are", "params",
    "_given_spec", "_defaults",
)  # fmt: skip
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the repr of an object: another one in each process


def run_args(
    trainer: BaseTrainer,
    train_files: Any,
    eval_files: Any = None,
    *,
    test_files: Mapping[str, Any] | None = None,
    schema: Any = None,
    transform_graph: str | None = None,
    output_dir: str | None = None,
    base_model: str | None = None,
    train_args: Any = None,
    eval_args: Any = None,
    export_args: Any = None,
    **more_train_args: Any,
) -> RunArgs:
    """The arguments of `TorchTrainer.fit` as those of a run.

    Raises:
        PreflightError: If train or eval args contradict themselves, or there is no file behind a pattern.
        ValueError, TypeError: If they hold what is none of theirs.
    """
    told = args.parse(train_args, TrainArgs)
    told.MergeFrom(args.parse(more_train_args, TrainArgs))
    told_eval = args.parse(eval_args, EvalArgs)
    told_export = ExportArgs(formats=["TORCH"]) if export_args is None else args.parse(export_args, ExportArgs)
    if problems := [
        *args.check(told, told_eval),
        *args.check_for_trainers(told, told_eval),
        *export_args_lib.check(told_export),
        *_without_files(trainer, {"train_files": train_files, "eval_files": eval_files, "test_files": test_files}),
    ]:
        raise PreflightError(problems)
    args.resolve_aliases(told)
    told.splits[:] = told.splits or ["train"]
    eval_splits = _by_split(eval_files, "eval")
    told_eval.splits[:] = told_eval.splits or list(eval_splits)
    said = {
        "files": [_patterns(train_files), eval_splits],
        "data": data_signature(each for split in ({"": train_files}, eval_splits) for each in _files(split.values())),
        "code": code_signature(type(trainer)),
        "trainer": f"{type(trainer).__module__}.{type(trainer).__qualname__}",
        "arguments": {name: _described(getattr(trainer, name)) for name in (*trainer._arguments, *_OF_THE_BASE)},
        "inputs": [_content(schema), str(transform_graph), str(base_model)],
        "args": [
            told.SerializeToString(deterministic=True).hex(),
            told_eval.SerializeToString(deterministic=True).hex(),
        ],
    }
    root = Path(output_dir or tempfile.mkdtemp(prefix="polytrainer-"))  # last of all that may fail
    return RunArgs(
        train_files=_patterns(train_files),
        eval_files=[pattern for patterns in eval_splits.values() for pattern in patterns],
        eval_split_files=eval_splits,
        test_files=_by_split(test_files, "test"),
        train_args=told,
        eval_args=told_eval,
        serving_model_dir=str(root / "model" / "Format-Serving"),
        eval_model_dir=str(root / "model" / "Format-TFMA"),
        model_run_dir=str(root / "model_run"),
        checkpoint_dir=str(root / ".checkpoints" / fingerprint(said)),
        schema_path=_schema_path(schema, root),
        transform_graph_path=transform_graph,
        base_model=base_model,
        export_args=told_export,
        test_results_dir=str(root / "test_results") if output_dir else None,
    )


def root_of(fn_args: RunArgs) -> str:
    """The folder that all outputs of a run are in."""
    return os.path.dirname(fn_args.model_run_dir)


def _described(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))


def _content(schema: Any) -> str:
    """A schema itself, not when its file was written: a script may write it each time."""
    from tensorflow.io import gfile

    if not isinstance(schema, (str, os.PathLike)):
        return str(schema)
    with gfile.GFile(str(schema), "r") as file:
        return str(file.read())


def _files(splits: Iterable[Any]) -> Iterator[str]:
    """The files behind patterns."""
    for patterns in splits:
        for pattern in _patterns(patterns):
            yield from matching_files(pattern)


def _without_files(trainer: BaseTrainer, given: Mapping[str, Any]) -> list[Problem]:
    """The patterns of each argument that no file is behind; an `input_fn` of the user's may read something else."""
    if not type(trainer).input_fn.__module__.startswith("polytrainer.executors."):
        return []
    patterns = [
        (name, each) for name, files in given.items() for split in _by_split(files, "").values() for each in split
    ]
    expected, remedy = "at least one file behind it", f"Relative paths begin at {Path.cwd()}."
    return [Problem(name, repr(each), expected, remedy) for name, each in patterns if not matching_files(each)]


def _schema_path(schema: Any, root: Path) -> str | None:
    if schema is None or isinstance(schema, (str, os.PathLike)):
        return None if schema is None else str(schema)
    from google.protobuf import text_format

    root.mkdir(parents=True, exist_ok=True)
    path = root / "schema.pbtxt"
    path.write_text(text_format.MessageToString(schema))
    return str(path)


def _patterns(files: Any) -> list[str]:
    """Paths or patterns; a folder stands for all files in it."""
    given: Sequence[Any] = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    return [str(Path(each) / "*") if Path(each).is_dir() else str(each) for each in given]


def _by_split(files: Any, name: str) -> dict[str, list[str]]:
    if files is None:
        return {}
    if isinstance(files, Mapping):
        return {split: _patterns(each) for split, each in files.items()}
    return {name: _patterns(files)}
