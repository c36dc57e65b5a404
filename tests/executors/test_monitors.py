"""Which evaluation is the best, and when training stops: one rule for all frameworks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytrainer.executors.monitors import ModelSelection, Monitor
from polytrainer.proto.trainer_pb2 import TrainArgs

pytestmark = pytest.mark.unit


@dataclass
class State:
    step: int = 0
    best: float | None = None
    best_step: int = 0
    stopping_best: float | None = None
    waited: int = 0
    stopped: bool = False


def selection(**train_args):
    return ModelSelection.from_args(TrainArgs(**train_args))


def after(chosen, *evaluations):
    """The state after some evaluations, one a step, until the training is stopped."""
    state = State()
    for step, metrics in enumerate(evaluations, 1):
        state.step = step
        chosen.update(state, metrics)
        if state.stopped:
            break
    return state


def losses(*values):
    return [{"loss": value} for value in values]


@pytest.mark.parametrize(
    ("train_args", "stopping", "selecting", "patience"),
    [
        ({}, None, None, 3),
        ({"early_stopping": {}}, ("loss", "min"), ("loss", "min"), 3),
        ({"early_stopping": {"metric": "val_accuracy", "patience": 7}}, ("accuracy", "max"), ("accuracy", "max"), 7),
        ({"keep_checkpoints": {"best": 2, "metric": "f1"}}, None, ("f1", "max"), 3),
        ({"keep_checkpoints": {"last": 3}}, None, None, 3),
        (
            {"keep_checkpoints": {"best": 2}, "early_stopping": {"metric": "auroc"}},
            ("auroc", "max"),
            ("auroc", "max"),
            3,
        ),
        ({"keep_checkpoints": {"best": 1, "metric": "f1"}, "early_stopping": {}}, ("loss", "min"), ("f1", "max"), 3),
    ],
)
def test_what_is_monitored(train_args, stopping, selecting, patience):
    chosen = selection(**train_args)
    monitored = [each and (each.metric, each.mode) for each in (chosen.stopping, chosen.selecting)]
    assert (*monitored, chosen.patience) == (stopping, selecting, patience)


def test_patience_counts_evaluations_that_are_not_better_by_min_delta():
    state = after(selection(early_stopping={"patience": 2, "min_delta": 0.1}), *losses(1.0, 0.95, 0.8, 0.75, 0.72))
    assert (state.step, state.stopped, state.best, state.best_step) == (5, True, 0.8, 3)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_the_best_and_counts_as_no_improvement(wrong):
    state = after(selection(early_stopping={"patience": 2}), *losses(wrong, 3.0, wrong, 2.0, wrong, wrong))
    assert (state.best, state.best_step, state.step, state.stopped) == (2.0, 4, 6, True)


def test_nothing_is_the_best_where_nothing_is_finite():
    state = after(selection(early_stopping={"patience": 2}), *losses(math.nan, math.nan))
    assert (state.best, state.stopped) == (None, True)


def test_it_is_said_once(caplog):
    import logging

    with caplog.at_level(logging.WARNING, logger="absl"):
        after(selection(early_stopping={"patience": 9}), *losses(math.nan, math.nan, 1.0, math.nan))
    said = [record.getMessage() for record in caplog.records]
    assert said == ["The metric 'loss' of an evaluation is nan. It is never the best, and counts as no improvement."]


def test_stopping_and_selecting_each_have_their_own_metric():
    chosen = selection(early_stopping={"patience": 2}, keep_checkpoints={"metric": "f1", "best": 1})
    rows = [{"loss": loss, "f1": f1} for loss, f1 in [(3, 0.1), (2, 0.9), (1, 0.5), (1, 0.2), (1, 0.3)]]
    state = after(chosen, *rows)
    assert (state.best, state.best_step) == (0.9, 2)
    assert (state.step, state.stopped) == (5, True)


@given(
    values=st.lists(st.one_of(st.integers(-5, 5).map(float), st.just(math.nan), st.just(math.inf)), max_size=12),
    mode=st.sampled_from(["min", "max"]),
)
def test_the_best_is_the_first_of_the_finite_extremes(values, mode):
    state = State()
    chosen = ModelSelection(None, Monitor("x", mode))
    for state.step, value in enumerate(values, 1):
        chosen.update(state, {"x": value})
    finite = [value for value in values if math.isfinite(value)]
    best = (min if mode == "min" else max)(finite, default=None)
    assert state.best == best
    assert state.best_step == (0 if best is None else values.index(best) + 1)


def test_a_metric_that_no_evaluation_gives_is_a_problem_before_training():
    chosen = selection(early_stopping={"metric": "acuracy", "mode": "max"})
    (problem,) = chosen.problems({"loss", "accuracy"}, evaluates=True)
    assert problem.got == "'acuracy'"
    assert problem.expected == "one of ['accuracy', 'loss']"


def test_monitoring_without_an_evaluation_is_a_problem_before_training():
    (problem,) = selection(keep_checkpoints={"best": 1}).problems(None, evaluates=False)
    assert problem.where == "train_args.keep_checkpoints.metric"
