"""Better by more than chance, by pure functions: what an equal, a better and a worse model is called."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.line


def layout_of(task, metric, outputs=1):
    from polytrainer.executors.comparison.layout import Layout

    return Layout(task, (metric,), outputs, ("candidate", "baseline"))


def settings_of(candidates=1, **args):
    from polytrainer.executors.comparison.statistics import Settings
    from polytrainer.proto.comparator_pb2 import ComparatorArgs

    return Settings.of(ComparatorArgs(**args), candidates)


def called(layout, labels, told, settings, seed=0):
    """What the candidate is called beside the baseline, through groups as Beam makes them."""
    from polytrainer.executors.comparison import statistics

    added = layout.of_rows(labels, told, np.ones(len(labels)))
    sums = np.zeros((layout.groups, layout.width))
    np.add.at(sums, np.random.RandomState(seed).randint(0, layout.groups, len(labels)), added)
    difference = statistics.summary(sums, layout, settings)["differences"]["candidate"]["baseline"][layout.metrics[0]]
    return statistics.verdict(difference, settings.pair_confidence)


def equal_models(task, rows, random, positives=0.5):
    """Labels and what two models say that err equally much, each in its own way, beside what both get wrong."""
    from polytrainer.executors.comparison import ranking

    if task == "RANKING":
        relevance = np.array([3, 2, 1, 0, 0, 0])
        scores = relevance + random.randn(rows, 6) + random.randn(2, rows, 6)
        told = [[ranking.values(["ndcg"], relevance, each) for each in model] for model in scores]
        return np.full((rows, 1), 6), np.array(told)
    if task == "REGRESSION":
        labels = random.randn(rows, 1)
        return labels, labels + random.randn(2, rows, 1)
    labels = (random.rand(rows, 1) < positives).astype(float)
    return labels, 1 / (1 + np.exp(-(labels * 2 - 1 + random.randn(rows, 1) + random.randn(2, rows, 1))))


@pytest.mark.parametrize(
    ("task", "metric", "rows", "positives"),
    [
        ("BINARY", "accuracy", 60, 0.5),
        ("BINARY", "log_loss", 60, 0.5),
        ("BINARY", "auc", 60, 0.5),
        ("BINARY", "auc", 100, 0.15),
        ("REGRESSION", "rmse", 60, None),
        ("RANKING", "ndcg", 60, None),
    ],
)
def test_an_equal_model_is_not_called_better_more_often_than_stated(task, metric, rows, positives):
    """200 comparisons at the level 0.95, a fixed seed: no more often than chance would have it in 99 of 100 cases.

    `benchmarks/false_positives.py` makes more of them, for more metrics and numbers of rows.
    """
    from scipy.stats import binom

    layout, settings, trials, calls = layout_of(task, metric), settings_of(bootstrap_samples=400), 200, []
    for trial in range(trials):
        labels, told = equal_models(task, rows, np.random.RandomState(trial), positives)
        calls.append(called(layout, labels, told, settings, trial))
    better, worse = calls.count("better"), calls.count("worse")
    assert max(better, worse) <= binom.ppf(0.99, trials, 0.025)
    assert better + worse <= binom.ppf(0.99, trials, 0.05)
    assert better + worse >= 1  # else nothing would ever be


def test_a_better_and_a_worse_model_are_called_so():
    layout, random = layout_of("MULTICLASS", "f1_macro", 3), np.random.RandomState(0)
    labels = np.eye(3)[random.randint(0, 3, 600)]
    good, bad = (np.clip(labels + random.randn(600, 3) * noise, 0.01, 1) for noise in (0.5, 0.8))
    assert called(layout, labels, np.stack([good, bad]), settings_of()) == "better"
    assert called(layout, labels, np.stack([bad, good]), settings_of()) == "worse"
    assert called(layout, labels, np.stack([bad, bad]), settings_of()) == "not distinguishable"


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    from polytrainer.executors.comparison import statistics

    values = np.random.RandomState(0).randn(3000, 1) * 2 + 5
    layout, settings = layout_of("REGRESSION", "mae"), settings_of(bootstrap_samples=4000)
    added = layout.of_rows(np.zeros_like(values), np.stack([values, values]), np.ones(3000))
    sums = np.zeros((layout.groups, layout.width))
    np.add.at(sums, np.arange(3000) % layout.groups, added)
    low, high = statistics.summary(sums, layout, settings)["intervals"]["candidate"]["mae"]
    error = np.abs(values).std() / np.sqrt(3000)
    middle = np.abs(values).mean()
    assert (low, high) == pytest.approx((middle - 1.96 * error, middle + 1.96 * error), abs=0.25 * error)


def test_mcnemars_test_is_the_textbooks():
    from polytrainer.executors.comparison.statistics import mcnemar

    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(2, 10) == mcnemar(10, 2)


def test_several_candidates_share_the_chance_of_error_out():
    assert settings_of(candidates=5).pair_confidence == pytest.approx(0.99)
    assert settings_of(candidates=2, confidence=0.9).confidence == 0.9


def test_memory_is_bounded_whatever_the_number_of_classes():
    for outputs in (2, 30, 100):
        layout = layout_of("MULTICLASS", "accuracy", outputs)
        assert 100 <= layout.groups <= 1000
        assert layout.groups * layout.width <= 1_000_000


def test_the_interval_of_auc_rests_on_the_rarer_label():
    """And holds where some draws have none of it: those count as the least and as the greatest."""
    from polytrainer.executors.comparison import formulas, statistics

    layout, labels = layout_of("BINARY", "auc"), np.zeros((100, 1))
    labels[:7] = 1
    scores = np.clip(labels / 20 + np.random.RandomState(0).rand(100, 1) / 2, 0.01, 0.99)
    sums = layout.of_rows(labels, np.stack([scores, scores]), np.ones(100))
    assert formulas.groups("auc", layout.of_model(sums, "baseline")) == 7
    drawn = statistics.draws(sums, 2000, 0)
    values = formulas.value("auc", layout.of_model(drawn, "baseline"), "BINARY")
    assert 0 < np.isnan(values).sum() < 10
    low, high = statistics.summary(sums, layout, settings_of())["intervals"]["baseline"]["auc"]
    narrow_low, narrow_high = np.nanquantile(values, (0.025, 0.975))
    assert 0 < low < narrow_low
    assert narrow_high < high <= 1
    assert statistics.interval(np.array([np.nan] * 60 + [1.0] * 940), 0.95, 1000) is None


def test_no_rows_or_no_positives_have_no_interval():
    from polytrainer.executors.comparison import statistics

    layout = layout_of("BINARY", "auc")
    for labels in (np.zeros((0, 1)), np.zeros((5, 1))):
        added = layout.of_rows(labels, np.full((2, len(labels), 1), 0.5), np.ones(len(labels)))
        found = statistics.summary(added, layout, settings_of())
        assert found["intervals"]["candidate"]["auc"] is None
        assert statistics.verdict(found["differences"]["candidate"]["baseline"]["auc"], 0.95) == "not distinguishable"
