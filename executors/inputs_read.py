"""Which inputs of a node polytrainer itself reads: there it knows what will fail; of a plain `run_fn` nobody does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polytrainer.executors.frameworks import uses_trainer_class
from polytrainer.proto import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polytrainer.executors.backends.base import BaseTrainer
    from polytrainer.executors.user_code import UserCode

_READ_BY_TRAINER_CLASSES = (
    keys.EXAMPLES,
    keys.TRANSFORM_GRAPH,
    keys.BASE_MODEL,
    keys.HYPERPARAMETERS,
    keys.TRAIN_ARGS,
    keys.EVAL_ARGS,
)


def inputs_read(code: UserCode | None, input_dict: Mapping[str, Any]) -> frozenset[str]:
    """Keys of the inputs and properties whose contents polytrainer reads with this code.

    Args:
        code: The user's; None where it could not be imported.
        input_dict: Artifacts of the node by key.
    """
    if code is None:
        return frozenset()
    if code.kind == keys.TRAINER_FN:
        return frozenset({keys.SCHEMA})  # which trainer_fn is given as a proto
    trainer = _trainer(code)
    if trainer is None and not uses_trainer_class(code.location):
        return frozenset()
    spec_is_known = bool(input_dict.get(keys.TRANSFORM_GRAPH)) or getattr(trainer, "_given_spec", None) is not None
    return frozenset(_READ_BY_TRAINER_CLASSES) | (frozenset() if spec_is_known else {keys.SCHEMA})


def _trainer(code: UserCode) -> BaseTrainer | None:
    """The trainer whose method `run_fn` is; None for any other function."""
    owner = getattr(code.function, "__self__", None)
    if owner is None:
        return None
    from polytrainer.executors.backends.base import BaseTrainer

    return owner if isinstance(owner, BaseTrainer) else None
