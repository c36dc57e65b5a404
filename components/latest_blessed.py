"""Finds what a ModelComparator's candidates have to beat: the latest blessed model, with its test results."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from polytrainer.components.comparator_spec import RESULTS_TYPES
from polytrainer.proto.artifacts import TestResults

_CURRENT_MODEL_ID, _BLESSED = "current_model_id", "blessed"  # of tfx.components.evaluator.constants
_MODEL, _BLESSING = (kind.TYPE_NAME for kind in (standard_artifacts.Model, standard_artifacts.ModelBlessing))
_RESULTS = tuple(kind.TYPE_NAME for kind in RESULTS_TYPES)


class LatestBlessedResults(resolver.ResolverStrategy):  # type: ignore[misc]
    """Resolves the newest blessed Model, its ModelBlessing, and the test results that the same execution put out.

    As TFX's LatestBlessedModelStrategy, whose model it finds, and beside it what that model said of the held-out rows.
    Until a model is blessed, it finds nothing. The channel of test results is of the type that Trainers publish them
    with: Examples, if they do so with `test_results_as_examples`.

    Example:
        ```python
        latest = tfx.dsl.Resolver(
            strategy_class=LatestBlessedResults,
            model=tfx.dsl.Channel(type=standard_artifacts.Model),
            model_blessing=tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
            test_results=tfx.dsl.Channel(type=polytrainer.TestResults),
        ).with_id("latest_blessed")
        comparator = polytrainer.ModelComparator(
            candidates={"torch": trainer}, baseline=(latest.outputs["test_results"], latest.outputs["model"]), args=…
        )
        ```
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Picks among all artifacts of the three channels.

        Args:
            store: MLMD's.
            input_dict: One channel each of Model, ModelBlessing and TestResults (or Examples), under any keys.

        Raises:
            ValueError: If the channels are others; if they are of Examples, while the newest blessed model's test
                results are of the type TestResults.
        """
        by_type: dict[str, str] = {}
        for key, artifacts in input_dict.items():
            by_type |= {type(artifact).TYPE_NAME: key for artifact in artifacts[:1]}
        of_results = [name for name in _RESULTS if name in by_type]
        if len(input_dict) != 3 or len(of_results) > 1 or not set(by_type) <= {_MODEL, _BLESSING, *_RESULTS}:  # noqa: PLR2004
            got = f"the channels {sorted(input_dict)} of {sorted(by_type)}"
            expected = f"one each of {_MODEL}, {_BLESSING} and {_RESULTS[0]}"
            raise ValueError(f"LatestBlessedResults: got {got}; expected {expected}.")
        nothing: dict[str, list[types.Artifact]] = {key: [] for key in input_dict}
        if not {_MODEL, _BLESSING} <= set(by_type):
            return nothing
        results_key = next(key for key in input_dict if key not in (by_type[_MODEL], by_type[_BLESSING]))
        blessed = _latest_blessings(input_dict[by_type[_BLESSING]])
        for model in sorted(input_dict[by_type[_MODEL]], key=lambda each: -int(each.id)):
            if model.id not in blessed:
                continue
            beside = _outputs_beside(store, model)
            results = [each for each in input_dict[results_key] if each.id in beside]
            if results:
                newest = max(results, key=lambda each: int(each.id))
                return {by_type[_MODEL]: [model], by_type[_BLESSING]: [blessed[model.id]], results_key: [newest]}
            if other := _results_of_another_type(store, beside):
                return _of_another_type(model, results_key, other, nothing)
        return nothing


def _latest_blessings(blessings: list[types.Artifact]) -> dict[int, types.Artifact]:
    """The newest positive blessing of each model, by the model's id."""
    return {
        blessing.get_int_custom_property(_CURRENT_MODEL_ID): blessing
        for blessing in sorted(blessings, key=lambda each: int(each.id))
        if blessing.get_int_custom_property(_BLESSED) == 1
    }


def _outputs_beside(store: Any, model: types.Artifact) -> set[int]:
    """Ids of all that an execution put out together with a model."""
    from ml_metadata.proto import metadata_store_pb2

    output = metadata_store_pb2.Event.OUTPUT
    executions = {event.execution_id for event in store.get_events_by_artifact_ids([model.id]) if event.type == output}
    events = store.get_events_by_execution_ids(list(executions)) if executions else []
    return {event.artifact_id for event in events if event.type == output}


def _results_of_another_type(store: Any, ids: set[int]) -> str | None:
    """The type of the test results among some artifacts; None where there are none."""
    names = {artifact.type for artifact in store.get_artifacts_by_id(list(ids))}
    return next((name for name in _RESULTS if name in names), None)


def _of_another_type(
    model: types.Artifact, key: str, other: str, nothing: dict[str, list[types.Artifact]]
) -> dict[str, list[types.Artifact]]:
    """Nothing where a store is older than the channel's type; else an error, lest an older winner be the baseline."""
    got = f"LatestBlessedResults: the newest blessed model, {model.id}, has test results of type {other}, which the"
    if other == TestResults.TYPE_NAME:
        raise ValueError(
            f"{got} channel {key!r} leaves out; expected a channel of that type. Give the Resolver "
            f"{key}=tfx.dsl.Channel(type=polytrainer.TestResults), or the Trainer test_results_as_examples=True."
        )
    logging.warning("%s channel %r of %s leaves out: there is no baseline in this run.", got, key, _RESULTS[0])
    return nothing
