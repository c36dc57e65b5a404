"""Train, eval and export args in every form TFX allows (its own proto, ours, a dict, JSON) → ours, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from polytrainer.proto.comparator_pb2 import ComparatorArgs
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import EarlyStopping, EvalArgs, ExportArgs, KeepCheckpoints, TrainArgs

Args = TypeVar("Args", TrainArgs, EvalArgs, ExportArgs, ComparatorArgs)

_UNITS = {
    "num_steps": "steps",
    "num_epochs": "epochs",
    "batch_size": "examples",
    "log_every_n_steps": "steps",
    "checkpoint_every_n_steps": "steps",
    "num_processes": "processes",
    "grad_accumulation": "micro-batches",
    "micro_batch_size": "examples",
    "max_grad_norm": "norm",
    "eval_every_n_steps": "steps",
    "eval_every_n_epochs": "epochs",
    "data_cache_mb": "MiB",
    "max_steps_per_epoch": "steps",
    "stall_timeout_seconds": "seconds",
}
_OF_TFX = "num_steps"  # the one count that TFX's own args have
_UNSET = "0 means that the field is not set."
PRECISIONS = ("32", "bf16-mixed", "16-mixed", "bf16-true")
STRATEGIES = ("default", "mirrored", "multi_worker_mirrored", "single", "ddp", "fsdp")
MATMUL_PRECISIONS = ("highest", "high", "medium")
DATA_MODES = ("auto", "cached", "streaming")
PYTORCH_ONLY = (
    "num_processes",
    "grad_accumulation",
    "micro_batch_size",
    "max_grad_norm",
    "compile",
    "matmul_precision",
    "deterministic",
    "eval_every_n_steps",
    "eval_every_n_epochs",
    "keep_checkpoints",
    "reset_optimizer",
    "data_cache_mb",
    "data_mode",
    "find_unused_parameters",
    "sync_batch_norm",
    "stall_timeout_seconds",
)
# PyMarlin's names of its backends: strategy and precision
_ALIASES = {"sp": ("single", ""), "sp-amp": ("single", "16-mixed"), "ddp-amp": ("ddp", "16-mixed")}
_AT_MOST_ONE = (
    ("num_steps", "num_epochs", "both say when training ends"),
    ("grad_accumulation", "micro_batch_size", "both say how a batch is split"),
    ("eval_every_n_steps", "eval_every_n_epochs", "both say when to evaluate"),
)
_MODES = ("min", "max")
_MORE_IS_BETTER = (
    "accuracy", "acc", "auc", "auroc", "precision", "recall", "f1",
    "kappa", "mcc", "pearson", "r2", "sensitivity", "spearman", "specificity",
)  # fmt: skip
_LESS_IS_BETTER = ("loss", "error", "mae", "mape", "mse", "rmse", "crossentropy", "perplexity")


def parse(value: Message | Mapping[str, Any] | str | None, kind: type[Args]) -> Args:
    """Reads args in any of the forms a Trainer accepts.

    Args:
        value: Our proto, the TFX proto of the same name, a dict or a JSON string of either, or None for the default.
        kind: `TrainArgs`, `EvalArgs`, `ExportArgs` or `ComparatorArgs`.

    Returns:
        A new proto of that kind.

    Raises:
        TypeError: If the value is none of these.
        ValueError: If a dict or a JSON string holds an unknown field or a value of the wrong type; says which.
    """
    if value is None:
        return kind()
    if isinstance(value, Message):
        if value.DESCRIPTOR.name != kind.DESCRIPTOR.name:
            raise TypeError(f"expected {kind.__name__}, got {value.DESCRIPTOR.full_name}")
        return kind.FromString(value.SerializeToString())
    try:
        if isinstance(value, str):
            return json_format.Parse(value, kind())
        if isinstance(value, Mapping):
            return json_format.ParseDict(dict(value), kind())
    except json_format.ParseError as error:
        known = ", ".join(field.name for field in kind.DESCRIPTOR.fields)
        reason = str(error).splitlines()[0].strip(". ")
        text = f"not a valid {kind.__name__}: {reason}. Its fields are: {known}."
        raise ValueError(" ".join([text, *_choices(kind)])) from error
    raise TypeError(f"expected {kind.__name__}, a dict or JSON, got {type(value).__name__}: {value!r}")


def _choices(kind: type[Message]) -> list[str]:
    """The values of each field that has only some, in words."""
    return [
        f"Values of {field.name}: {', '.join(value.name for value in field.enum_type.values if value.number)}."
        for field in kind.DESCRIPTOR.fields
        if field.enum_type
    ]


def resolve_aliases(train_args: TrainArgs) -> None:
    """Puts strategy and precision in the place of PyMarlin's names, such as "ddp-amp"; both have been checked."""
    if train_args.strategy in _ALIASES:
        train_args.strategy, precision = _ALIASES[train_args.strategy]
        train_args.precision = precision or train_args.precision


