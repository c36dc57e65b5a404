"""The keys of a ModelComparator's inputs, outputs and execution properties."""

from __future__ import annotations

COMPARATOR_ARGS = "comparator_args"

BASELINE = "baseline"  # what it is called beside the candidates
BASELINE_RESULTS = "baseline_results"
BASELINE_MODEL = "baseline_model"

BLESSING = "blessing"
COMPARISON = "comparison"
BEST_MODEL = "best_model"

_RESULTS = "test_results_"
_MODEL = "model_"


def candidate_results(name: str) -> str:
    """The input key of a candidate's test results."""
    return _RESULTS + name


def candidate_model(name: str) -> str:
    """The input key of a candidate's model."""
    return _MODEL + name


def candidate_name(key: str) -> str | None:
    """The name of the candidate behind an input key of test results; None for any other key."""
    return key[len(_RESULTS) :] if key.startswith(_RESULTS) else None
