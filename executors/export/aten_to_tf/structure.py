"""Arguments and results of a program: nested on the outside, a flat list of leaves on the inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from polytrainer.executors.export.aten_to_tf.errors import ConversionError
from polytrainer.proto.problems import Problem


def leaves(template: Any, value: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Walks a value that has a template's structure.

    Args:
        template: The structure: dicts, tuples, lists and NamedTuples; anything else is a leaf.
        value: What is walked; a dict's order does not matter.
        path: Where in the arguments this is.

    Yields:
        The path, the template's leaf and the value's leaf.

    Raises:
        ConversionError: If the value's structure is another one.
    """
    if isinstance(template, Mapping):
        if not isinstance(value, Mapping) or set(value) != set(template):
            raise _other(path, value, f"a dict of {sorted(template)}")
        for key, each in template.items():
            yield from leaves(each, value[key], f"{path}[{key!r}]")
    elif isinstance(template, (tuple, list)):
        if not isinstance(value, Sequence) or len(value) != len(template):
            raise _other(path, value, f"a {type(template).__name__} of {len(template)}")
        for number, each in enumerate(template):
            yield from leaves(each, value[number], f"{path}[{number}]")
    else:
        yield path, template, value


def plain(value: Any, *, with_none: bool = True) -> Any:
    """A value as TensorFlow takes it.

    Args:
        value: What may hold dataclasses and dicts of any kind, which become dicts.
        with_none: Whether these dicts keep what is None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not isinstance(value, Mapping):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each, with_none=with_none) for key, each in value.items() if with_none or each is not None}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(plain(each, with_none=with_none) for each in value))
    if isinstance(value, (tuple, list)):
        return type(value)(plain(each, with_none=with_none) for each in value)
    return value


def _other(path: str, value: Any, expected: str) -> ConversionError:
    got = f"a dict of {sorted(value)}" if isinstance(value, Mapping) else type(value).__name__
    if isinstance(value, Sequence) and not isinstance(value, str):
        got = f"a {type(value).__name__} of {len(value)}"
    return ConversionError(Problem(f"the argument {path}", got, expected))