def check(train_args: TrainArgs, eval_args: EvalArgs) -> list[Problem]:
    """What no training could be meant by: negative counts, contradictions, training on the test split.

    Values that TFX's Trainer hands on to any `run_fn` are not among it, see `check_for_trainers`.
    """
    problems = [
        Problem(
            f"{name}.{field}",
            str(getattr(args, field)),
            f"a positive number of {unit}, or 0",
            _UNSET,
        )
        for name, args in (("train_args", train_args), ("eval_args", eval_args))
        for field, unit in _UNITS.items()
        if field != _OF_TFX and not getattr(args, field, 0) >= 0  # NaN too
    ]
    for one, other, why in _AT_MOST_ONE:
        if getattr(train_args, one) > 0 and getattr(train_args, other) > 0:
            got = f"{one}={getattr(train_args, one)} and {other}={getattr(train_args, other)}"
            expected, remedy = f"at most one of {one} and {other}", f"Leave one of them out: {why}."
            problems.append(Problem("train_args", got, expected, remedy))
    problems += _unknown("train_args.precision", train_args.precision, PRECISIONS)
    problems += _unknown("train_args.strategy", train_args.strategy, (*STRATEGIES, *_ALIASES))
    problems += _unknown("train_args.matmul_precision", train_args.matmul_precision, MATMUL_PRECISIONS)
    problems += _unknown("train_args.data_mode", train_args.data_mode, DATA_MODES)
    problems += _alias_and_precision(train_args)
    problems += _early_stopping(train_args)
    problems += _keep_checkpoints(train_args)
    problems += _unnamed("train_args.splits", train_args.splits)
    problems += _unnamed("eval_args.splits", eval_args.splits)
    problems += _unnamed("eval_args.test_splits", eval_args.test_splits)
    problems += _repeated("eval_args.test_splits", eval_args.test_splits)
    leaked = sorted(set(train_args.splits or ["train"]) & set(eval_args.test_splits))
    if leaked:
        problems.append(
            Problem(
                "eval_args.test_splits",
                f"{leaked}, which train_args.splits trains on",
                "splits that the training never sees",
                "Take them out of one of the two.",
            )
        )
    return problems


def check_for_trainers(train_args: TrainArgs, eval_args: EvalArgs) -> list[Problem]:
    """What the trainer classes refuse, and a `run_fn` of one's own may mean: -1 steps, a split named twice."""
    problems = [
        Problem(f"{name}.{_OF_TFX}", str(args.num_steps), "a positive number of steps, or 0", _UNSET)
        for name, args in (("train_args", train_args), ("eval_args", eval_args))
        if args.num_steps < 0
    ]
    problems += _repeated("train_args.splits", train_args.splits)
    return problems + _repeated("eval_args.splits", eval_args.splits)


def best_mode(watched: EarlyStopping | KeepCheckpoints) -> str | None:
    """Which direction of its metric is better, "min" or "max"; None if only the author can know."""
    if watched.mode:
        return watched.mode
    metric = watched.metric or "loss"
    if any(word in metric for word in _LESS_IS_BETTER):
        return "min"
    return "max" if any(word in metric for word in _MORE_IS_BETTER) else None


def _early_stopping(train_args: TrainArgs) -> list[Problem]:
    if not train_args.HasField("early_stopping"):
        return []
    stopping = train_args.early_stopping
    problems = _mode("train_args.early_stopping.mode", stopping)
    problems += [
        Problem(f"train_args.early_stopping.{field}", str(value), "0 or more")
        for field, value in (("patience", stopping.patience), ("min_delta", stopping.min_delta))
        if not value >= 0  # NaN too
    ]
    return problems


def _keep_checkpoints(train_args: TrainArgs) -> list[Problem]:
    kept = train_args.keep_checkpoints
    problems = _mode("train_args.keep_checkpoints.mode", kept)
    problems += [
        Problem(f"train_args.keep_checkpoints.{field}", str(value), "0 or more")
        for field, value in (("last", kept.last), ("best", kept.best))
        if value < 0
    ]
    if kept.metric and not kept.best and not train_args.HasField("early_stopping"):
        got = f"the metric {kept.metric!r} with best=0, which keeps nothing by it"
        problems.append(Problem("train_args.keep_checkpoints", got, "best=1 or more, or no metric"))
    return problems


def _mode(where: str, watched: EarlyStopping | KeepCheckpoints) -> list[Problem]:
    """What is wrong with the direction in which a metric is better."""
    problems = _unknown(where, watched.mode, _MODES)
    if best_mode(watched) is None:
        got = f"no mode for the metric {watched.metric!r}"
        problems.append(Problem(where, got, "min or max", "Say which of them is better."))
    return problems


def _alias_and_precision(train_args: TrainArgs) -> list[Problem]:
    _, meant = _ALIASES.get(train_args.strategy, ("", ""))
    if not meant or train_args.precision in ("", meant):
        return []
    got = f"{train_args.precision!r} with the strategy {train_args.strategy!r}"
    return [Problem("train_args.precision", got, f"{meant!r}, which is what {train_args.strategy!r} means, or nothing")]


def _unknown(where: str, value: str, known: Sequence[str]) -> list[Problem]:
    return [] if not value or value in known else [Problem(where, repr(value), f"one of {', '.join(known)}")]


def _repeated(where: str, splits: Any) -> list[Problem]:
    if len(set(splits)) == len(splits):
        return []
    return [Problem(where, str(list(splits)), "different names", "Name each split once.")]


def _unnamed(where: str, splits: Any) -> list[Problem]:
    return [] if all(splits) else [Problem(where, str(list(splits)), "names, none of them empty")]
