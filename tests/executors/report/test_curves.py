"""Learning curves of what lies in metrics.csv."""

from __future__ import annotations

import math

import pytest
from pages import CURVES

from polytrainer.executors.report import curves


def drawn(text, best_step=None, **options):
    """The legends of each figure by its title, and the paragraphs."""
    blocks = curves.curves(curves.read_csv(text), best_step, **options)
    figures = [figure for block in blocks for figure in getattr(block, "figures", ())]
    assert all("<path" in figure.svg for figure in figures)
    texts = [block.text for block in blocks if block.kind == "text"]
    return {figure.title: [entry.name for entry in figure.legend] for figure in figures}, texts


def test_the_loss_is_first_and_training_stands_beside_evaluation():
    text = CURVES.replace("loss,accuracy,val_loss,val_accuracy", "accuracy,loss,val_accuracy,val_loss")
    found, texts = drawn(text, best_step=20)
    assert list(found) == ["loss", "accuracy"]
    assert found["loss"] == ["training", "evaluation", "best step, 20"]
    assert texts == []


def test_evaluations_of_several_splits_are_lines_of_one_figure():
    found, _ = drawn("step,loss,val_loss,val_old.loss,val_new.loss\n1,1,2,3,4\n2,1,2,3,4\n")
    assert found == {"loss": ["training", "evaluation", "evaluation of old", "evaluation of new"]}


def test_all_metrics_of_an_estimator_are_of_evaluations():
    found, _ = drawn("step,loss,accuracy\n5,1,0.2\n", all_of_evaluations=True)
    assert found == {"loss": ["evaluation"], "accuracy": ["evaluation"]}


@pytest.mark.parametrize("text", ["", "step\n", "step,loss\n", "\n\n", "step,loss\n1,\n"])
def test_nothing_is_drawn_of_nothing(text):
    assert drawn(text) == ({}, [])


def test_what_is_not_finite_is_a_gap_and_is_told():
    found, texts = drawn("step,loss,bad,val_loss\n1,nan,nan,1\n2,0.5,inf,nan\n3,0.4,,1\n")
    assert found["loss"] == ["training", "evaluation"]
    assert texts == ["Never a finite number: bad."]
    [block, _] = curves.curves(curves.read_csv("step,loss,bad\n1,nan,inf\n2,1,nan\n"), None)
    assert block.figures[0].note == "1 points are not finite."


def test_many_metrics_and_many_points_are_cut():
    names = [f"m{number}" for number in range(30)]
    found, texts = drawn(f"step,{','.join(names)}\n1,{','.join('1' * 30)}\n")
    assert len(found) == 18
    assert texts == [f"Not drawn, but in logs/metrics.csv: {', '.join(names[18:])}."]
    rows = [{"step": step, "loss": math.sin(step)} for step in range(200_000)]
    [block] = curves.curves(rows, None)
    assert len(block.figures[0].svg) < 100_000
