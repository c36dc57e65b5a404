"""The command of every step on open-source Kubeflow Pipelines: `python -m polytrainer.pipelines.kubeflow.entrypoint`.

It takes the arguments of TFX's own, `tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor`, which was
written for Vertex, mends what the two services do differently, and hands over to it. Nothing here is about the
components of polytrainer: any component of TFX runs so.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow import beam, executor_output, file_driver
from polytrainer.pipelines.kubeflow import executor_input as executor_input_lib
from polytrainer.pipelines.kubeflow.mirrors import Mirrors


def main() -> None:
    """The command line."""
    from absl import app

    _tfx()  # before arguments are parsed: it brings flags of its own
    app.run(run, flags_parser=_parse)


def run(parsed: tuple[argparse.Namespace, list[str]]) -> None:
    """Runs one step. What its code raises goes through as it is, and is the exit status.

    Args:
        parsed: The arguments that TFX's own entrypoint knows, and those for Beam.
    """
    from google.protobuf import json_format

    arguments, beam_args = parsed
    mirrors = Mirrors.from_environment()
    try:
        executor_input = executor_input_lib.parse(arguments.json_serialized_invocation_args)
        output_file = executor_input.outputs.output_file
        _prepare(executor_input, arguments, beam_args, mirrors)
    except KubeflowError as error:
        sys.exit(f"polytrainer: {error}")
    arguments.json_serialized_invocation_args = json_format.MessageToJson(executor_input)
    _tfx().main((arguments, beam_args))
    executor_output.rewrite(executor_input.outputs.output_file, output_file, mirrors)


def _prepare(executor_input: Any, arguments: argparse.Namespace, beam_args: list[str], mirrors: Mirrors) -> None:
    """Brings the step's ExecutorInput into TFX's form, makes the folders of outputs, and runs its driver."""
    inputs_spec = executor_input_lib.parse_inputs_spec(arguments.json_serialized_inputs_spec_args)
    executor_input_lib.adapt(executor_input, inputs_spec)
    if beam.runs_elsewhere(arguments.executor_class_path, beam_args):
        beam.keep_in_the_store(executor_input, beam_args)
    else:
        executor_input_lib.mirror_uris(executor_input, mirrors)
        _make_folders(executor_input)
    if file_driver.is_needed(executor_input):
        file_driver.run(executor_input, inputs_spec)


def _make_folders(executor_input: Any) -> None:
    """Makes the folders of outputs, as TFX's other runners do; the launcher makes only what is around them."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as utils
    from tfx.orchestration.portable import outputs_utils

    outputs_utils.make_output_dirs(utils.parse_raw_artifact_dict(executor_input.outputs.artifacts))


def _tfx() -> Any:
    """TFX's own entrypoint."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    return kubeflow_v2_run_executor


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    from absl.flags import argparse_flags

    parser = argparse_flags.ArgumentParser(description=__doc__)
    parser.add_argument("--executor_class_path", required=True, help="the executor's class, <module>.<class>")
    parser.add_argument(executor_input_lib.INVOCATION_FLAG, required=True, help="the step's ExecutorInput, as JSON")
    parser.add_argument(executor_input_lib.INPUTS_SPEC_FLAG, help="the component's ComponentInputsSpec, as JSON")
    parsed: tuple[argparse.Namespace, list[str]] = parser.parse_known_args(argv[1:])
    return parsed


if __name__ == "__main__":
    main()
