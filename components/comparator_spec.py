"""What a ModelComparator node consumes, is told and produces, in MLMD's terms."""

from __future__ import annotations

from collections.abc import Iterable

from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Evaluate

from polytrainer.proto import comparator_keys as keys
from polytrainer.proto.comparator_pb2 import ComparatorArgs


class ModelComparatorSpec(ComponentSpec):  # type: ignore[misc]
    """The spec of `polytrainer.ModelComparator` without its candidates, which `with_candidates` adds."""

    PARAMETERS = {keys.COMPARATOR_ARGS: ExecutionParameter(type=ComparatorArgs)}
    INPUTS = {
        keys.BASELINE_RESULTS: ChannelParameter(type=standard_artifacts.Examples, optional=True),
        keys.BASELINE_MODEL: ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {
        keys.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
        keys.COMPARISON: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        keys.BEST_MODEL: ChannelParameter(type=standard_artifacts.Model),
    }
    TYPE_ANNOTATION = Evaluate


def with_candidates(spec_class: type[ComponentSpec], names: Iterable[str]) -> type[ComponentSpec]:
    """A spec that takes the test results and the model of each candidate, under keys that hold its name.

    Raises:
        ValueError: If a name is not a Python identifier (runners turn keys into parameters' names), or is "baseline".
    """
    inputs = dict(spec_class.INPUTS)
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or name == keys.BASELINE:
            raise ValueError(
                f"candidates: got the name {name!r}; expected a Python identifier, e.g. 'keras'; {keys.BASELINE!r} "
                "is what the baseline is called."
            )
        inputs[keys.candidate_results(name)] = ChannelParameter(type=standard_artifacts.Examples)
        inputs[keys.candidate_model(name)] = ChannelParameter(type=standard_artifacts.Model)
    return type(spec_class.__name__, (spec_class,), {"INPUTS": inputs, "__module__": spec_class.__module__})
