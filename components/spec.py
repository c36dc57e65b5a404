"""What a Trainer node consumes, is told and produces, in MLMD's terms."""

from __future__ import annotations

from collections.abc import Mapping

from tfx.types import BaseChannel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Train

from polytrainer.proto import keys
from polytrainer.proto.artifacts import TestResults
from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs


class TrainerSpec(ComponentSpec):  # type: ignore[misc]
    """The spec of `polytrainer.Trainer`: that of every TFX Trainer from 1.15 to 1.21 together, and `test_results`.

    Keys and artifact types are TFX's own, so that downstream components, TensorBoard integrations and MLMD queries
    written for TFX's Trainer find what they look for.
    """

    PARAMETERS = {
        keys.TRAIN_ARGS: ExecutionParameter(type=TrainArgs),
        keys.EVAL_ARGS: ExecutionParameter(type=EvalArgs),
        keys.EXPORT_ARGS: ExecutionParameter(type=ExportArgs, optional=True),
        keys.MODULE_FILE: ExecutionParameter(type=str, optional=True),
        keys.MODULE_PATH: ExecutionParameter(type=str, optional=True),
        keys.RUN_FN: ExecutionParameter(type=str, optional=True),
        keys.TRAINER_FN: ExecutionParameter(type=str, optional=True),
        keys.CUSTOM_CONFIG: ExecutionParameter(type=str, optional=True),
        keys.RESUME: ExecutionParameter(type=int, optional=True),
        keys.CLUSTER: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        keys.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        keys.RAW_EXAMPLES: ChannelParameter(type=standard_artifacts.Examples, optional=True),
        keys.TRANSFORM_GRAPH: ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
        keys.SCHEMA: ChannelParameter(type=standard_artifacts.Schema, optional=True),
        keys.STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
        keys.BASE_MODEL: ChannelParameter(type=standard_artifacts.Model, optional=True),
        keys.HYPERPARAMETERS: ChannelParameter(type=standard_artifacts.HyperParameters, optional=True),
    }
    OUTPUTS = {
        keys.MODEL: ChannelParameter(type=standard_artifacts.Model),
        keys.MODEL_RUN: ChannelParameter(type=standard_artifacts.ModelRun),
        keys.TEST_RESULTS: ChannelParameter(type=TestResults),
    }
    TYPE_ANNOTATION = Train


def with_results_as_examples(spec_class: type[ComponentSpec]) -> type[ComponentSpec]:
    """A spec whose test results are of TFX's type Examples, which its own components read.

    Raises:
        ValueError: If the spec has no test results.
    """
    if keys.TEST_RESULTS not in spec_class.OUTPUTS:
        raise ValueError(
            f"test_results_as_examples: got True, with a SPEC_CLASS whose outputs are {sorted(spec_class.OUTPUTS)}; "
            f"expected one with {keys.TEST_RESULTS!r}."
        )
    outputs = {**spec_class.OUTPUTS, keys.TEST_RESULTS: ChannelParameter(type=standard_artifacts.Examples)}
    return type(spec_class.__name__, (spec_class,), {"OUTPUTS": outputs, "__module__": spec_class.__module__})


def with_extra_inputs(spec_class: type[ComponentSpec], extra_inputs: Mapping[str, BaseChannel]) -> type[ComponentSpec]:
    """A spec that takes further channels, each under the key `extra_inputs_<name>`.

    Args:
        spec_class: The spec to extend.
        extra_inputs: Channels of any artifact type by the name under which the user's code will see them.

    Raises:
        ValueError: If a name is not a Python identifier (runners turn it into a parameter's name).
        TypeError: If a value is not a channel.
    """
    if not extra_inputs:
        return spec_class
    inputs = dict(spec_class.INPUTS)
    for name, channel in extra_inputs.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"extra_inputs: got the name {name!r}; expected a Python identifier, e.g. 'vocabulary'.")
        if not isinstance(channel, BaseChannel):
            raise TypeError(
                f"extra_inputs[{name!r}]: got {type(channel).__name__}; expected a channel, e.g. "
                "another_component.outputs['key']."
            )
        inputs[keys.extra_input(name)] = ChannelParameter(type=channel.type)
    return type(spec_class.__name__, (spec_class,), {"INPUTS": inputs, "__module__": spec_class.__module__})
