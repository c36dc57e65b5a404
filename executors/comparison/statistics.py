"""Better by more than chance: pure functions of sums over groups of rows, which Beam makes of any number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING, Any

from polytrainer.executors.comparison import formulas
from polytrainer.executors.comparison.layout import Layout
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_args import RANKING

if TYPE_CHECKING:
    from numpy.typing import NDArray

Interval = tuple[float, float]


@dataclass(frozen=True)
class Settings:
    """How sure one wants to be.

    Attributes:
        confidence: Level of the interval of one model's metric.
        pair_confidence: Level of the interval of a difference.
        samples: Draws of the bootstrap.
        seed: Of the draws.
        is_weighted: Whether rows have weights.
    """

    confidence: float
    pair_confidence: float
    samples: int
    seed: int
    is_weighted: bool

    @classmethod
    def of(cls, args: Any, candidates: int) -> Settings:
        """What args ask for.

        The chance that any of several candidates no better than the baseline is called better is that of one: each is
        compared at 1 - (1 - confidence) / candidates. O. J. Dunn: Multiple comparisons among means, Journal of the
        American Statistical Association 56, 1961 (Bonferroni's inequality).
        """
        confidence = comparator_args.confidence(args)
        each = 1 - (1 - confidence) / max(candidates, 1)
        samples = comparator_args.bootstrap_samples(args)
        return cls(confidence, each, samples, args.seed, bool(args.example_weight_key))


def summary(sums: NDArray[Any], layout: Layout, settings: Settings) -> dict[str, Any]:
    """What sums say: intervals of each model's metrics, and of each two models' differences.

    The bootstrap is paired: a draw takes the same rows for all models. It draws groups of rows, into which rows come by
    a hash, in place of rows, each as often as Poisson's distribution with mean 1 says. B. Efron, R. Tibshirani: An
    Introduction to the Bootstrap, 1993, chapter 13 (percentile interval); N. Chamandy, O. Muralidharan, A. Najmi, S.
    Naidu: Estimating Uncertainty for Massive Data Streams, Google, 2012 (Poisson); K. Wolter: Introduction to Variance
    Estimation, 2007, chapter 2 (random groups).

    Args:
        sums: `[groups, layout.width]`.
        layout: What they are.
        settings: How sure one wants to be.

    Returns:
        `values`: model → metric → its value, None where it is not defined. `queries` of RANKING: how many count.
        `intervals`: model → metric → [low, high]. `differences`: model → other model → metric → `interval` of the gain
        of the one over the other, above 0 where it is better; and for accuracy of one class, without weights,
        `p_value`.
    """
    import numpy as np

    sums = sums[np.any(sums != 0, axis=1)]
    total = sums.sum(axis=0)
    counts = {name: formulas.groups(name, layout.of_model(sums, layout.models[0])) for name in layout.metrics}
    drawn = draws(sums, settings.samples, settings.seed)
    values = {
        model: {name: formulas.value(name, layout.of_model(drawn, model), layout.task) for name in layout.metrics}
        for model in layout.models
    }
    points = {
        model: {
            name: _number(formulas.value(name, layout.of_model(total, model), layout.task)) for name in layout.metrics
        }
        for model in layout.models
    }
    intervals = {
        model: {metric: interval(each, settings.confidence, counts[metric]) for metric, each in of_model.items()}
        for model, of_model in values.items()
    }
    differences: dict[str, dict[str, Any]] = {model: {} for model in layout.models}
    for model, other in permutations(layout.models, 2):
        differences[model][other] = {
            metric: {"interval": interval(gain, settings.pair_confidence, counts[metric])}
            for metric in layout.metrics
            for gain in [comparator_args.gain(metric, values[model][metric], values[other][metric])]
        }
        if layout.is_paired and not settings.is_weighted and "accuracy" in layout.metrics:
            alone, other_alone = layout.right_alone(total, model, other), layout.right_alone(total, other, model)
            differences[model][other]["accuracy"]["p_value"] = mcnemar(round(alone), round(other_alone))
    found = {"values": points, "intervals": intervals, "differences": differences}
    if layout.task == RANKING:
        found["queries"] = round(float(layout.of_model(total, layout.models[0])[formulas.QUERIES]))
    return found


def _number(value: NDArray[Any]) -> float | None:
    return float(value) if abs(value) < float("inf") else None


def verdict(difference: dict[str, Any], confidence: float) -> str:
    """What a difference says: "better", "worse" or "not distinguishable".

    Better and worse are said only if the interval leaves 0 out, and McNemar's test, where there is one, rejects that
    the models are alike.
    """
    low, high = difference["interval"] or (0, 0)
    if difference.get("p_value", 0.0) > 1 - confidence:
        return UNCLEAR
    return BETTER if low > 0 else WORSE if high < 0 else UNCLEAR


BETTER, WORSE, UNCLEAR = "better", "worse", "not distinguishable"


def draws(sums: NDArray[Any], samples: int, seed: int) -> NDArray[Any]:
    """Sums of resampled groups: `[groups, width]` → `[samples, width]`; draws of nothing at all are left out."""
    weights = _weights(len(sums), samples, seed)
    drawn: NDArray[Any] = (weights @ sums)[weights.any(axis=1)]
    return drawn


@lru_cache(maxsize=4)
def _weights(groups: int, samples: int, seed: int) -> NDArray[Any]:
    import numpy as np

    return np.random.default_rng(seed).poisson(1.0, (samples, groups)).astype(np.float64)


def interval(values: NDArray[Any], confidence: float, groups: int) -> Interval | None:
    """The percentile interval, widened as few groups need it; None where it would have no end.

    T. Hesterberg: What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015 (expanded
    percentile interval): without it, intervals of few rows are too narrow. Draws for which a metric is not defined, as
    the AUC of one that has no positive, may be anything: they count as the least and as the greatest of all.

    Args:
        values: One of each draw; NaN where it is not defined.
        confidence: Level.
        groups: How many were drawn from, as `formulas.groups` counts them.
    """
    import numpy as np
    from scipy.stats import norm, t

    if not len(values) or groups < 2:  # noqa: PLR2004
        return None
    tail = norm.cdf(np.sqrt(groups / (groups - 1)) * t.ppf((1 - confidence) / 2, groups - 1))
    low = np.quantile(np.where(np.isnan(values), -np.inf, values), tail, method="lower")
    high = np.quantile(np.where(np.isnan(values), np.inf, values), 1 - tail, method="higher")
    return (float(low), float(high)) if np.isfinite((low, high)).all() else None


def mcnemar(right_alone: int, other_right_alone: int) -> float:
    """Two-sided p-value of McNemar's test, exact: whether two classifiers are right equally often.

    Q. McNemar: Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12, 1947; for classifiers T. Dietterich: Approximate Statistical Tests for Comparing Supervised
    Classification Learning Algorithms, Neural Computation 10, 1998.

    Args:
        right_alone: Rows in which the one is right and the other is not.
        other_right_alone: The other way round.
    """
    from scipy.stats import binomtest

    count = right_alone + other_right_alone
    return float(binomtest(right_alone, count, 0.5).pvalue) if count else 1.0
