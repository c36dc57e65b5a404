"""What a user's classes consist of: functions, and the names that these use."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_OURS = "polytrainer.executors."


def own_classes(kind: type) -> list[type]:
    """The user's classes among those that a trainer inherits from."""
    return [cls for cls in kind.__mro__ if cls is not object and not cls.__module__.startswith(_OURS)]


def functions_of(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """The functions that a class defines: methods of every kind, what properties are made of, classes inside of it."""
    for name, value in vars(cls).items():
        if isinstance(value, type) and value.__qualname__ == f"{cls.__qualname__}.{name}":
            yield from ((f"{name}.{inner}", function) for inner, function in functions_of(value))
        for member in (value.fget, value.fset) if isinstance(value, property) else (value,):
            yield from ((name, function) for function in _functions_in(member))


def names_of(code: CodeType) -> Iterator[str]:
    """Names that a function uses, and words in it (`getattr(self, "hidden")`), in functions inside of it, too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_of(constant)
        elif isinstance(constant, str):
            yield constant


def attributes_of_self(function: FunctionType) -> set[str]:
    """Names that a method reads from its first argument."""
    code = function.__code__
    return set(_attributes_of(code.co_varnames[0], code)) if code.co_argcount else set()


def _attributes_of(name: str, code: CodeType) -> Iterator[str]:
    before: Any = None
    for instruction in dis.get_instructions(code):
        follows = before == name or (isinstance(before, tuple) and before[-1:] == (name,))
        if follows and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_CONST"):
            yield str(instruction.argval)
        before = instruction.argval if instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) else None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _attributes_of(name, constant)


def _functions_in(member: Any) -> Iterator[FunctionType]:
    """The function that a member of a class is, or is made of: a classmethod, a cached_property, a decorated one."""
    function = getattr(member, "__func__", getattr(member, "func", member))
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if isinstance(function, FunctionType):
        yield function
        for cell in function.__closure__ or ():  # a decorator without functools.wraps holds the method there
            held = cell.cell_contents if _is_filled(cell) else None
            if isinstance(held, FunctionType) and held is not function:
                yield held


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
