"""Arguments of a user's own: which names a trainer's constructor takes beside those it documents."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from polytrainer.executors.backends.user_code_objects import attributes_of_self, functions_of, names_of, own_classes
from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

# attributes that a trainer gets when it runs
_SET_BY_RUN = ("fn_args", "seed", "engine")
# names that other libraries have for what is called otherwise here
_KNOWN_AS = {
    "lr": "learning_rate",
    "metric": "metrics",
    "epochs": "TrainArgs(num_epochs=…)",
    "max_epochs": "TrainArgs(num_epochs=…)",
    "n_epochs": "TrainArgs(num_epochs=…)",
    "steps": "TrainArgs(num_steps=…)",
    "max_steps": "TrainArgs(num_steps=…)",
    "lr_scheduler": "scheduler",
    "criterion": "loss",
    "label": "label_key",
    "target": "label_key",
    "sample_weight": "weight_key",
    "class_weight": "class_weights",
}
_FIELDS = {
    title: {field.name for field in args.DESCRIPTOR.fields}
    for title, args in (("TrainArgs", TrainArgs), ("EvalArgs", EvalArgs))
}


def annotated(kind: type) -> set[str]:
    """Names that a user's classes annotate: `hidden: int = 16`."""
    return {name for cls in own_classes(kind) for name in vars(cls).get("__annotations__", {})}


def check(kind: type, arguments: Mapping[str, Any], documented: Collection[str], *, allow_unknown: bool) -> None:
    """Refuses arguments that nothing uses, which is what a misspelled one is.

    Args:
        kind: The trainer's class.
        arguments: Those of the user's own, by name.
        documented: Names of the constructor's parameters.
        allow_unknown: Whether any name is taken.

    Raises:
        TypeError: If an argument has the name of a method or attribute; if neither the class annotates its name nor
            one of its methods uses it; or if a class attribute has the name of one of the constructor's parameters.
    """
    _check_class_values(kind, documented)
    own = annotated(kind) | set(_class_values(kind))
    taken = sorted(name for name in arguments if hasattr(kind, name) and name not in own)
    if taken:
        raise TypeError(f"{kind.__name__}: got arguments called {taken}, which it needs for its own methods.")
    if allow_unknown:
        return
    used = own | _used_names(kind)
    unknown = [name for name in arguments if name not in used]
    if unknown:
        raise TypeError(_message(kind, unknown, documented, own))


def defaults(kind: type) -> dict[str, Any]:
    """Values of the annotated class attributes, by name."""
    return {name: getattr(kind, name) for name in annotated(kind) if hasattr(kind, name)}


def _used_names(kind: type) -> set[str]:
    """Names that the methods of a user's classes use.

    A name that is likely meant for something of ours (`lr`) must be read from `self`: it may be in the code for another
    reason (`group["lr"]`).
    """
    functions = [function for cls in own_classes(kind) for _, function in functions_of(cls)]
    names = {name for function in functions for name in names_of(function.__code__)}
    ours = {*_KNOWN_AS, *(name for fields in _FIELDS.values() for name in fields)}
    read = {name for function in functions for name in attributes_of_self(function)}
    return (names - ours | read) - {*_SET_BY_RUN}


def _class_values(kind: type) -> dict[str, Any]:
    """Attributes of a user's classes that are values, by name: no methods, nothing that is private."""
    return {
        name: value
        for cls in reversed(own_classes(kind))
        for name, value in vars(cls).items()
        if not name.startswith("_") and not isinstance(value, (type, Callable)) and not hasattr(value, "__get__")  # type: ignore[arg-type]
    }


def _check_class_values(kind: type, documented: Collection[str]) -> None:
    names = sorted(set(_class_values(kind)) & set(documented))
    if names:
        raise TypeError(
            f"{kind.__name__}: got class attributes called {names}, which the constructor's parameters of these "
            f"names would hide; expected them as arguments, {kind.__name__}({names[0]}=…)."
        )


def _message(kind: type, unknown: Collection[str], documented: Collection[str], own: Collection[str]) -> str:
    hints = " ".join(_hint(name, [*documented, *own]) for name in unknown)
    return (
        f"{kind.__name__}: got unknown arguments {sorted(unknown)}; expected some of {sorted({*documented, *own})}, or "
        f"names that the class uses. {hints} An argument of your own is a class attribute with an annotation "
        f"(`hidden: int = 16`), an entry of params={{…}}, or used in a method as self.<name>; allow_unknown=True takes "
        f"any."
    )


def _hint(name: str, known: Collection[str]) -> str:
    if name in _KNOWN_AS:
        return f"{name!r} is called {_KNOWN_AS[name]} here."
    for title, fields in _FIELDS.items():
        if name in fields:
            return f"{name!r} is a field of {title}: {title}({name}=…)."
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {nearest[0]!r} instead of {name!r}?" if nearest else ""
