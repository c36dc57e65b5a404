"""A Keras training that dies in any phase of a run goes on there, and trains no step twice that was saved."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.newest

LAST_STEP = 15
# one node, run after run: each dies a phase later than the one before
WHILE_TRAINING = [("step", 5), ("evaluation", 1), ("evaluation", 4)]  # the last one is that of the fifth epoch
AFTERWARDS = [("last evaluation", 1), ("test", 1), ("export", 1), ("verify", 1), ("report", 1)]
PRINTS_EACH_STEP = {"log_every_n_steps": 1}
CALLBACKS = ("plateau", "noise")


@pytest.mark.parametrize("first", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.exhaustive)])
def test_a_run_that_dies_in_each_of_its_phases_publishes_what_one_that_does_not_publishes(keras_runs, first):
    signals = ["SIGKILL", "SIGTERM"] if first == "SIGKILL" else ["SIGTERM", "SIGKILL"]
    whole = keras_runs("whole", CALLBACKS, PRINTS_EACH_STEP).run()
    assert whole.status == 0, whole.log[-3000:]
    assert f"step {LAST_STEP}/{LAST_STEP}" in whole.log

    runs = keras_runs("dies", CALLBACKS, PRINTS_EACH_STEP)
    for number, (phase, times) in enumerate(WHILE_TRAINING):
        name = signals[number % 2]
        died = runs.run((phase, times, name))
        assert died.status, (phase, name)
        if name == "SIGTERM":
            saved = runs.checkpoints()[-1].name.removeprefix("step-").lstrip("0")
            assert f"SIGTERM; it is saved at step {saved}" in died.log
    assert runs.checkpoints()[-1].name == f"step-{LAST_STEP:08}"  # before the evaluation of the last epoch
    for number, (phase, times) in enumerate(AFTERWARDS):
        name = signals[number % 2]
        died = runs.run((phase, times, name))
        assert f"{name} in phase {phase}" in died.log
        assert died.status
        assert f"from step {LAST_STEP}" in died.log
        evaluated = 1 if number == 0 else 0  # the epoch whose evaluation was interrupted, without its steps
        assert died.log.count(f"/{LAST_STEP}  ") == evaluated
        if name == "SIGTERM":
            assert f"SIGTERM; it is saved at step {LAST_STEP}" in died.log
    last = runs.run()
    assert last.status == 0, last.log[-3000:]
    assert last.state["resumed_from"] == LAST_STEP
    assert last.weights == whole.weights
    assert last.state["history"] == whole.state["history"]
    assert last.state["metrics"] == whole.state["metrics"]
    assert not runs.checkpoints()  # they go when all is published


def test_sigterm_in_an_evaluation_while_training_saves_its_epoch(keras_runs):
    runs = keras_runs("dies", CALLBACKS)
    died = runs.run(("evaluation", 2, "SIGTERM"))
    assert "SIGTERM; it is saved at step 6" in died.log
    whole, resumed = keras_runs("whole", CALLBACKS).run(), runs.run()
    assert resumed.state["resumed_from"] == 6
    assert resumed.weights == whole.weights
    assert resumed.state["history"] == whole.state["history"]


@pytest.mark.parametrize("phase", [pytest.param("last evaluation", marks=pytest.mark.exhaustive), "export"])
def test_a_phase_that_fails_is_begun_again_and_nothing_is_trained(keras_runs, phase):
    runs = keras_runs("fails", train_args=PRINTS_EACH_STEP)
    failed = runs.run((phase, 1, "failure"))
    assert "this phase fails" in failed.log
    assert failed.status
    again = runs.run()
    assert again.status == 0, again.log[-3000:]
    assert again.state["resumed_from"] == LAST_STEP
    assert "loss" not in again.log.partition("from step")[2].partition("logs go to")[2]


def test_early_stopping_that_has_ended_the_training_is_not_forgotten(keras_runs):
    stopping = {"early_stopping": {"metric": "loss", "patience": 2, "min_delta": 5.0}}
    whole = keras_runs("whole", train_args=stopping).run()
    runs = keras_runs("dies", train_args=stopping)
    assert runs.run(("epoch end", 3, "SIGKILL")).status  # before the checkpoint of the epoch that ends it
    assert runs.run(("last evaluation", 1, "SIGKILL")).status
    last = runs.run()
    assert (last.state["step"], last.state["resumed_from"]) == (9, 9)
    assert last.state["best_step"] == whole.state["best_step"] == 3
    assert last.weights == whole.weights


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        pytest.param({"max_steps_per_epoch": 2}, 10, marks=pytest.mark.exhaustive),
        pytest.param({"drop_last": True}, 10, marks=pytest.mark.exhaustive),
        pytest.param({"max_steps_per_epoch": 1, "num_epochs": 4}, 4, marks=pytest.mark.exhaustive),
        ({"max_steps_per_epoch": 2, "drop_last": True, "num_epochs": 0, "num_steps": 5}, 5),
    ],
)
def test_epochs_that_are_limited_are_resumed_in_their_middle(keras_runs, limits, steps):
    limits = {"checkpoint_every_n_steps": 1, **limits}
    whole = keras_runs("whole", ("noise",), limits).run()
    assert whole.status == 0, whole.log[-3000:]
    assert whole.state["step"] == steps
    runs = keras_runs("dies", ("noise",), limits)
    assert runs.run(("step", 4, "SIGKILL")).status
    resumed = runs.run()
    assert resumed.status == 0, resumed.log[-3000:]
    assert resumed.weights == whole.weights
    assert resumed.state["history"] == whole.state["history"]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"WIDTH": "9"}, "the layers of a training that is resumed"),
        pytest.param({"OPTIMIZER": "SGD"}, "the optimizer of a training that is resumed", marks=pytest.mark.exhaustive),
        pytest.param({"RATE": "0.5"}, "{'learning_rate': 0.5", marks=pytest.mark.exhaustive),
        pytest.param({"LOSS": "mse"}, "got mse; expected binary_crossentropy", marks=pytest.mark.exhaustive),
        ({"MORE": "ema"}, "the callbacks of a training that is resumed"),
    ],
)
def test_what_has_changed_since_the_checkpoint_is_said_and_nothing_is_trained(keras_runs, changed, match):
    runs = keras_runs("changed", ("plateau",))
    assert runs.run(("step", 5, "SIGKILL")).status
    refused = runs.run(env=changed)
    assert refused.status
    assert "Nothing was trained" in refused.log
    assert match in refused.log
    assert "as in its checkpoint of step 3. Trainer(resume=False) starts afresh" in refused.log
    assert runs.run(env=changed, resume=0).state["resumed_from"] is None
