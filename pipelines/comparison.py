"""What a ModelComparator said of the Trainers' models, and what was pushed, for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore

from polytrainer.executors.comparison.table import FILE
from polytrainer.pipelines import outcomes as outcomes_lib
from polytrainer.pipelines.cli import terminal
from polytrainer.pipelines.cli.terminal import Column
from polytrainer.pipelines.outcomes import Outcome
from polytrainer.proto.comparator_keys import BASELINE

_PAGE = "comparison.html"


@dataclass(frozen=True)
class Comparison:
    """The newest comparison of a pipeline.

    Attributes:
        folder: Of its artifact.
        told: comparison.json.
        pushed: Where its winner was pushed; None if it was not.
    """

    folder: Path
    told: Mapping[str, Any]
    pushed: Path | None

    @property
    def page(self) -> Path:
        """What a person reads: the page; comparison.json where there is none."""
        page = self.folder / _PAGE
        return page if page.exists() else self.folder / FILE


def newest(store: MetadataStore, pipeline: str, comparator: str, pusher: str) -> Comparison:
    """The newest comparison.

    Args:
        store: Of ML Metadata.
        pipeline: Name of the pipeline.
        comparator: Id of the comparing node.
        pusher: Id of the node that pushes the best.

    Raises:
        LookupError: If there is none.
    """
    artifact = outcomes_lib.newest(store, pipeline, comparator, "ModelEvaluation")
    if artifact is None:
        raise LookupError(f"no comparison of {comparator} in the metadata; did the pipeline run to its end?")
    folder = Path(artifact.uri)
    told = json.loads((folder / FILE).read_text())
    return Comparison(folder, told, outcomes_lib.pushed_by(store, pipeline, pusher, artifact.create_time_since_epoch))


def text(found: Comparison, results: Sequence[Outcome], limit: int) -> str:
    """The candidates side by side, what was decided and why, and what was pushed where.

    Args:
        found: The comparison.
        results: What came of the Trainers, which are the candidates.
        limit: Characters in a line of the table.
    """
    told = found.told
    primary, blessed = told["primary_metric"], "blessed" if told["blessed"] else "not blessed"
    lines = [
        table(told, results, limit),
        f"[{100 * told['confidence']:g} % intervals] over {told['rows']:,} rows; beside others by {primary}",
        "",
        f"best by {primary}: {told['best']}, {blessed}. {' '.join(told['reasons'])}",
    ]
    for name, candidate in told["candidates"].items():
        if name != told["best"] and not candidate["blessable"]:
            lines.append(f"{name} could not be blessed. {' '.join(candidate['reasons'])}")
    if found.pushed:
        lines.append(f"{told['best']} is pushed to {outcomes_lib.shown(found.pushed)}")
    else:
        lines.append(f"nothing is pushed{': the baseline stays' if BASELINE in told['models'] else ''}")
    lines += [f"{each.backend}, by itself, to {outcomes_lib.shown(each.pushed)}" for each in results if each.pushed]
    return "\n".join(lines)


def table(told: Mapping[str, Any], results: Sequence[Outcome], limit: int) -> str:
    """A row for each candidate, in the order of the Trainers, then the baseline, if there is one."""
    names = [result.backend for result in results]
    candidates = told["candidates"]
    has_baseline = BASELINE in told["models"]
    below = [""] * has_baseline
    metrics = sorted(candidates[told["best"]]["metrics"], key=lambda name: name != told["primary_metric"])
    columns = [
        Column("model", [*names, *[BASELINE] * has_baseline]),
        Column("framework", [*(result.framework for result in results), *below], rank=6),
        *(
            Column(metric, [_measured(candidates[name], metric) for name in names] + _baseline(told, metric), rank)
            for rank, metric in enumerate(metrics, 2)
        ),
        Column("seconds", [*(f"{result.seconds:.1f}" for result in results), *below], rank=8, right=True),
        Column("Evaluator", [*(_evaluated(result) for result in results), *below], rank=7),
        Column("beside the best", [*(_beside(told, name, told["best"]) for name in names), *below], rank=1),
        Column("beside the baseline", [*(_beside(told, name, BASELINE) for name in names), *below], rank=2),
    ]
    return terminal.table(columns, limit)[0]


def _measured(candidate: Mapping[str, Any], metric: str) -> str:
    """A metric with its interval; nothing for a candidate that could not be measured."""
    value = candidate.get("metrics", {}).get(metric, {}).get("trained")
    if value is None:
        return ""
    interval = candidate["intervals"][metric]
    return f"{value:.3g}" + (f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else "")


def _baseline(told: Mapping[str, Any], metric: str) -> list[str]:
    """The baseline's value, of which every candidate knows, for its row."""
    if BASELINE not in told["models"]:
        return []
    value = told["candidates"][told["best"]]["metrics"][metric]["existing"]
    return ["" if value is None else f"{value:.3g}"]


def _evaluated(result: Outcome) -> str:
    return "" if result.blessed is None else "blessed" if result.blessed else "not blessed"


def _beside(told: Mapping[str, Any], name: str, other: str) -> str:
    """What a candidate is beside another model by the primary metric, in a word or two."""
    if name == other:
        return "the best"
    difference = told["candidates"][name].get("against", {}).get(other)
    return difference[told["primary_metric"]]["verdict"] if difference else ""
