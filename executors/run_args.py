"""What a run is told, without TFX: for trainings outside of a pipeline, and for ranks in processes of their own."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs


@dataclass
class RunArgs:
    """The attributes of `polytrainer.FnArgs` that a trainer reads, without TFX."""

    train_files: list[str]
    eval_files: list[str]
    eval_split_files: dict[str, list[str]]
    test_files: dict[str, list[str]]
    train_args: TrainArgs
    eval_args: EvalArgs
    serving_model_dir: str
    eval_model_dir: str
    model_run_dir: str
    checkpoint_dir: str | None
    schema_path: str | None = None
    transform_graph_path: str | None = None
    base_model: str | None = None
    hyperparameters: dict[str, Any] | None = None
    custom_config: dict[str, Any] | None = None
    num_examples: dict[str, int] | None = None
    export_args: ExportArgs = field(default_factory=ExportArgs)
    test_results_dir: str | None = None
    extra_inputs: dict[str, Any] = field(default_factory=dict)
    examples_are: str | None = None
    raw_eval_files: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, fn_args: Any) -> RunArgs:
        """The same arguments, of another class."""
        return cls(**{each.name: getattr(fn_args, each.name) for each in fields(cls)})

    @property
    def train_steps(self) -> int | None:
        """As TFX has it: None where there is no limit."""
        return self.train_args.num_steps or None

    @property
    def eval_steps(self) -> int | None:
        """As TFX has it: None where there is no limit."""
        return self.eval_args.num_steps or None
