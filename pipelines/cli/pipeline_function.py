"""The argument `MODULE:FUNCTION` or `FILE.py:FUNCTION` of commands that take a pipeline."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.proto.problems import Problem


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the argument, as `options.pipeline`."""
    parser.add_argument(
        "pipeline",
        metavar="MODULE:FUNCTION",
        help="a function without arguments that returns a tfx.dsl.Pipeline, in an installed module (package.module:fn) "
        "or in a file (pipeline.py:fn)",
    )


def call(named: str) -> Any:
    """Calls the function.

    A file is imported as a script is run: with its folder on the path, so that it can import its siblings.

    Returns:
        The `tfx.dsl.Pipeline`.

    Raises:
        KubeflowError: If there is no such module, file or function, or if it returns something else. What the user's
            code itself raises passes through, with its traceback.
    """
    where, colon, name = named.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise _refused(named, repr(named), "package.module:function or file.py:function")
    module = _module(named, where)
    function = getattr(module, name, None)
    if not callable(function):
        raise _refused(named, f"no function {name!r} in {where}", "a function that returns a tfx.dsl.Pipeline")
    pipeline = function()
    from tfx.orchestration.pipeline import Pipeline

    if not isinstance(pipeline, Pipeline):
        raise _refused(named, f"a {type(pipeline).__name__} from {name}()", "a tfx.dsl.Pipeline")
    return pipeline


def _module(named: str, where: str) -> ModuleType:
    name, folder = where, Path.cwd()
    if where.endswith(".py"):
        file = Path(where).resolve()
        if not file.is_file():
            raise _refused(named, f"no file {where}", "the path of a Python file")
        name, folder = file.stem, file.parent
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise _refused(
                named, f"no module {error.name!r}", "a module that can be imported from here",
                "Is it installed in this environment?",
            ) from error  # fmt: skip
        raise


def _refused(named: str, got: str, expected: str, remedy: str = "") -> KubeflowError:
    return KubeflowError(Problem(named, got, expected, remedy))
