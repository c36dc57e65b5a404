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


@pytest.mark.parametrize(
    ("task", "metric", "rows"),
    [("BINARY", "accuracy", 60), ("BINARY", "log_loss", 200), ("BINARY", "auc", 200), ("REGRESSION", "mse", 400)],
)
def test_an_equal_model_is_not_called_better_more_often_than_stated(task, metric, rows):
    """Two models with errors of their own, equally large; 200 comparisons at the level 0.95, a fixed seed."""
    layout, settings = layout_of(task, metric), settings_of(bootstrap_samples=800)
    calls = []
    for trial in range(200):
        random = np.random.RandomState(trial)
        if task == "REGRESSION":
            labels = random.randn(rows, 1)
            told = labels + random.randn(2, rows, 1)
        else:
            labels = random.randint(0, 2, (rows, 1)).astype(float)
            told = 1 / (1 + np.exp(-(labels * 2 - 1 + random.randn(rows, 1) + random.randn(2, rows, 1))))
        calls.append(called(layout, labels, told, settings, trial))
    assert calls.count("better") <= 10
    assert calls.count("worse") <= 10
    assert calls.count("better") + calls.count("worse") <= 16  # 10 are expected; more than 16 by chance: 3 %


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


def test_no_rows_or_no_positives_have_no_interval():
    from polytrainer.executors.comparison import statistics

    layout = layout_of("BINARY", "auc")
    for labels in (np.zeros((0, 1)), np.zeros((5, 1))):
        added = layout.of_rows(labels, np.full((2, len(labels), 1), 0.5), np.ones(len(labels)))
        found = statistics.summary(added, layout, settings_of())
        assert found["intervals"]["candidate"]["auc"] is None
        assert statistics.verdict(found["differences"]["candidate"]["baseline"]["auc"], 0.95) == "not distinguishable"
