"""Which candidate is the best, and whether it is blessed, with the reasons in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polytrainer.executors.comparison import slicing, statistics
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_keys import BASELINE
from polytrainer.proto.comparator_pb2 import ComparatorArgs, MetricThreshold

Values = Mapping[str, Mapping[str, Mapping[str, float | None]]]  # slice → model → metric → value


@dataclass
class Verdict:
    """What is said of a candidate.

    Attributes:
        thresholds: For each threshold, and each slice it is about, whether it holds.
        reasons: Why it is not good enough; empty if it is.
        notes: What else is worth knowing.
    """

    thresholds: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether it may be blessed."""
        return not self.reasons


def judge(
    name: str, values: Values, differences: Mapping[str, Any], args: ComparatorArgs, settings: statistics.Settings
) -> Verdict:
    """Looks at thresholds and, where there is a baseline, at the rule.

    Args:
        name: Of the candidate.
        values: Of all models.
        differences: Of the candidate to each other model, over all rows, from `statistics.summary`.
        args: What is asked.
        settings: How sure one wants to be.
    """
    verdict = Verdict()
    for threshold in args.thresholds:
        for slice_name in _slices_of(threshold, values):
            of_slice = values[slice_name]
            checks = _checks(threshold, of_slice[name][threshold.metric], of_slice.get(BASELINE, {}))
            for check in checks:
                check["slice"] = slicing.of(slice_name)
                verdict.thresholds.append(check)
                if not check["held"]:
                    verdict.reasons.append(_missed(check))
    if BASELINE not in values[slicing.ALL_ROWS]:
        verdict.notes.append("There is no baseline to beat: the thresholds alone decide.")
        return verdict
    primary = comparator_args.primary_metric(args)
    said = statistics.verdict(differences[BASELINE][primary], settings.pair_confidence)
    sentence = f"By {primary} it is {_WORDS[said]} the baseline at the confidence level {settings.pair_confidence:.6g}."
    rule = comparator_args.rule(args)
    is_refused = (rule == "BETTER" and said != statistics.BETTER) or (rule == "NOT_WORSE" and said == statistics.WORSE)
    (verdict.reasons if is_refused else verdict.notes).append(sentence)
    return verdict


def best(verdicts: Mapping[str, Verdict], values: Values, args: ComparatorArgs) -> str:
    """The candidate with the best primary metric, among those that may be blessed, if there is one.

    Of equals, the first by name.
    """
    primary = comparator_args.primary_metric(args)

    def rank(name: str) -> tuple[bool, float]:
        value = values[slicing.ALL_ROWS][name][primary]
        gain = float("-inf") if value is None else comparator_args.gain(primary, value, 0.0)
        return verdicts[name].is_good, gain

    return max(sorted(verdicts), key=rank)


_WORDS = {
    statistics.BETTER: "better than",
    statistics.WORSE: "worse than",
    statistics.UNCLEAR: "not distinguishable from",
}


def _slices_of(threshold: MetricThreshold, values: Values) -> Sequence[str]:
    features = sorted(threshold.slice_features)
    return sorted(each for each in values if sorted(slicing.of(each)) == features)


def _checks(
    threshold: MetricThreshold, value: float | None, baseline: Mapping[str, float | None]
) -> list[dict[str, Any]]:
    """What a threshold says of a value; a value that is not defined holds none."""
    found = []
    for bound in ("lower", "upper", "min_gain"):
        if not threshold.HasField(bound) or (bound == "min_gain" and not baseline):
            continue
        limit, got = getattr(threshold, bound), value
        if bound == "min_gain":
            other = baseline[threshold.metric]
            got = None if value is None or other is None else comparator_args.gain(threshold.metric, value, other)
        held = got is not None and (got <= limit if bound == "upper" else got >= limit)
        found.append({"metric": threshold.metric, "bound": bound, "limit": limit, "value": got, "held": held})
    return found


def _missed(check: Mapping[str, Any]) -> str:
    where = " and ".join(f"{feature} = {word}" for feature, word in check["slice"].items())
    what = {"lower": "at least", "upper": "at most", "min_gain": "a gain over the baseline of at least"}[check["bound"]]
    got = "not defined" if check["value"] is None else f"{check['value']:.6g}"
    subject = f"The gain in {check['metric']}" if check["bound"] == "min_gain" else check["metric"].capitalize()
    place = f" where {where}" if where else ""
    return f"{subject}{place} is {got}; asked for is {what} {check['limit']:.6g}."
