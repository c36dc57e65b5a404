"""What a ModelComparator node consumes, is told and produces, in MLMD's terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tfx.types import Artifact, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Evaluate

from polytrainer.proto import comparator_keys as keys
from polytrainer.proto.artifacts import TestResults
from polytrainer.proto.comparator_pb2 import ComparatorArgs


class ModelComparatorSpec(ComponentSpec):  # type: ignore[misc]
    """The spec of `polytrainer.ModelComparator` without its candidates, which `with_candidates` adds."""

    PARAMETERS = {keys.COMPARATOR_ARGS: ExecutionParameter(type=ComparatorArgs)}
    INPUTS = {
        keys.BASELINE_RESULTS: ChannelParameter(type=TestResults, optional=True),
        keys.BASELINE_MODEL: ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {
        keys.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
        keys.COMPARISON: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        keys.BEST_MODEL: ChannelParameter(type=standard_artifacts.Model),
    }
    TYPE_ANNOTATION = Evaluate


# TFX's own type, too: what Trainers left before test results had a type of their own, or were asked for as Examples
RESULTS_TYPES = (TestResults, standard_artifacts.Examples)


def check_names(candidates: Iterable[str]) -> None:
    """Whether candidates can be called so.

    Raises:
        ValueError: If a name is not a Python identifier (runners turn keys into parameters' names), or is "baseline".
    """
    for name in candidates:
        if not isinstance(name, str) or not name.isidentifier() or name == keys.BASELINE:
            raise ValueError(
                f"candidates: got the name {name!r}; expected a Python identifier, e.g. 'keras'; {keys.BASELINE!r} "
                "is what the baseline is called."
            )


def with_candidates(
    spec_class: type[ComponentSpec],
    candidates: Mapping[str, type[Artifact]],
    baseline: type[Artifact] | None = None,
) -> type[ComponentSpec]:
    """A spec that takes the test results and the model of each candidate, under keys that hold its name.

    Args:
        spec_class: The spec to extend.
        candidates: The artifact type of the test results by the candidate's name.
        baseline: The artifact type of the baseline's test results; None without a baseline.
    """
    inputs = dict(spec_class.INPUTS)
    if baseline is not None:
        inputs[keys.BASELINE_RESULTS] = ChannelParameter(type=baseline, optional=True)
    for name, results in candidates.items():
        inputs[keys.candidate_results(name)] = ChannelParameter(type=results)
        inputs[keys.candidate_model(name)] = ChannelParameter(type=standard_artifacts.Model)
    return type(spec_class.__name__, (spec_class,), {"INPUTS": inputs, "__module__": spec_class.__module__})
