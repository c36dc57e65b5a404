"""RuntimeParameters of a TFX pipeline in its compiled form."""

from __future__ import annotations

from typing import Any


def add_defaults(pipeline: Any, spec: dict[str, Any]) -> None:
    """Writes their defaults into a compiled pipeline, in place: TFX leaves them out, and KFP then asks for each.

    Args:
        pipeline: The pipeline.
        spec: Its PipelineSpec in the form of JSON.
    """
    from tfx.orchestration.data_types import RuntimeParameter

    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for node in pipeline.components:
        for value in node.exec_properties.values():
            if isinstance(value, RuntimeParameter) and value.default is not None and value.name in declared:
                declared[value.name]["defaultValue"] = value.default
