"""What follows from an evaluation: which weights are the best, when training stops, what a schedule does."""

from __future__ import annotations

import math

import pytest
from torch_fits import same, state, weights

NAN, INF = math.nan, math.inf


def saying(*values, name="score"):
    """A metrics_fn whose metric says these values, one at each evaluation, then the last one again."""
    import torch
    import torchmetrics

    told = list(values)

    class Score(torchmetrics.Metric):
        def __init__(self):
            super().__init__()
            self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

        def update(self, outputs, label):
            self.count += 1

        def compute(self):
            value = told.pop(0) if len(told) > 1 else told[0]
            return value if isinstance(value, dict) else torch.tensor(value, dtype=torch.float64)

    return lambda self: {name: Score()}


@pytest.fixture
def train(made, fit):
    """Trains with a score of these values, an epoch each; returns the state, steps as epochs."""

    def run(*values, trainer=None, **options):
        trainer = made(metrics_fn=saying(*values), save=lambda self, model=None: {}, **(trainer or {}))
        fit(trainer, **{"num_epochs": len(values), **options})
        told = state(fit)
        told["best_epoch"], told["epochs"] = told["best_step"] / 13, told["step"] / 13
        told["kept_epochs"] = sorted(int(step) / 13 for step in told["kept"])
        return told

    return run


# ---- what is not finite


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("wrong", "at"), [(NAN, 0), (NAN, 3), (INF, 2), (-INF, 1)])
def test_what_is_not_finite_is_never_the_best(train, mode, wrong, at):
    values = [0.1, 0.2, 0.9, 0.3] if mode == "max" else [0.9, 0.8, 0.1, 0.7]
    values[at] = wrong
    finite = {value: epoch for epoch, value in enumerate(values, 1) if math.isfinite(value)}
    best = (max if mode == "max" else min)(finite)
    told = train(*values, keep_checkpoints={"metric": "score", "mode": mode, "best": 1})
    assert (told["best"], told["best_epoch"]) == (best, finite[best])
    assert told["kept_epochs"] == [finite[best]]


def test_nan_at_the_first_evaluation_is_one_without_improvement_and_no_more(train):
    watching = {"metric": "score", "mode": "max", "patience": 3}
    told = train(NAN, 0.1, 0.2, 0.3, 0.4, 0.5, early_stopping=watching)
    assert not told["stopped"]
    assert (told["epochs"], told["best_epoch"]) == (6, 6)


def test_nan_counts_as_no_improvement(train):
    told = train(0.5, NAN, 0.4, INF, 0.9, early_stopping={"metric": "score", "mode": "max", "patience": 3})
    assert told["stopped"]
    assert (told["epochs"], told["best_epoch"], told["best"]) == (4, 1, 0.5)


def test_the_best_two_are_kept_among_finite_ones(train):
    told = train(NAN, 0.5, 0.4, 0.6, 0.3, NAN, keep_checkpoints={"metric": "score", "mode": "max", "best": 2})
    assert told["kept_epochs"] == [2, 4]
    assert told["best_epoch"] == 4


def test_where_nothing_is_ever_finite_the_last_weights_become_the_model(made, fit, train):
    told = train(NAN, INF, NAN, keep_checkpoints={"metric": "score", "mode": "max", "best": 2})
    assert (told["best"], told["kept"], told["epochs"]) == (None, {}, 3)


def test_the_last_are_kept_whatever_their_metric(train):
    told = train(0.5, 0.1, NAN, keep_checkpoints={"metric": "score", "mode": "max", "best": 1, "last": 2})
    assert told["kept_epochs"] == [1, 2, 3]


def test_it_is_said_once(train, caplog):
    train(NAN, NAN, 0.5, NAN, keep_checkpoints={"metric": "score", "mode": "max", "best": 1})
    said = [message for message in caplog.messages if "'score' of an evaluation" in message]
    assert said == ["The metric 'score' of an evaluation is nan. It is never the best, and counts as no improvement."]


