"""The component that compares trained models on the same held-out rows, and blesses the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf.message import Message
from tfx.dsl.components.base import base_beam_component, base_node, executor_spec
from tfx.types import BaseChannel, Channel

from polytrainer.components import notebook
from polytrainer.components.comparator_spec import RESULTS_TYPES, ModelComparatorSpec, check_names, with_candidates
from polytrainer.executors.comparison.executor import ModelComparatorExecutor
from polytrainer.proto import args as args_lib
from polytrainer.proto import comparator_args
from polytrainer.proto import comparator_keys as keys
from polytrainer.proto.comparator_pb2 import ComparatorArgs
from polytrainer.proto.keys import MODEL, TEST_RESULTS
from polytrainer.proto.problems import describe

Compared: TypeAlias = base_node.BaseNode | tuple[BaseChannel, BaseChannel]


class ModelComparator(base_beam_component.BaseBeamComponent):  # type: ignore[misc]
    """Compares models on the same held-out rows, with confidence intervals, and blesses the best of them.

    Reads the `test_results` that Trainers leave, so it needs no model and no framework. Metrics are TFMA's, computed on
    Beam with the pipeline's `beam_pipeline_args`.

    Outputs:
        blessing: `standard_artifacts.ModelBlessing` as TFX's Evaluator writes it, for the best candidate. It names the
            candidate's own model, so that TFX's LatestBlessedModelStrategy finds what the Trainer published.
        best_model: `standard_artifacts.Model`, a copy of the best candidate's, blessed or not: what Pusher is given
            together with `blessing`.
        comparison: `standard_artifacts.ModelEvaluation`: `comparison.json`, and TFMA's own files, which
            `tfma.load_eval_result` reads.

    Example:
        ```python
        comparator = polytrainer.ModelComparator(
            candidates={"keras": keras_trainer, "torch": torch_trainer},
            baseline=(latest.outputs["test_results"], latest.outputs["model"]),
            args=polytrainer.ComparatorArgs(task="MULTICLASS", label_key="species_xf"),
        )
        pusher = tfx.components.Pusher(
            model=comparator.outputs["best_model"],
            model_blessing=comparator.outputs["blessing"],
            push_destination=…,
        )
        ```
    """

    SPEC_CLASS = ModelComparatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ModelComparatorExecutor)

    def __init__(
        self,
        *,
        candidates: Mapping[str, Compared],
        args: ComparatorArgs | Mapping[str, Any] | str,
        baseline: Compared | None = None,
    ):
        """Describes the comparing node.

        Args:
            candidates: By name, each a Trainer, or its channels `(test_results, model)`, the first of type
                `polytrainer.TestResults` or Examples. The name, a Python identifier, is what the comparison calls it.
            args: `polytrainer.ComparatorArgs`, a dict or JSON.
            baseline: What a candidate has to beat, likewise; e.g. what a Resolver with
                `polytrainer.components.latest_blessed.LatestBlessedResults` finds. While it finds nothing, and without
                a baseline, thresholds alone decide.

        Raises:
            ValueError: If there is no candidate, or a name is no identifier; if the args contradict themselves.
            TypeError: If a candidate, a channel or the args are of another type.
        """
        if not candidates:
            raise ValueError("candidates: got none; expected at least one, e.g. {'keras': trainer}.")
        checked = _checked(args)
        check_names(candidates)
        pairs = {name: _channels(f"candidates[{name!r}]", candidate) for name, candidate in candidates.items()}
        types = {name: results.type for name, (results, _) in pairs.items()}
        inputs: dict[str, BaseChannel] = {}
        for name, (results, model) in pairs.items():
            inputs |= {keys.candidate_results(name): results, keys.candidate_model(name): model}
        if baseline is None:
            spec_class = with_candidates(self.SPEC_CLASS, types)
        else:
            results, model = _channels("baseline", baseline)
            inputs |= {keys.BASELINE_RESULTS: results, keys.BASELINE_MODEL: model}
            spec_class = with_candidates(self.SPEC_CLASS, types, results.type)
        outputs = {key: Channel(type=parameter.type) for key, parameter in spec_class.OUTPUTS.items()}
        super().__init__(spec=spec_class(**{keys.COMPARATOR_ARGS: checked}, **inputs, **outputs))
        notebook.register_visualizations()


def _checked(args: Message | Mapping[str, Any] | str) -> ComparatorArgs:
    """The args, after everything that can be checked without running has been."""
    try:
        parsed = args_lib.parse(args, ComparatorArgs)
    except (TypeError, ValueError) as error:
        raise type(error)(f"args: {error}") from error
    problems = comparator_args.check(parsed)
    if problems:
        raise ValueError(describe(problems))
    return parsed


def _channels(where: str, compared: Compared) -> tuple[BaseChannel, BaseChannel]:
    """The channels of test results and of the model."""
    if isinstance(compared, base_node.BaseNode) and {TEST_RESULTS, MODEL} <= set(compared.outputs):
        return compared.outputs[TEST_RESULTS], compared.outputs[MODEL]
    pair = compared if isinstance(compared, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(each, BaseChannel) for each in pair):  # noqa: PLR2004
        raise TypeError(
            f"{where}: got {type(compared).__name__}; expected a Trainer, or the channels (test_results, model)."
        )
    if pair[0].type.TYPE_NAME not in (expected := [kind.TYPE_NAME for kind in RESULTS_TYPES]):
        raise TypeError(
            f"{where}: got a channel of {pair[0].type.TYPE_NAME} for the test results; expected one of "
            f"{' or '.join(expected)}."
        )
    return pair[0], pair[1]
