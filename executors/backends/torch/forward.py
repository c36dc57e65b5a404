"""How a model is called with the features: as one dict, or by the names in its signature."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import nn

from polytrainer.proto.problems import Problem

Features = Mapping[str, Any]
Parameters = Mapping[str, inspect.Parameter]


def caller(model: Callable[..., Any], feature_names: Collection[str] | None = None) -> Callable[[Features], Any]:
    """A function from the features, by name, to the model's outputs; what it does is decided once, not at each call.

    A model whose `forward` names features gets these, by keyword, and no others; one that takes `**kwargs` gets all.
    One with a single required parameter gets the dict there, if no parameter has a feature's name or if this one is
    annotated as a dict or Mapping, and it is not annotated as a Tensor.

    Args:
        model: A module, perhaps compiled or in DistributedDataParallel and the like, or a function.
        feature_names: Names of the features in each batch, label excluded. None: those of the first batch.

    Raises:
        ValueError: If the model needs something that is no feature; with None, at the first call.
    """
    if feature_names is not None:
        return _by_names(model, feature_names)
    decided: Callable[[Features], Any] | None = None

    def call(features: Features) -> Any:
        nonlocal decided
        if decided is None:
            decided = _by_names(model, features)
        return decided(features)

    return call


def check(model: Callable[..., Any], feature_names: Collection[str]) -> None:
    """Looks whether a model can be called with these features.

    Raises:
        ValueError: If its `forward` needs something that is no feature.
    """
    _by_names(model, feature_names)


def _by_names(model: Callable[..., Any], feature_names: Collection[str]) -> Callable[[Features], Any]:
    parameters = _parameters(model)
    if parameters is None or _takes_dict(parameters, feature_names):
        return model
    keywords = _keywords(parameters, feature_names)
    if set(keywords) == set(feature_names):
        return lambda features: model(**features)

    def call(features: Features) -> Any:
        return model(**{name: features[name] for name in keywords})

    return call


def _keywords(parameters: Parameters, feature_names: Collection[str]) -> list[str]:
    """The features that a signature asks for."""
    by_name = {name: parameter for name, parameter in parameters.items() if parameter.kind in _BY_NAME}
    required = [name for name, parameter in parameters.items() if _is_required(parameter)]
    missing = sorted(name for name in required if name not in feature_names or name not in by_name)
    if missing:
        expected = f"parameters that are features, which are {', '.join(sorted(feature_names)) or 'none'}"
        remedy = "Give the others a default, or take all features as one dict: `def forward(self, features)`."
        raise ValueError(str(Problem("forward", f"the parameters {', '.join(missing)}", expected, remedy)))
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return list(feature_names)
    keywords = [name for name in by_name if name in feature_names]
    if not keywords:
        got = f"the parameters {', '.join(parameters) or '()'}"
        expected = f"at least one feature, of {', '.join(sorted(feature_names)) or 'none'}, or one dict of them"
        raise ValueError(str(Problem("forward", got, expected)))
    return keywords


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.kind not in _VARIABLE and parameter.default is inspect.Parameter.empty


def _takes_dict(parameters: Parameters, feature_names: Collection[str]) -> bool:
    first = next(iter(parameters.values()), None)
    if first is None or first.kind not in _BY_POSITION:
        return False
    if any(parameter is not first and _is_required(parameter) for parameter in parameters.values()):
        return False
    if _is_mapping(first.annotation):
        return True
    if first.annotation is torch.Tensor or any(name in feature_names for name in parameters):
        return False
    return _is_required(first) or all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def _is_mapping(annotation: Any) -> bool:
    """Whether it is a dict, a Mapping or the like, with or without its arguments."""
    if isinstance(annotation, str):  # one that could not be evaluated
        return re.match(r"(\w+\.)*(Ordered|default|Typed)?([dD]ict|(Mutable)?Mapping)\b", annotation) is not None
    kind = typing.get_origin(annotation) or annotation
    return isinstance(kind, type) and kind is not inspect.Parameter.empty and issubclass(kind, Mapping)


def _parameters(model: Callable[..., Any]) -> Parameters | None:
    """What `forward` takes, less self; None where nothing says so (a scripted module, a C function)."""
    inner = inner_module(model)
    function = inner.forward if isinstance(inner, nn.Module) else inner
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # a name that exists only for a type checker, or no function
        hints = {}
    return {
        name: parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in signature.parameters.items()
    }


def inner_module(model: Any) -> Any:
    """The module in its wrappers: torch.compile's `_orig_mod`, and `module` where forward says nothing itself."""
    while isinstance(model, nn.Module):
        inner = getattr(model, "_orig_mod", None) or (getattr(model, "module", None) if _is_opaque(model) else None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner
    return model


def _is_opaque(module: nn.Module) -> bool:
    """Whether its forward is `(*args, **kwargs)`, as that of DistributedDataParallel and FullyShardedDataParallel."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return False
    return all(parameter.kind in _VARIABLE for parameter in parameters)
