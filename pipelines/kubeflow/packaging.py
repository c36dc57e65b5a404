"""User modules that TFX packages when a pipeline is compiled, as wheels under the pipeline's root."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

_FUNCTIONS = {"Trainer": "run_fn", "Transform": "preprocessing_fn", "Tuner": "tuner_fn"}


def scheme(uri: str) -> str:
    """`gs` of `gs://bucket/folder`; empty for a path."""
    return uri.partition("://")[0] if "://" in uri else ""


def can_write(root: str) -> bool:
    """Whether TFX writes to addresses like this one from here: to S3 not with TensorFlow alone, to MinIO never."""
    return scheme(root) == "gs" or (scheme(root) == "s3" and find_spec("tensorflow_io") is not None)


def files_to_package(node: Any) -> dict[str, str]:
    """Paths of the user modules that a node brings, by the argument that names them."""
    arguments = [getattr(each, "module_file_key", None) for each in _dependencies(node)]
    found = {argument: node.exec_properties.get(argument) for argument in arguments if argument}
    return {argument: path for argument, path in found.items() if isinstance(path, str) and path}


def local_wheels(node: Any) -> list[str]:
    """Wheels on this machine, which an earlier run of the same pipeline object made."""
    return [
        each for each in _dependencies(node) if isinstance(each, str) and not scheme(each) and each.endswith(".whl")
    ]


def remedy(node: Any) -> str:
    """What a node takes in place of a file: `run_fn="package.module.run_fn"`."""
    kinds = {kind.__name__ for kind in type(node).__mro__}
    function = next((function for kind, function in _FUNCTIONS.items() if kind in kinds), None)
    return f'{function}="package.module.{function}"' if function else "the dotted path of its function"


def _dependencies(node: Any) -> list[Any]:
    return list(getattr(node, "_pip_dependencies", []))