# ---- two metrics


def test_stopping_and_keeping_may_follow_different_metrics(train):
    told = train(
        0.5, 0.9, 0.4, 0.3, 0.2, 0.1,
        trainer={"learning_rate": 0.01},
        early_stopping={"metric": "loss", "patience": 2},
        keep_checkpoints={"metric": "score", "mode": "max", "best": 1},
    )  # fmt: skip
    losses = [row["val_loss"] for row in told["history"]]
    assert losses == sorted(losses, reverse=True)  # it falls, so training goes on
    assert told["epochs"] == 6
    assert not told["stopped"]
    assert (told["best_epoch"], told["best"]) == (2, 0.9)


def test_the_metric_of_stopping_stops_though_the_other_gets_better(train):
    told = train(
        0.5, 0.4, 0.3, 0.2, 0.1,
        trainer={"learning_rate": 0.01},
        early_stopping={"metric": "score", "mode": "max", "patience": 2},
        keep_checkpoints={"metric": "loss", "best": 1},
    )  # fmt: skip
    assert (told["epochs"], told["best_epoch"]) == (3, 3)
    assert told["best"] == told["history"][-1]["val_loss"]


# ---- schedules that follow a metric


def rates(trainer):
    return [group["lr"] for optimizer in trainer.engine.optimizers for group in optimizer.param_groups]


PLATEAU = {"scheduler": "plateau", "scheduler_options": {"patience": 0, "factor": 0.5}, "learning_rate": 0.08}


@pytest.mark.parametrize(
    ("values", "options", "rate"),
    [
        ((0.1, 0.2, 0.3, 0.4), {"early_stopping": {"metric": "score", "mode": "max"}}, 0.08),
        ((0.4, 0.3, 0.2, 0.1), {"early_stopping": {"metric": "score", "mode": "max", "patience": 9}}, 0.01),
        ((0.1, 0.2, 0.3, 0.4), {"early_stopping": {"metric": "score", "mode": "min", "patience": 9}}, 0.01),
        ((0.1, 0.2, 0.3, 0.4), {"keep_checkpoints": {"metric": "score", "mode": "max", "best": 1}}, 0.08),
        ((0.1, NAN, 0.3, 0.4), {"keep_checkpoints": {"metric": "score", "mode": "max", "best": 1}}, 0.04),
    ],
)
def test_a_plateau_has_the_direction_of_the_metric_that_it_follows(made, fit, values, options, rate):
    trainer = made(metrics_fn=saying(*values), save=lambda self, model=None: {}, **PLATEAU)
    fit(trainer, num_epochs=4, **options)
    assert rates(trainer) == pytest.approx([rate])


def test_the_rate_does_not_fall_while_accuracy_rises(made, fit):
    trainer = made(**{**PLATEAU, "optimizer": "sgd", "learning_rate": 0.02}, save=lambda self, model=None: {})
    fit(trainer, num_epochs=8, early_stopping={"metric": "accuracy", "patience": 9})
    found = [row["val_accuracy"] for row in state(fit)["history"]]
    without_a_rise = sum(now <= max(found[:number]) for number, now in enumerate(found) if number)
    assert rates(trainer) == pytest.approx([0.02 * 0.5**without_a_rise])


def plateau_of_torch(mode):
    def scheduler_fn(self, optimizer):
        import torch

        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode)

    return scheduler_fn


@pytest.mark.parametrize(
    "trainer",
    [
        {"scheduler_fn": plateau_of_torch("min")},
        {**PLATEAU, "scheduler_options": {"mode": "min"}},
    ],
)
def test_one_of_the_wrong_direction_is_refused(made, fit, trainer):
    from polytrainer.executors.errors import PreflightError

    message = r"scheduler: got mode 'min' for the metric 'accuracy', of which more is better; expected mode 'max'"
    with pytest.raises(PreflightError, match=message):
        fit(made(**trainer), early_stopping={"metric": "accuracy"})


