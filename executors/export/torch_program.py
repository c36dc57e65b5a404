"""Reads programs of torch.export without running code that their files hold.

`torch.export.load` (PyTorch 2.14 and 2.15) reads the parts of a program that are pickled with `weights_only=True` and,
where that fails, without: who can write the file has code run by who reads it. PyTorch's own switch against it
is an environment variable, TORCH_FORCE_WEIGHTS_ONLY_LOAD.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_FORCED, _REFUSED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_lock = threading.Lock()


class UntrustedProgramError(ValueError):
    """A program holds pickled objects that are not tensors; reading them would run code."""


def load_program(file: Any, name: str) -> ExportedProgram:
    """Reads a program.

    Args:
        file: A path, or a file that is open for reading bytes.
        name: What it is called in an error.

    Raises:
        UntrustedProgramError: If something is pickled in it that could run code.
    """
    import torch

    try:
        with _weights_only():
            return torch.export.load(file)
    except pickle.UnpicklingError as error:
        remedy = (
            "Export the model again without custom objects (torch.classes, ScriptObjects), from a source you trust."
        )
        first = str(error).strip().splitlines()[0] if str(error).strip() else "pickle"
        got = f"a program with pickled objects, which could run code when they are read ({first})"
        raise UntrustedProgramError(str(Problem(name, got, "tensors only", remedy))) from error


@contextmanager
def _weights_only() -> Iterator[None]:
    with _lock:
        before = {name: os.environ.pop(name, None) for name in (_FORCED, _REFUSED)}
        os.environ[_FORCED] = "1"
        try:
            yield
        finally:
            del os.environ[_FORCED]
            os.environ.update({name: value for name, value in before.items() if value is not None})
