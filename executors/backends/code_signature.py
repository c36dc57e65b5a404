"""A checksum of a user's code, by which an edited one is told from what it was."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from polytrainer.executors.backends.user_code_objects import functions_of, names_of, own_classes

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_OURS = "polytrainer"
_INSTALLED = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib")})


def code_signature(kind: type) -> str:
    """A checksum of the methods of a user's classes, and of what of the user's they refer to.

    That are functions, classes and constants (NAMES_IN_CAPITALS) of modules that are not installed, e.g. the model's
    class beside the trainer's. Comments and line numbers do not count; nor do attributes of the trainer's class: what
    a training follows from is an argument of it.
    """
    code = _Code()
    trainers = own_classes(kind)
    code.known.update(trainers)
    for cls in trainers:
        code.add_methods(cls)
    return hashlib.sha256(repr(sorted(code.parts.items())).encode()).hexdigest()


class _Code:
    """Descriptions of functions, classes and constants by their full names."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.known: set[Any] = set()

    def add(self, value: type | FunctionType) -> None:
        """Adds a function, or a class and those of the user's that it inherits from."""
        for each in value.__mro__ if isinstance(value, type) else (value,):
            if each in self.known or not _is_own(each):
                continue
            self.known.add(each)
            if isinstance(each, FunctionType):
                self._add_function(_full_name(each), each)
            else:
                self.add_methods(each)
                values = [(key, _described(held)) for key, held in vars(each).items() if _is_plain(held)]
                self.parts[f"{_full_name(each)}:values"] = repr(sorted(pair for pair in values if pair[0][0] != "_"))

    def add_methods(self, cls: type) -> None:
        """Adds the methods of a class."""
        for key, function in functions_of(cls):
            self._add_function(f"{_full_name(cls)}.{key}", function)

    def _add_function(self, name: str, function: FunctionType) -> None:
        # two of a name, as a property's getter and setter have, are both described
        defaults = tuple(each for each in function.__defaults__ or () if _is_plain(each))
        self.parts[name] = self.parts.get(name, "") + _described(function.__code__) + _described(defaults)
        for key, value in _referenced(function):
            if _is_plain(value):
                self.parts[f"{function.__module__}:{key}"] = _described(value)
            elif isinstance(value, (type, FunctionType)):
                self.add(value)


def _referenced(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Constants, functions and classes that a function names, also as `module.name`."""
    names = set(names_of(function.__code__))
    for name in sorted(names):
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            if _is_own_module(value):
                yield from ((each, vars(value)[each]) for each in sorted(names & set(vars(value))) if each != name)
        elif value is not None and (name.isupper() or not _is_plain(value)):
            yield name, value


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, (tuple, frozenset)) and all(map(_is_plain, value)))


def _full_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _is_own(value: Any) -> bool:
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    return module is not None and _is_own_module(module)


def _is_own_module(module: ModuleType) -> bool:
    """Whether it is of the user's: neither ours, nor built in, nor in the folders of the standard library or of pip."""
    file = getattr(module, "__file__", None)
    if module.__name__ == "__main__":
        return True
    if module.__name__.partition(".")[0] == _OURS or file is None:
        return False
    return not str(Path(file).resolve()).startswith(_INSTALLED)


def _described(value: Any) -> str:
    """Instructions, names and constants of a function, and of those inside of it; the same in each process."""
    if isinstance(value, CodeType):
        names = value.co_names, value.co_varnames, value.co_freevars
        return f"{value.co_code.hex()}{names}{_described(value.co_consts)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_described, value))})"
    if isinstance(value, frozenset):  # of `x in {"a", "b"}`: its order is another in each process
        return f"{{{', '.join(sorted(map(_described, value)))}}}"
    return repr(value)
