"""How often `ModelComparator` calls a candidate better, or worse, that is exactly as good as the baseline.

    python benchmarks/false_positives.py [--trials 600] [--metrics auc ndcg]

Simulated test results of two models with errors of their own, equally large, beside those that both make; each trial
draws rows (for ndcg queries of ten documents) and groups anew, and goes through the sums and the statistics of a real
comparison at the confidence level 0.95. So 5 % of the candidates may be called better or worse, half of them better.
The last column is the share that so many trials would exceed by chance in 1 of 100 cases.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from polytrainer.executors.comparison import ranking, statistics
from polytrainer.executors.comparison.layout import Layout
from polytrainer.proto.comparator_args import BINARY, RANKING, REGRESSION
from polytrainer.proto.comparator_pb2 import ComparatorArgs

CASES = {  # name → task, metric, share of positives
    "accuracy": (BINARY, "accuracy", 0.5),
    "auc": (BINARY, "auc", 0.5),
    "auc, 15 % positive": (BINARY, "auc", 0.15),
    "auc, 5 % positive": (BINARY, "auc", 0.05),
    "log_loss": (BINARY, "log_loss", 0.5),
    "rmse": (REGRESSION, "rmse", None),
    "r2": (REGRESSION, "r2", None),
    "ndcg": (RANKING, "ndcg", None),
}
ROWS = (50, 100, 200, 1000)
DOCUMENTS = 10


def drawn(
    task: str, metric: str, share: float | None, rows: int, random: np.random.RandomState
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels `[rows, 1]` and what two equal models say, `[2, rows, 1]`; for RANKING the metric of each query."""
    if task == RANKING:
        relevance = random.randint(0, 3, (rows, DOCUMENTS)) * random.randint(0, 2, (rows, DOCUMENTS))
        relevance[:, 0] = 1
        scores = relevance + random.randn(rows, DOCUMENTS) + random.randn(2, rows, DOCUMENTS)
        told = [[ranking.values([metric], *each) for each in zip(relevance, model, strict=True)] for model in scores]
        return np.full((rows, 1), DOCUMENTS), np.array(told)
    if task == REGRESSION:
        labels = random.randn(rows, 1)
        return labels, labels + random.randn(rows, 1) / 2 + random.randn(2, rows, 1)
    labels = (random.rand(rows, 1) < share).astype(np.float64)
    logits = labels * 2 - 1 + random.randn(rows, 1) + random.randn(2, rows, 1)
    return labels, 1 / (1 + np.exp(-logits))


def called(case: str, rows: int, trial: int, settings: statistics.Settings) -> str:
    """What the candidate of one trial is called."""
    task, metric, share = CASES[case]
    layout = Layout(task, (metric,), 1, ("candidate", "baseline"))
    random = np.random.RandomState(1000 * trial + rows)
    labels, told = drawn(task, metric, share, rows, random)
    sums = np.zeros((layout.groups, layout.width))
    np.add.at(sums, random.randint(0, layout.groups, rows), layout.of_rows(labels, told, np.ones(rows)))
    difference = statistics.summary(sums, layout, settings)["differences"]["candidate"]["baseline"][metric]
    return "no interval" if difference["interval"] is None else statistics.verdict(difference, settings.pair_confidence)


def main() -> None:
    """Prints a line for each metric and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--metrics", nargs="*", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    settings = statistics.Settings.of(ComparatorArgs(bootstrap_samples=1000), 1)
    limit = binom.ppf(0.99, options.trials, 1 - settings.confidence) / options.trials
    print(f"{'metric':20} {'rows':>5} {'better':>8} {'worse':>8} {'either':>8} {'no interval':>12} {'by chance':>10}")
    for case in options.metrics:
        for rows in ROWS:
            calls = Counter(called(case, rows, trial, settings) for trial in range(options.trials))
            better, worse, none = (
                calls[each] / options.trials for each in (statistics.BETTER, statistics.WORSE, "no interval")
            )
            either = better + worse
            print(f"{case:20} {rows:5} {better:8.1%} {worse:8.1%} {either:8.1%} {none:12.1%} {limit:10.1%}", flush=True)


if __name__ == "__main__":
    main()
