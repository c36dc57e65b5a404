"""The page of a Trainer node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.executors.frameworks import framework_of, version_of
from polytrainer.executors.names import names_of
from polytrainer.executors.report.raw_rows import RawSplit
from polytrainer.executors.report.run import Run
from polytrainer.executors.report.write import best_effort, write_report
from polytrainer.executors.result import TrainResult
from polytrainer.executors.user_code import UserCode
from polytrainer.executors.verify import WrittenModel


def write_node_report(
    told: Any,
    result: TrainResult,
    user_code: UserCode,
    models: Sequence[WrittenModel],
    seconds: float,
    artifacts: tuple[Mapping[str, Sequence[Any]], Mapping[str, Sequence[Any]]],
    context: Any,
) -> str | None:
    """Writes report.html into the node's ModelRun; whatever is wrong with it is logged and fails nothing.

    Args:
        told: FnArgs.
        result: Of the training.
        user_code: That trained.
        models: That were written.
        seconds: It took.
        artifacts: Those of the inputs, and those of the outputs, by key.
        context: The executor's; None outside of a pipeline.

    Returns:
        Its path; None where it is left out.
    """
    with best_effort():
        framework = result.framework or framework_of(user_code.location)
        inputs, outputs = ({key: [each.uri for each in found] for key, found in each.items()} for each in artifacts)
        run = Run(
            told,
            result,
            seconds,
            (framework, result.framework_version or version_of(framework)),
            (user_code.location.shown, user_code.location.fingerprint),
            names_of(context),
            inputs,
            outputs,
            models[0].signatures if models else (),
            _raw_splits(told, artifacts[0]),
        )
        return write_report(run)
    return None


def _raw_splits(told: Any, inputs: Mapping[str, Sequence[Any]]) -> dict[str, RawSplit]:
    """The raw examples of the splits that are evaluated or tested on, where Transform has made the examples of them."""
    from polytrainer.executors.fn_args import raw_patterns

    splits = {*told.eval_args.splits, *told.eval_args.test_splits} if told.transform_graph_path else set()
    patterns = {split: raw_patterns({key: list(each) for key, each in inputs.items()}, [split]) for split in splits}
    return {split: RawSplit(found, told.transform_graph_path) for split, found in patterns.items() if found}
