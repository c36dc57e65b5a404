"""The arguments of `lightning.Trainer`: the user's own as they are, and what TrainArgs say where the user is silent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from polytrainer.executors.distributed import process_group
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer

PARTS = "accumulate_grad_batches"  # which are one batch of ours
_ENDS = ("max_steps", "max_epochs", "max_time")


def arguments(trainer: TorchTrainer, package: ModuleType) -> dict[str, Any]:
    """What `lightning.Trainer` is made with.

    Args:
        trainer: With `trainer_config`, which is passed on as it is, and `TrainArgs`.
        package: `lightning.pytorch`, or `pytorch_lightning`.

    Raises:
        PreflightError: If both say something of the same, and not the same.
    """
    config: dict[str, Any] = trainer.trainer_config
    parts = _micro_batches(trainer, config)
    told = _told(trainer, parts)
    problems = [
        Problem(
            f"trainer_config[{key!r}]",
            f"{config[key]!r} beside train_args.{field}={_value(trainer, field)!r}, which means {value!r}",
            "only one of the two",
            "Leave the other one out.",
        )
        for field, meant in told.items()
        for key, value in meant.items()
        if key in config and not _same(key, config[key], value)
    ]
    if trainer.fn_args.train_args.sync_batch_norm and not torch.cuda.is_available():
        got, expected = "True on a CPU", "GPUs: PyTorch has no SyncBatchNorm for CPUs"
        problems.append(Problem("train_args.sync_batch_norm", got, expected))
    if problems:
        raise PreflightError(problems)
    derived = {key: value for meant in told.values() for key, value in meant.items()}
    return {**_defaults(trainer, package, {**derived, **config}), **derived, **config}


def _told(trainer: TorchTrainer, parts: int) -> dict[str, dict[str, Any]]:
    """What each field of TrainArgs that is set means to Lightning."""
    given = trainer.fn_args.train_args
    meanings: dict[str, dict[str, Any]] = {
        "num_steps": {"max_steps": given.num_steps, "max_epochs": -1},
        "num_epochs": {"max_epochs": given.num_epochs, "max_steps": -1},
        "precision": {"precision": given.precision},
        "max_grad_norm": {"gradient_clip_val": given.max_grad_norm, "gradient_clip_algorithm": "norm"},
        "deterministic": {"deterministic": True},
        "log_every_n_steps": {"log_every_n_steps": given.log_every_n_steps},
        # Lightning counts micro-batches
        "eval_every_n_steps": {"val_check_interval": given.eval_every_n_steps * parts, "check_val_every_n_epoch": None},
        "eval_every_n_epochs": {"check_val_every_n_epoch": given.eval_every_n_epochs},
        "grad_accumulation": {PARTS: parts},
        "micro_batch_size": {PARTS: parts},
        "max_steps_per_epoch": {"limit_train_batches": given.max_steps_per_epoch * parts},
        "sync_batch_norm": {"sync_batchnorm": True},
    }
    found = {field: meant for field, meant in meanings.items() if getattr(given, field)}
    if given.strategy in ("ddp", "fsdp") and process_group.world_size() > 1:
        finds_unused = given.strategy == "ddp" and given.find_unused_parameters
        found["strategy"] = {
            "strategy": f"{given.strategy}_find_unused_parameters_true" if finds_unused else given.strategy
        }
    return found


def _defaults(trainer: TorchTrainer, package: ModuleType, said: Mapping[str, Any]) -> dict[str, Any]:
    """What is ours to choose where nobody has said anything."""
    folder, world_size = trainer.fn_args.model_run_dir, process_group.world_size()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size > 1 else 1
    callbacks = said.get("callbacks") or []
    callbacks = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    found: dict[str, Any] = {
        "devices": local,
        "num_nodes": world_size // local,
        "use_distributed_sampler": False,  # each rank's batches are its own already
        "default_root_dir": folder,
        "enable_checkpointing": any(isinstance(each, package.callbacks.Checkpoint) for each in callbacks),
        "enable_progress_bar": any(isinstance(each, package.callbacks.ProgressBar) for each in callbacks),
        "enable_model_summary": any(isinstance(each, package.callbacks.ModelSummary) for each in callbacks),
    }
    if not any(key in said for key in _ENDS):
        found["max_epochs"] = 1
    if trainer.fn_args.eval_steps:
        found["limit_val_batches"] = trainer.fn_args.eval_steps
    if "logger" not in said:
        found["logger"] = package.loggers.TensorBoardLogger(folder, name="logs", version="", default_hp_metric=False)
    return found


def _micro_batches(trainer: TorchTrainer, config: Mapping[str, Any]) -> int:
    """How many of Lightning's batches are one of ours, which is what an optimizer step is computed from."""
    given, ranks = trainer.fn_args.train_args, process_group.world_size()
    share, rest = divmod(trainer.batch_size, ranks)
    parts, fits = given.grad_accumulation or int(config.get(PARTS, 1)), True
    if given.HasField("micro_batch_size"):
        size = given.micro_batch_size
        parts, fits = (share // size, share % size == 0) if size else (1, False)
    if parts > 1 and (rest or share % parts):
        fits = False
    if not fits or parts < 1:
        got = f"batches of {trainer.batch_size} examples for {ranks} ranks, in parts of {given.micro_batch_size} each"
        if not given.HasField("micro_batch_size"):
            got = f"batches of {trainer.batch_size} examples in {parts} parts for {ranks} ranks"
        expected = "parts of the same size: a number of examples that they divide"
        remedy = (
            "With a LightningModule micro_batch_size is not found by trying." if not given.grad_accumulation else ""
        )
        raise PreflightError([Problem("train_args.batch_size", got, expected, remedy)])
    return parts


def _value(trainer: TorchTrainer, field: str) -> Any:
    return getattr(trainer.fn_args.train_args, field)


def _same(key: str, one: Any, other: Any) -> bool:
    if key == "strategy":  # "ddp_find_unused_parameters_true" is a ddp, and an object is the user's to choose
        return not isinstance(one, str) or one.startswith(other)
    return str(one) == str(other) or one == other
