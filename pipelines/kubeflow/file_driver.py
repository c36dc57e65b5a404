"""The driver of file-based ExampleGens, which Vertex runs before the step and open-source Kubeflow Pipelines does not.

It finds the newest span and version, and fingerprints the files; without it `{SPAN}` in an input pattern would stay as
it is.
"""

from __future__ import annotations

import argparse
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.proto.problems import Problem

_INPUT_BASE, _INPUT_CONFIG, _EXAMPLES = "input_base", "input_config", "examples"


def is_needed(executor_input: Any) -> bool:
    """Whether the step is a file-based ExampleGen, by the parameters that only they have."""
    parameters = executor_input.inputs.parameter_values
    outputs = executor_input.outputs.artifacts
    return _INPUT_BASE in parameters and _INPUT_CONFIG in parameters and _EXAMPLES in outputs


def run(executor_input: Any, inputs_spec: Any) -> None:
    """Runs TFX's driver; what it finds goes into the step's output file, where TFX's executor looks for it.

    What it says of the Examples themselves (span, version, fingerprint) the service would keep; here it is added to
    `executor_input`, which is changed in place.

    Raises:
        KubeflowError: The input is in a store that TFX cannot read.
    """
    from google.protobuf import json_format
    from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver

    _check(executor_input.inputs.parameter_values[_INPUT_BASE].string_value)
    driver.main(
        argparse.Namespace(
            json_serialized_invocation_args=json_format.MessageToJson(executor_input),
            json_serialized_inputs_spec_args=json_format.MessageToJson(inputs_spec),
        )
    )
    _keep(executor_input)


def _check(input_base: str) -> None:
    if input_base.startswith("minio://"):
        raise KubeflowError(
            Problem(
                _INPUT_BASE,
                input_base,
                "a folder of a mounted volume, or a URI that TFX can read",
                "The launcher mirrors artifacts alone, not what a parameter names; MinIO can be read as s3:// where "
                "apache-beam[aws] is installed.",
            )
        )


def _keep(executor_input: Any) -> None:
    """Adds what the driver wrote of the Examples to those of the step."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.dsl.io import fileio

    with fileio.open(executor_input.outputs.output_file) as file:
        found = json_format.Parse(file.read(), pipeline_spec_pb2.ExecutorOutput())
    [told] = found.artifacts[_EXAMPLES].artifacts
    [examples] = executor_input.outputs.artifacts[_EXAMPLES].artifacts
    examples.metadata.MergeFrom(told.metadata)
