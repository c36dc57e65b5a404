"""comparison.json: the table of all models, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.executors.comparison import slicing, statistics
from polytrainer.executors.comparison.checks import Checked
from polytrainer.executors.comparison.decision import Values, Verdict
from polytrainer.executors.comparison.participants import Participant
from polytrainer.executors.provenance import Provenance
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_keys import BASELINE
from polytrainer.proto.comparator_pb2 import ComparatorArgs

FILE = "comparison.json"


def document(
    compared: Sequence[Participant],
    splits: Sequence[str],
    known: Checked,
    args: ComparatorArgs,
    settings: statistics.Settings,
    values: Values,
    told: Mapping[str, Any],
    summaries: Mapping[str, Mapping[str, Any]],
    verdicts: Mapping[str, Verdict],
    best: str,
) -> dict[str, Any]:
    """Everything that was found, as JSON can hold it.

    Args:
        compared: All models.
        splits: Names of the splits.
        known: What is known of the rows.
        args: What was asked.
        settings: How sure one wanted to be.
        values: Of the metrics: slice → model → metric.
        told: slice → model → what `metrics.read` found.
        summaries: slice → what `statistics.summary` says.
        verdicts: Of the candidates that can be compared.
        best: Name of the best.
    """

    def of_slice(name: str, candidate: str) -> dict[str, Any]:
        mine, summary = values[name][candidate], summaries[name]
        existing = values[name].get(BASELINE, {})
        result = {
            "rows": summary["rows"],
            "metrics": {metric: {"trained": value, "existing": existing.get(metric)} for metric, value in mine.items()},
            "intervals": summary["intervals"][candidate],
            "existing_intervals": summary["intervals"].get(BASELINE),
            "against": {
                other: _with_verdicts(of_metric, settings.pair_confidence)
                for other, of_metric in summary["differences"][candidate].items()
            },
        }
        if "queries" in summary:
            result["queries"] = summary["queries"]
        if "confusion_matrix" in told[name][candidate]:
            existing_matrix = told[name].get(BASELINE, {}).get("confusion_matrix")
            matrices = {"trained": told[name][candidate]["confusion_matrix"], "existing": existing_matrix}
            result["confusion_matrix"] = matrices
        return result

    candidates = {
        name: {
            "blessable": verdict.is_good,
            "reasons": verdict.reasons,
            "notes": verdict.notes,
            "thresholds": verdict.thresholds,
            **of_slice(slicing.ALL_ROWS, name),
            "slices": [
                {"slice": slicing.of(each), **of_slice(each, name)}
                for each in sorted(values)
                if each != slicing.ALL_ROWS
            ],
        }
        for name, verdict in verdicts.items()
    }
    candidates |= {name: {"blessable": False, "reasons": [f"{why}."]} for name, why in known.broken.items()}
    return {
        "best": best,
        "blessed": verdicts[best].is_good,
        "reasons": verdicts[best].reasons or verdicts[best].notes,
        "task": comparator_args.task(args),
        "label_key": args.label_key,
        "primary_metric": comparator_args.primary_metric(args),
        "rule": comparator_args.rule(args),
        "confidence": settings.confidence,
        "confidence_of_differences": settings.pair_confidence,
        "splits": list(splits),
        "rows": known.rows,
        "class_names": {str(number): word for number, word in known.class_names.items()},
        "models": {
            each.name: {
                "uri": each.model.uri,
                "id": each.model.id,
                "test_results": each.results.uri,
                **_trained_with(Provenance.of_artifact(each.model)),
            }
            for each in compared
        },
        "candidates": candidates,
    }


def _trained_with(provenance: Provenance) -> dict[str, Any]:
    return {
        "arguments": dict(provenance.arguments),
        "hyperparameters": dict(provenance.hyperparameters),
        "base_model": provenance.base_model or None,
    }


def _with_verdicts(of_metric: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    return {
        metric: {**difference, "verdict": statistics.verdict(difference, confidence)}
        for metric, difference in of_metric.items()
    }
