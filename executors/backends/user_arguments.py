"""Arguments of a user's own: which names a trainer's constructor takes beside those it documents."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

_OURS = "polytrainer.executors."
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
    return {name for cls in _own_classes(kind) for name in vars(cls).get("__annotations__", {})}


def check(kind: type, arguments: Mapping[str, Any], documented: Collection[str], *, allow_unknown: bool) -> None:
    """Refuses arguments that nothing uses, which is what a misspelled one is.

    Args:
        kind: The trainer's class.
        arguments: Those of the user's own, by name.
        documented: Names of the constructor's parameters.
        allow_unknown: Whether any name is taken.

    Raises:
        TypeError: If an argument has the name of a method or attribute; or if neither the class annotates its name nor
            one of its methods uses it.
    """
    own = annotated(kind)
    taken = sorted(name for name in arguments if hasattr(kind, name) and name not in own)
    if taken:
        raise TypeError(f"{kind.__name__}: got arguments called {taken}, which it needs for its own methods.")
    if allow_unknown:
        return
    used = own | {name for cls in _own_classes(kind) for name in _names_in(cls)}
    unknown = [name for name in arguments if name not in used]
    if unknown:
        raise TypeError(_message(kind, unknown, documented, own))


def defaults(kind: type) -> dict[str, Any]:
    """Values of the annotated class attributes, by name."""
    return {name: getattr(kind, name) for name in annotated(kind) if hasattr(kind, name)}


def code_signature(kind: type) -> str:
    """A checksum of the code of a user's classes, by which an edited one is told from what it was."""
    digest = hashlib.sha256()
    for cls in _own_classes(kind):
        for name, function in sorted(_functions(cls)):
            digest.update(f"{cls.__qualname__}.{name}:{_described(function.__code__)}".encode())
    return digest.hexdigest()


def _described(code: CodeType) -> str:
    """Instructions, names and constants of a function, and of those inside of it."""
    constants = [_described(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()}{code.co_names}{code.co_varnames}{constants}"


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


def _own_classes(kind: type) -> list[type]:
    """The user's classes among those that a trainer inherits from."""
    return [cls for cls in kind.__mro__ if cls is not object and not cls.__module__.startswith(_OURS)]


def _functions(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """The functions that a class defines: methods of every kind, and what properties are made of."""
    for name, value in vars(cls).items():
        members = (value.fget, value.fset) if isinstance(value, property) else (value,)
        for member in members:
            function = getattr(member, "__func__", getattr(member, "func", member))  # a classmethod, a cached_property
            function = getattr(function, "__wrapped__", function)
            if isinstance(function, FunctionType):
                yield name, function


def _names_in(cls: type) -> Iterator[str]:
    """Names that the methods of a class use, in functions inside of them, too."""
    for _, function in _functions(cls):
        yield from _names_of(function.__code__)


def _names_of(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of(constant)
        elif isinstance(constant, str):  # getattr(self, "hidden")
            yield constant
