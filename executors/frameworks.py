"""Which framework is the user's code written in?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from polytrainer.executors.user_code import Location

_OURS = "polytrainer."
# The first whose names a module uses is its framework; tensorflow, which others read data with, comes last.
_NAMES = {
    "pytorch": ("torch", "lightning", "pytorch_lightning", _OURS + "TorchTrainer"),
    "estimator": (
        "tensorflow.estimator",
        "tensorflow.compat.v1.estimator",
        "tensorflow_estimator",
        _OURS + "EstimatorTrainer",
    ),
    "keras": ("keras", "tf_keras", "tensorflow.keras", _OURS + "KerasTrainer"),
    "jax": ("jax", "flax"),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "scikit-learn": ("sklearn",),
    "tensorflow": ("tensorflow",),
}
_TRAINER_CLASSES = tuple(_OURS + name for name in ("TorchTrainer", "EstimatorTrainer", "KerasTrainer"))
_DISTRIBUTIONS = {"pytorch": "torch", "estimator": "tensorflow-estimator"}


def framework_of(location: Location) -> str:
    """The framework that the user's module imports: its own imports first, else those of its siblings.

    Returns:
        "pytorch", "estimator", "keras", "jax", "xgboost", "lightgbm", "scikit-learn", "tensorflow" or "unknown".
    """
    own = _framework(set(_used(location.source)))
    if own not in ("tensorflow", "unknown"):
        return own
    siblings = {name for source in location.sources.values() for name in _used(source)}
    return _framework(siblings)


def uses_trainer_class(location: Location) -> bool:
    """Whether the user's module itself names one of polytrainer's trainer classes."""
    return any(name.startswith(_TRAINER_CLASSES) for name in _used(location.source))


def version_of(framework: str) -> str:
    """The installed version of a framework, or "unknown"."""
    try:
        return version(_DISTRIBUTIONS.get(framework, framework))
    except PackageNotFoundError:
        return "unknown"


def _framework(used: set[str]) -> str:
    for framework, prefixes in _NAMES.items():
        if any(name == prefix or name.startswith(f"{prefix}.") for name in used for prefix in prefixes):
            return framework
    return "unknown"


def _used(source: bytes) -> Iterator[str]:
    """Dotted names of what a module imports and of the attributes it takes from that: `tf.keras` → tensorflow.keras."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                aliases[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (dotted := _dotted(node)):
            first, _, rest = dotted.partition(".")
            if first in aliases:
                yield f"{aliases[first]}.{rest}"


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        value = _dotted(node.value)
        return f"{value}.{node.attr}" if value else None
    return None
