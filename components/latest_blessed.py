"""Finds what a ModelComparator's candidates have to beat: the latest blessed model, with its test results."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

_CURRENT_MODEL_ID, _BLESSED = "current_model_id", "blessed"  # of tfx.components.evaluator.constants


class LatestBlessedResults(resolver.ResolverStrategy):  # type: ignore[misc]
    """Resolves the newest blessed Model, its ModelBlessing, and the Examples that the same execution put out.

    As TFX's LatestBlessedModelStrategy, whose model it finds, and beside it what that model said of the held-out rows.
    Until a model is blessed, it finds nothing.

    Example:
        ```python
        latest = tfx.dsl.Resolver(
            strategy_class=LatestBlessedResults,
            model=tfx.dsl.Channel(type=standard_artifacts.Model),
            model_blessing=tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
            test_results=tfx.dsl.Channel(type=standard_artifacts.Examples),
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
            input_dict: One channel each of Model, ModelBlessing and Examples, under any keys.

        Raises:
            ValueError: If the channels are others.
        """
        by_type: dict[str, str] = {}
        for key, artifacts in input_dict.items():
            by_type |= {type(artifact).TYPE_NAME: key for artifact in artifacts[:1]}
        kinds = (standard_artifacts.Model, standard_artifacts.ModelBlessing, standard_artifacts.Examples)
        expected = [kind.TYPE_NAME for kind in kinds]
        if len(input_dict) != len(kinds) or not set(by_type) <= set(expected):
            got = f"the channels {sorted(input_dict)} of {sorted(by_type)}"
            raise ValueError(f"LatestBlessedResults: got {got}; expected one each of {', '.join(expected)}.")
        found: dict[str, list[types.Artifact]] = {key: [] for key in input_dict}
        if len(by_type) < len(kinds):
            return found
        models, blessings, results = (input_dict[by_type[name]] for name in expected)
        blessed = {
            blessing.get_int_custom_property(_CURRENT_MODEL_ID): blessing
            for blessing in sorted(blessings, key=lambda each: int(each.id))
            if blessing.get_int_custom_property(_BLESSED) == 1
        }
        for model in sorted(models, key=lambda each: -int(each.id)):
            of_model = _put_out_beside(store, model, results)
            if model.id in blessed and of_model:
                chosen = (model, blessed[model.id], of_model[-1])
                return {**found, **{by_type[name]: [each] for name, each in zip(expected, chosen, strict=True)}}
        return found


def _put_out_beside(store: Any, model: types.Artifact, results: list[types.Artifact]) -> list[types.Artifact]:
    """The test results that an execution put out together with a model, the newest last."""
    from ml_metadata.proto import metadata_store_pb2

    output = metadata_store_pb2.Event.OUTPUT
    executions = {event.execution_id for event in store.get_events_by_artifact_ids([model.id]) if event.type == output}
    beside = {
        event.artifact_id
        for event in (store.get_events_by_execution_ids(list(executions)) if executions else [])
        if event.type == output
    }
    return sorted((each for each in results if each.id in beside), key=lambda each: int(each.id))
