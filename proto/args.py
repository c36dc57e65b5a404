"""Train and eval args in every form TFX allows (its own proto, ours, a dict, JSON) → ours, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

Args = TypeVar("Args", TrainArgs, EvalArgs)

_UNITS = {
    "num_steps": "steps",
    "num_epochs": "epochs",
    "batch_size": "examples",
    "log_every_n_steps": "steps",
}


def parse(value: Message | Mapping[str, Any] | str | None, kind: type[Args]) -> Args:
    """Reads args in any of the forms a Trainer accepts.

    Args:
        value: Our proto, the TFX proto of the same name, a dict or a JSON string of either, or None for the default.
        kind: `TrainArgs` or `EvalArgs`.

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
        raise ValueError(f"not a valid {kind.__name__}: {reason}. Its fields are: {known}.") from error
    raise TypeError(f"expected {kind.__name__}, a dict or JSON, got {type(value).__name__}: {value!r}")


def check(train_args: TrainArgs, eval_args: EvalArgs) -> list[Problem]:
    """What no training could be meant by: negative counts, contradictions, training on the test split."""
    problems = [
        Problem(
            f"{name}.{field}",
            str(getattr(args, field)),
            f"a positive number of {unit}, or 0",
            "0 means that the field is not set.",
        )
        for name, args in (("train_args", train_args), ("eval_args", eval_args))
        for field, unit in _UNITS.items()
        if getattr(args, field, 0) < 0
    ]
    if train_args.num_steps > 0 and train_args.num_epochs > 0:
        problems.append(
            Problem(
                "train_args",
                f"num_steps={train_args.num_steps} and num_epochs={train_args.num_epochs}",
                "at most one of num_steps and num_epochs",
                "Leave one of them out: both say when training ends.",
            )
        )
    problems += _repeated("train_args.splits", train_args.splits)
    problems += _repeated("eval_args.splits", eval_args.splits)
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


def _repeated(where: str, splits: Any) -> list[Problem]:
    twice = sorted({split for split in splits if list(splits).count(split) > 1})
    empty = [split for split in splits if not split]
    if twice or empty:
        return [Problem(where, str(list(splits)), "different names, none of them empty", "Name each split once.")]
    return []
