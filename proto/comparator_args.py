"""What a ComparatorArgs means: its defaults, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from polytrainer.proto.comparator_pb2 import ComparatorArgs, MetricThreshold
from polytrainer.proto.problems import Problem

BINARY, MULTICLASS, MULTILABEL, REGRESSION = "BINARY", "MULTICLASS", "MULTILABEL", "REGRESSION"
RANKING = "RANKING"
_MACRO = ("precision_macro", "recall_macro", "f1_macro")
METRICS = {
    BINARY: ("accuracy", "precision", "recall", "f1", "auc", "log_loss"),
    MULTICLASS: ("accuracy", *_MACRO, "log_loss"),
    MULTILABEL: ("accuracy", *_MACRO, "precision_micro", "recall_micro", "f1_micro", "log_loss", "exact_match"),
    REGRESSION: ("mse", "rmse", "mae", "r2"),
    RANKING: ("ndcg", "mrr", "map"),
}
_NDCG_AT = re.compile(r"ndcg@[1-9][0-9]{0,8}")
LESS_IS_BETTER = frozenset(["log_loss", "mse", "rmse", "mae"])


def task(args: ComparatorArgs) -> str:
    """One of the keys of METRICS."""
    return ComparatorArgs.Task.Name(args.task)


def metrics(args: ComparatorArgs) -> tuple[str, ...]:
    """Names of the metrics to compute, in the order of the table; those that only thresholds name come last."""
    asked = list(args.metrics) or list(METRICS[task(args)])
    asked += [args.primary_metric] if args.primary_metric else []
    return tuple(dict.fromkeys([*asked, *(threshold.metric for threshold in args.thresholds)]))


def primary_metric(args: ComparatorArgs) -> str:
    """The metric by which the best is chosen."""
    return args.primary_metric or metrics(args)[0]


def rule(args: ComparatorArgs) -> str:
    """Name of the Rule."""
    return ComparatorArgs.Rule.Name(args.rule or ComparatorArgs.BETTER)


def confidence(args: ComparatorArgs) -> float:
    """Confidence level, of all candidates together."""
    return args.confidence or 0.95


def bootstrap_samples(args: ComparatorArgs) -> int:
    """Draws of the bootstrap."""
    return args.bootstrap_samples or 2000


def slices(args: ComparatorArgs) -> list[tuple[str, ...]]:
    """The features of each kind of slice, in alphabetic order, as slices are named."""
    return [tuple(sorted(each.features)) for each in args.slices]


def gain(metric: str, value: Any, baseline: Any) -> Any:
    """By how much a value is better than the baseline's, or each of an array's; below 0, if it is worse."""
    return baseline - value if metric in LESS_IS_BETTER else value - baseline


def check(args: ComparatorArgs) -> list[Problem]:
    """What no comparison could be meant by."""
    if args.task not in ComparatorArgs.Task.values() or task(args) not in METRICS:
        return [Problem("comparator_args.task", str(args.task), f"one of {', '.join(METRICS)}")]
    problems = [] if args.label_key else [Problem("comparator_args.label_key", "none", "the name of the label")]
    problems += _metrics(args)
    problems += _query_key(args)
    if not 0 <= args.confidence < 1:  # NaN too
        problems.append(Problem("comparator_args.confidence", str(args.confidence), "more than 0 and less than 1"))
    if args.bootstrap_samples < 0:
        problems.append(Problem("comparator_args.bootstrap_samples", str(args.bootstrap_samples), "0 or more"))
    if args.rule not in ComparatorArgs.Rule.values():
        known = ", ".join(list(ComparatorArgs.Rule.keys())[1:])
        problems.append(Problem("comparator_args.rule", str(args.rule), f"one of {known}"))
    for field in ("metrics", "key_features", "splits"):
        problems += _repeated(f"comparator_args.{field}", list(getattr(args, field)))
    for number, each in enumerate(args.slices):
        where = f"comparator_args.slices[{number}].features"
        problems += _repeated(where, list(each.features))
        if not each.features:
            problems.append(Problem(where, "none", "the names of features", "All rows are looked at anyway."))
    for number, threshold in enumerate(args.thresholds):
        problems += _threshold(f"comparator_args.thresholds[{number}]", threshold, slices(args))
    return problems


def _metrics(args: ComparatorArgs) -> Iterator[Problem]:
    known = METRICS[task(args)]
    named = [("metrics", name) for name in args.metrics]
    named += [("primary_metric", args.primary_metric)] if args.primary_metric else []
    named += [(f"thresholds[{number}].metric", each.metric) for number, each in enumerate(args.thresholds)]
    for field, name in named:
        is_at = task(args) == RANKING and _NDCG_AT.fullmatch(name)
        if name not in known and not is_at:
            at = ", or ndcg@k with a whole k of 1 or more, e.g. ndcg@5" if task(args) == RANKING else ""
            expected = f"one of {', '.join(known)}, which are those of {task(args)}{at}"
            yield Problem(f"comparator_args.{field}", repr(name), expected)


def _query_key(args: ComparatorArgs) -> Iterator[Problem]:
    if task(args) == RANKING and not args.query_key:
        yield Problem("comparator_args.query_key", "none", "the feature that names a row's query, as RANKING needs it")
    if task(args) != RANKING and args.query_key:
        expected = f"none, as {task(args)} has no queries"
        yield Problem("comparator_args.query_key", repr(args.query_key), expected, "Is the task RANKING?")
    if args.query_key and args.query_key == args.label_key:
        yield Problem("comparator_args.query_key", repr(args.query_key), "another feature than the label_key")


def _threshold(where: str, threshold: MetricThreshold, known: Sequence[tuple[str, ...]]) -> Iterator[Problem]:
    bounds = [field for field in ("lower", "upper", "min_gain") if threshold.HasField(field)]
    if not bounds:
        yield Problem(where, "no bound", "lower, upper, min_gain, or several of them")
    for field in bounds:
        if getattr(threshold, field) != getattr(threshold, field):
            yield Problem(f"{where}.{field}", "NaN", "a number")
    if {"lower", "upper"} <= set(bounds) and threshold.lower > threshold.upper:
        yield Problem(where, f"lower={threshold.lower} and upper={threshold.upper}", "a lower that is not above upper")
    if threshold.slice_features and tuple(sorted(threshold.slice_features)) not in known:
        expected = "the features of one of comparator_args.slices"
        yield Problem(f"{where}.slice_features", str(list(threshold.slice_features)), expected)


def _repeated(where: str, names: list[str]) -> list[Problem]:
    if len(set(names)) < len(names) or "" in names:
        return [Problem(where, str(names), "different names, none of them empty")]
    return []
