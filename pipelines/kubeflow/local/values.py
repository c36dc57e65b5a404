"""Values of parameters: google.protobuf.Value as Kubeflow Pipelines reads, checks and writes it."""

from __future__ import annotations

import json
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.proto.problems import Problem

_KINDS = {
    "NUMBER_DOUBLE": "number_value",
    "NUMBER_INTEGER": "number_value",
    "BOOLEAN": "bool_value",
    "LIST": "list_value",
    "STRUCT": "struct_value",
}


def text(value: str) -> Any:
    """A string as a Value."""
    from google.protobuf import struct_pb2

    return struct_pb2.Value(string_value=value)


def as_text(value: Any) -> str:
    """A Value in a command (PbValueToText in metadata/converter.go)."""
    from google.protobuf import json_format

    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return str(value.string_value)
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number.is_integer() else repr(number)
    if kind in (None, "null_value"):
        return ""
    return json.dumps(json_format.MessageToDict(value), separators=(",", ":"))


def from_text(where: str, said: str, spec: Any) -> Any:
    """What a person, or a file, says of a parameter, as a Value (TextToPbValue in metadata/converter.go).

    Args:
        where: What an error is to call the parameter.
        said: The text.
        spec: The parameter's ParameterSpec.

    Raises:
        KubeflowError: It is no value of the parameter's type.
    """
    from google.protobuf import json_format, struct_pb2

    kind = type_of(spec)
    if kind == "STRING":
        return text(said)
    try:
        value = json_format.Parse(said.strip(), struct_pb2.Value())
    except json_format.ParseError:
        value = text(said)
    if value.WhichOneof("kind") != _KINDS.get(kind):
        raise KubeflowError(Problem(where, repr(said), f"a {kind}"))
    return value


def conform(where: str, given: Any, name: str, spec: Any) -> None:
    """Checks a parameter against its declaration, as the driver does (handleParamTypeValidationAndConversion).

    Args:
        where: What an error is to call the parameter.
        given: All values by name; one that is to be text is made text in place.
        name: The parameter.
        spec: Its ParameterSpec.

    Raises:
        KubeflowError: There is no value and no default, or a value of another type.
    """
    kind = type_of(spec)
    if name not in given:
        if not spec.is_optional and not spec.HasField("default_value"):
            raise KubeflowError(Problem(where, "neither a value nor a default", f"a {kind}"))
        return
    if kind == "STRING":
        given[name].string_value = as_text(given[name])
    elif given[name].WhichOneof("kind") != _KINDS.get(kind):
        raise KubeflowError(Problem(where, repr(as_text(given[name])), f"a {kind}"))


def type_of(spec: Any) -> str:
    """The name of a parameter's type, e.g. NUMBER_INTEGER."""
    from kfp.pipeline_spec import pipeline_spec_pb2

    return str(pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name(spec.parameter_type))
