"""A comparison of models as the terminal shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparisons import rows_of

LABELS = np.arange(120) % 2


def told(share):
    """Probabilities of 1 that are right in about this share of the rows."""
    wrong = np.random.RandomState(1).rand(len(LABELS)) >= share
    return np.where(wrong, 1 - LABELS, LABELS) * 0.8 + 0.1


def cells(line):
    return re.split(" {2,}", line.strip())


def outcome(backend, **facts):
    from polytrainer.pipelines.outcomes import Outcome

    told = {"blessed": True, "pushed": None, "report": None, **facts}
    return Outcome(backend, f"{backend} 1.2", accuracy=0.9, seconds=1.25, **told)


@pytest.fixture
def compared(comparing, tmp_path):
    """A comparison of three candidates with a baseline: a good one, a bad one, and one that says nothing."""
    from polytrainer.pipelines.comparison import Comparison

    for name, predictions in {
        "keras": told(0.95), "estimator": told(0.6), "torch": np.full(len(LABELS), np.nan), "baseline": told(0.7)
    }.items():  # fmt: skip
        comparing.give(name, rows_of(predictions, LABELS))
    found = comparing.run(task="BINARY", metrics=["accuracy"], thresholds=[{"metric": "accuracy", "lower": 0.7}])
    return Comparison(tmp_path, found, tmp_path / "best")


def test_candidates_stand_beside_the_best_and_the_baseline_and_each_refusal_has_its_reason(compared, tmp_path):
    from polytrainer.pipelines.comparison import text

    results = [outcome("keras"), outcome("estimator", blessed=False), outcome("torch", pushed=tmp_path / "alone")]
    head, _, keras, estimator, torch, baseline, level, _, *said = text(compared, results, 1000).splitlines()
    assert cells(head) == [
        "model", "framework", "accuracy", "seconds", "Evaluator", "beside the best", "beside the baseline"
    ]  # fmt: skip
    assert cells(keras)[3:] == ["1.2", "blessed", "the best", "better"]
    assert cells(estimator)[3:] == ["1.2", "not blessed", "worse", "worse"]
    assert cells(torch) == ["torch", "torch 1.2", "-", "1.2", "blessed", "-", "-"]
    assert cells(baseline)[0::3] == ["baseline", "-", "-"]
    assert level == "[95 % intervals] over 120 rows; beside others by accuracy"
    assert said[0].startswith("best by accuracy: keras, blessed. By accuracy it is better than the baseline")
    assert said[1].startswith("estimator could not be blessed. Accuracy is 0.")
    assert said[2].startswith("torch could not be blessed. 120 of 120 predictions are not finite numbers")
    assert said[3:] == [f"keras is pushed to {tmp_path / 'best'}", f"torch, by itself, to {tmp_path / 'alone'}"]
    narrow = text(replace(compared, pushed=None), results, 40).splitlines()
    assert cells(narrow[0])[0] == "model"
    assert "framework" not in narrow[0]
    assert max(map(len, narrow[:6])) <= 40
    assert narrow[-2] == "nothing is pushed: the baseline stays"


def test_the_page_is_told_where_there_is_one_and_the_json_where_not(tmp_path):
    from polytrainer.pipelines.comparison import Comparison

    found = Comparison(tmp_path, {}, None)
    assert found.page == tmp_path / "comparison.json"
    (tmp_path / "comparison.html").touch()
    assert found.page == tmp_path / "comparison.html"


def test_paths_are_shown_as_they_would_be_typed_here(tmp_path, monkeypatch):
    from polytrainer.pipelines.outcomes import shown

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shown(tmp_path / "here" / "runs" / "page.html") == "runs/page.html"
    assert shown(tmp_path / "there.html") == str(tmp_path / "there.html")
    assert shown(Path("runs")) == "runs"