def test_one_of_the_right_direction_is_taken(made, fit):
    fit(made(scheduler_fn=plateau_of_torch("max")), early_stopping={"metric": "accuracy"}, num_epochs=1)
    assert state(fit)["step"] == 13


# ---- before training


@pytest.mark.parametrize(
    ("trainer", "options", "message"),
    [
        ({}, {"early_stopping": {}}, r"early_stopping.metric: got 'loss', in a training that is not evaluated"),
        ({}, {"keep_checkpoints": {"best": 1}}, r"keep_checkpoints.metric: got 'loss', in a training that is not"),
        (PLATEAU, {}, r"scheduler: got a schedule that follows a metric, in a training that is not evaluated"),
        (
            {"scheduler_fn": plateau_of_torch("min")},
            {},
            r"scheduler: got a schedule that follows a metric, in a training",
        ),
    ],
)
def test_what_follows_a_metric_needs_something_to_evaluate(made, fit, trainer, options, message):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=message):
        fit(made(**trainer), eval_files=None, **options)


def test_keeping_the_last_needs_no_evaluation(made, fit):
    fit(made(), eval_files=None, keep_checkpoints={"last": 1}, num_epochs=1)
    assert state(fit)["step"] == 13


@pytest.mark.parametrize("where", ["early_stopping", "keep_checkpoints"])
def test_names_are_checked_before_the_first_step(made, fit, where):
    from polytrainer.executors.errors import PreflightError

    def train_step(self, model, batch):
        raise AssertionError("a step was taken")

    trainer = made(train_step=train_step, metrics=["accuracy", "f1"])
    message = rf"{where}.metric: got 'precision'; expected one of \['accuracy', 'f1', 'loss'\]"
    with pytest.raises(PreflightError, match=message):
        fit(trainer, **{where: {"metric": "precision", "mode": "max"} | ({"best": 1} if where[0] == "k" else {})})


@pytest.mark.parametrize("name", ["val_accuracy", "accuracy", "val_loss"])
def test_names_may_begin_with_val(made, fit, name):
    fit(made(), early_stopping={"metric": name}, num_epochs=2)
    row = next(row for row in state(fit)["history"] if row["step"] == state(fit)["best_step"])
    assert state(fit)["best"] == row[f"val_{name.removeprefix('val_')}"]


def test_of_several_splits_each_can_be_followed_and_an_unknown_one_is_refused(made, fit, small):
    from polytrainer.executors.errors import PreflightError

    files = {"eval": small.eval, "other": small.other}
    fit(made(), eval_files=files, early_stopping={"metric": "other.accuracy", "mode": "max"})
    assert state(fit)["best"] in {row["val_other.accuracy"] for row in state(fit)["history"]}
    with pytest.raises(PreflightError, match=r"got 'held.accuracy'; expected one of \['accuracy', 'eval.accuracy'"):
        fit(made(), eval_files=files, early_stopping={"metric": "held.accuracy", "mode": "max"})


def test_a_metric_of_ones_own_that_says_several_numbers_can_be_followed_by_one_of_them(made, fit):
    import torch

    values = [{"low": torch.tensor(low), "high": torch.tensor(1.0)} for low in (0.3, 0.1, 0.2)]
    trainer = made(metrics_fn=saying(*values), save=lambda self, model=None: {})
    fit(trainer, num_epochs=3, early_stopping={"metric": "score_low", "mode": "min", "patience": 5})
    assert state(fit)["best"] == pytest.approx(0.1)
    assert state(fit)["best_step"] == 26


def test_the_best_weights_are_those_that_are_published(made, fit):
    from safetensors.numpy import load_file

    trainer = made(metrics_fn=saying(0.2, NAN, 0.9, 0.5))
    fit(trainer, num_epochs=4, keep_checkpoints={"metric": "score", "mode": "max", "best": 2})
    folder = fit.output / "model_run" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000039.safetensors", "step-00000052.safetensors"]
    assert same(load_file(folder / "step-00000039.safetensors"), weights(fit))
