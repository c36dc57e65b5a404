"""Whether a checkpoint is of the training that is to go on from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

_SHOWN = 3
_REMEDY = (
    "Was the code edited since? Undo that, or start afresh with resume=False, in Trainer(…) or fit(…); what was "
    "trained before is then gone."
)


def kinds(objects: Sequence[Any]) -> list[str]:
    """Names of the classes of some objects, as a checkpoint keeps them."""
    return [type(each).__name__ for each in objects]


def check(
    weights: Mapping[str, Any],
    saved_weights: Mapping[str, Any],
    parts: Mapping[str, tuple[list[str], list[str]]],
    where: str,
) -> None:
    """Compares a training with a checkpoint, before anything is taken from it.

    Args:
        weights: Of the model, by name.
        saved_weights: Those of the checkpoint.
        parts: By what they are, the kinds of the training's optimizers, schedulers and callbacks, and the checkpoint's.
        where: The checkpoint's place, for the error.

    Raises:
        PreflightError: If they are not of the same training.
    """
    problems = [
        Problem(f"the {name}", f"{_listed(now)}, but {_listed(saved)} in the checkpoint {where}", "the same", _REMEDY)
        for name, (now, saved) in parts.items()
        if now != saved
    ]
    differences = [f"no {name}" for name in weights if name not in saved_weights]
    differences += [f"{name}, which the model has not" for name in saved_weights if name not in weights]
    differences += [
        f"{name} of shape {list(saved_weights[name].shape)}, which has {list(value.shape)} now"
        for name, value in weights.items()
        if name in saved_weights and _shape(value) != _shape(saved_weights[name])
    ]
    if differences:
        more = f", and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        got = f"a checkpoint of another model, {where}: {'; '.join(differences[:_SHOWN])}{more}"
        problems.append(Problem("the model", got, "the same weights by name and shape", _REMEDY))
    if problems:
        raise PreflightError(problems)


@contextmanager
def fits(part: str) -> Iterator[None]:
    """Turns any error of taking over a part of a checkpoint's state, within the context, into one that says what to do.

    Args:
        part: What it is, for the error.

    Raises:
        PreflightError: If there is one: code that was edited is how it comes about.
    """
    try:
        yield
    except PreflightError:
        raise
    except Exception as error:
        got = f"a state in the checkpoint that does not fit ({type(error).__name__}: {error})"
        raise PreflightError([Problem(part, got, "the state of the same training", _REMEDY)]) from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)
