"""The executor of a ModelComparator node: from test results to a blessing."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact

from polytrainer.proto import args as args_lib
from polytrainer.proto import (
    artifacts,  # noqa: F401 - where MLMD alone knows a type, TFX finds its class among those that are imported
    comparator_args,
)
from polytrainer.proto import comparator_keys as keys
from polytrainer.proto.comparator_pb2 import ComparatorArgs

Artifacts = dict[str, list[Artifact]]


class ModelComparatorExecutor(base_beam_executor.BaseBeamExecutor):  # type: ignore[misc]
    """Compares what models said of the same rows, and blesses the best."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Compares.

        Args:
            input_dict: Artifacts by the keys of `ModelComparatorSpec.INPUTS`, and those of the candidates.
            output_dict: The `blessing`, `comparison` and `best_model` artifacts to write; their properties are set.
            exec_properties: `comparator_args`, as JSON.

        Raises:
            ComparisonError: If the test results cannot be compared; says what is wrong with which.
        """
        # a pipeline definition imports this class: what a run needs is imported when there is one
        from polytrainer.executors.comparison import decision, measuring, participants, publish, statistics, table
        from polytrainer.executors.comparison.page.write import write_page
        from polytrainer.executors.names import names_of

        self._log_startup(input_dict, output_dict, exec_properties)
        args = args_lib.parse(exec_properties[keys.COMPARATOR_ARGS], ComparatorArgs)
        compared = participants.resolve(input_dict)
        splits = participants.splits_to_compare(compared, args)
        args.example_weight_key = args.example_weight_key or participants.own_weight_key(compared, splits)
        candidates = [each for each in compared if not each.is_baseline]
        settings = statistics.Settings.of(args, len(candidates))
        [comparison], [blessing], [best_model] = (
            output_dict[key] for key in (keys.COMPARISON, keys.BLESSING, keys.BEST_MODEL)
        )

        found = measuring.measure(
            self._make_beam_pipeline, self._get_tmp_dir(), comparison.uri, compared, splits, args, settings
        )
        verdicts = {
            each.name: decision.judge(each.name, found.values, found.differences_of(each.name), args, settings)
            for each in candidates
            if each.name in found.known.usable
        }
        for each in candidates:
            if each.warning and each.name in verdicts:
                verdicts[each.name].notes.append(each.warning)
                logging.warning("%s: %s", each.name, each.warning)
        best = decision.best(verdicts, found.values, args)
        document = table.document(
            compared, splits, found.known, args, settings, found.values, found.told, found.summaries, verdicts, best
        )
        by_name = {each.name: each for each in compared}
        publish.write_comparison(comparison, document)
        publish.copy_model(best_model, by_name[best])
        publish.write_blessing(
            blessing,
            by_name[best],
            by_name.get(keys.BASELINE),
            verdicts[best].is_good,
            exec_properties.get("current_component_id"),
        )
        page = write_page(comparison, document, compared, found.known, args, names_of(self._context))
        primary = comparator_args.primary_metric(args)
        logging.info("Best by %s: %s, %s See %s", primary, best, _said(document), page or comparison.uri)


def _said(document: dict[str, Any]) -> str:
    blessed = "blessed" if document["blessed"] else "not blessed"
    return f"{blessed}: {' '.join(document['reasons'])}"
