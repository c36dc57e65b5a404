"""Features of any name within an Estimator's graph, where feature columns call scopes by them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import tensorflow as tf
from tensorflow.python.feature_column import feature_column_v2

_NOT_OF_A_SCOPE = re.compile(r"[^A-Za-z0-9_.\\/>-]", re.ASCII)
_NOT_AT_THE_BEGINNING = re.compile(r"^[^A-Za-z0-9.]", re.ASCII)


@contextmanager
def any_feature_name(features: Collection[str]) -> Iterator[None]:
    """Within the context, feature columns may have names that TensorFlow refuses to call a scope by ("area error").

    Names that TensorFlow takes remain as they are, and so do those of variables, which checkpoints are read by; but not
    where two features' variables would have the same name ("area error" and "area_error").

    Args:
        features: All names of features.
    """
    name_scope, variable_scope = tf.Graph.name_scope, feature_column_v2._sanitize_column_name_for_variable_scope
    distinct = _distinct(features, variable_scope)

    def any_name_scope(graph: Any, name: str | None) -> AbstractContextManager[str]:
        scope: AbstractContextManager[str] = name_scope(graph, _taken(graph, name) if isinstance(name, str) else name)
        return scope

    def distinct_variable_scope(column: str) -> str:
        feature = next((name for name in distinct if column == name or column.startswith(f"{name}_")), "")
        scope: str = variable_scope(distinct.get(feature, "") + column.removeprefix(feature))
        return scope

    tf.Graph.name_scope = any_name_scope
    feature_column_v2._sanitize_column_name_for_variable_scope = distinct_variable_scope
    try:
        yield
    finally:
        tf.Graph.name_scope = name_scope
        feature_column_v2._sanitize_column_name_for_variable_scope = variable_scope


def _taken(graph: Any, name: str) -> str:
    name = _NOT_OF_A_SCOPE.sub("_", name)
    return name if graph.get_name_scope() else _NOT_AT_THE_BEGINNING.sub(".", name)


def _distinct(features: Collection[str], variable_scope: Any) -> Mapping[str, str]:
    """Other names for those features whose scope of variables another one has already, the longest first."""
    scopes = {name for name in features if variable_scope(name) == name}
    others: dict[str, str] = {}
    for name in sorted(set(features) - scopes):
        scope, number = variable_scope(name), 2
        while scope in scopes:
            scope, number = f"{variable_scope(name)}_{number}", number + 1
        scopes.add(scope)
        if scope != variable_scope(name):
            others[name] = scope
    return {name: others[name] for name in sorted(others, key=len, reverse=True)}
