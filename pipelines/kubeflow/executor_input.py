"""What Kubeflow Pipelines hands to a step, made into what TFX's container entrypoint expects."""

from __future__ import annotations

from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.mirrors import Mirrors
from polytrainer.proto.problems import Problem

INVOCATION_FLAG = "--json_serialized_invocation_args"
INPUTS_SPEC_FLAG = "--json_serialized_inputs_spec_args"
LOGS = "executor-logs"  # an output that the launcher adds for itself
_SCHEMA_2_1 = (
    "Compile the pipeline with polytrainer.pipelines.kubeflow.compile, or with use_pipeline_spec_2_1=True in "
    "KubeflowV2DagRunnerConfig."
)


def parse(invocation: str) -> Any:
    """The ExecutorInput of a step.

    Fields that this machine's kfp-pipeline-spec does not know are left out, as TFX does: a launcher may be newer.

    Raises:
        KubeflowError: It is none, or does not say where the step's output is to be told.
    """
    from kfp.pipeline_spec import pipeline_spec_pb2

    executor_input = _parsed(invocation, pipeline_spec_pb2.ExecutorInput(), INVOCATION_FLAG)
    if not executor_input.outputs.output_file:
        raise KubeflowError(Problem(INVOCATION_FLAG, "an ExecutorInput without outputs.outputFile", "a path there"))
    return executor_input


def parse_inputs_spec(spec: str | None) -> Any:
    """The ComponentInputsSpec of a step, empty where the pipeline was compiled without one.

    Raises:
        KubeflowError: It is none.
    """
    from kfp.pipeline_spec import pipeline_spec_pb2

    return _parsed(spec or "{}", pipeline_spec_pb2.ComponentInputsSpec(), INPUTS_SPEC_FLAG)


def adapt(executor_input: Any, inputs_spec: Any) -> None:
    """Changes an ExecutorInput of open-source Kubeflow Pipelines into one that TFX understands, but for its URIs.

    Args:
        executor_input: Is changed in place.
        inputs_spec: The step's ComponentInputsSpec.

    Raises:
        KubeflowError: An input has no type, and `inputs_spec` has none for it.
    """
    drop_logs(executor_input)
    fill_types(executor_input, inputs_spec)
    unwrap_metadata(executor_input)


def drop_logs(executor_input: Any) -> None:
    """Removes the output that is the launcher's own: its type, system.Artifact, is no class of TFX."""
    executor_input.outputs.artifacts.pop(LOGS, None)


def fill_types(executor_input: Any, inputs_spec: Any) -> None:
    """Gives each input that comes without a type the one that the component declares.

    Raises:
        KubeflowError: It declares none.
    """
    for name, artifacts in executor_input.inputs.artifacts.items():
        for artifact in artifacts.artifacts:
            if _is_of_tfx(artifact.type):
                continue
            if name not in inputs_spec.artifacts:
                expected = f"its type in {INPUTS_SPEC_FLAG}"
                raise KubeflowError(Problem(f"input {name!r}", "an artifact without a type", expected, _SCHEMA_2_1))
            artifact.type.CopyFrom(inputs_spec.artifacts[name].artifact_type)


def unwrap_metadata(executor_input: Any) -> None:
    """Undoes what the launcher does to lists and mappings in the metadata of artifacts.

    It keeps them in ML Metadata as `{"list": [...]}` and `{"struct": {...}}` (converter.go) and leaves them so.
    """
    for artifacts in executor_input.inputs.artifacts.values():
        for artifact in artifacts.artifacts:
            for value in artifact.metadata.fields.values():
                inner = _wrapped(value)
                if inner is not None:
                    value.CopyFrom(inner)


def mirror_uris(executor_input: Any, mirrors: Mirrors) -> None:
    """Replaces URIs of artifacts by where they are on this machine."""
    for lists in (executor_input.inputs.artifacts, executor_input.outputs.artifacts):
        for artifacts in lists.values():
            for artifact in artifacts.artifacts:
                artifact.uri = mirrors.path(artifact.uri)


def _parsed(text: str, message: Any, flag: str) -> Any:
    from google.protobuf import json_format

    try:
        return json_format.Parse(text, message, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        kind = type(message).__name__
        remedy = "The compiled step passes it; a step that was started by hand has to pass it, too."
        raise KubeflowError(Problem(flag, f"{_short(text)} ({error})", f"the JSON of a {kind}", remedy)) from error


def _short(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[:length] + "…")


def _is_of_tfx(kind: Any) -> bool:
    """Whether a type says a class: Kubeflow's own, `system.Model` and so on, are known to Kubeflow alone."""
    said = getattr(kind, kind.WhichOneof("kind") or "schema_title")
    return bool(said) and not said.startswith("system.")


def _wrapped(value: Any) -> Any:
    if value.WhichOneof("kind") != "struct_value" or len(value.struct_value.fields) != 1:
        return None
    [(name, inner)] = value.struct_value.fields.items()
    held = {"list": "list_value", "struct": "struct_value"}.get(name)
    if held is None or inner.WhichOneof("kind") != held:
        return None
    copy = type(inner)()
    copy.CopyFrom(inner)  # `inner` is a part of what it is to replace
    return copy
