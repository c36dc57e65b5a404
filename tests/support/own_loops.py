"""What a `run_fn` with a loop of its own is given, without a pipeline; and what a model's folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def loop_args(small: SimpleNamespace, tmp_path: Path) -> Callable[..., Any]:
    """`loop_args(**changes)`: the arguments of a run on the small task, whose outputs go to `tmp_path / "run"`."""
    from polytrainer import EvalArgs, TrainArgs
    from polytrainer.executors.run_args import RunArgs

    def make(**changes: Any) -> RunArgs:
        given = {
            "train_files": [small.train],
            "eval_files": [small.eval],
            "eval_split_files": {"eval": [small.eval]},
            "test_files": {},
            "train_args": TrainArgs(splits=["train"]),
            "eval_args": EvalArgs(splits=["eval"]),
            "serving_model_dir": str(tmp_path / "run" / "Format-Serving"),
            "eval_model_dir": str(tmp_path / "run" / "Format-TFMA"),
            "model_run_dir": str(tmp_path / "model_run"),
            "checkpoint_dir": None,
            "schema_path": small.schema,
        }
        return RunArgs(**{**given, **changes})

    return make


def files_in(folder: Any) -> set[str]:
    """Paths of all files in a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def signatures(folder: Any) -> dict[str, tuple[Any, Any]]:
    """What a SavedModel's signatures take and give, by their names."""
    import tensorflow as tf

    return {
        name: (function.structured_input_signature, function.structured_outputs)
        for name, function in tf.saved_model.load(str(folder)).signatures.items()
    }


def served(folder: Any, rows: list[bytes]) -> Any:
    """What a SavedModel answers to raw examples."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return {name: value.numpy() for name, value in signature(examples=tf.constant(rows)).items()}


def properties(artifact: Any) -> dict[str, Any]:
    """Custom properties of an artifact, by name."""
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in artifact.mlmd_artifact.custom_properties.items()
    }
