"""A training by Lightning that dies, wherever it is, ends as it would have ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PHASES = ["step", "evaluation", "last evaluation", "end", "final evaluation", "test", "export"]
LAST_STEP = 39  # of 13 an epoch


@pytest.fixture
def start(forked_lightning, small, tmp_path):
    """Starts a training with everything that has a state: `start(name, dies=(phase, signal), **options)`."""

    def run(name, **options):
        told = {"num_epochs": 3, "keep_checkpoints": {"best": 2, "metric": "loss"}, "test_files": {"test": small.other}}
        return forked_lightning(name, **{**told, **options})

    run.folder = tmp_path
    return run


def finished(training):
    assert training.ended(), training.said[-3000:]
    return training.said


def outcome(folder: Path):
    """Weights, and all that was recorded except for times."""
    from safetensors.numpy import load_file

    stored = load_file(folder / "model_run" / "weights.safetensors")
    weights = {name: value.tolist() for name, value in stored.items()}
    state = json.loads((folder / "model_run" / "trainer_state.json").read_text())
    compared = ("step", "epoch", "examples", "history", "metrics", "best", "best_step", "waited", "kept", "total_steps")
    rows = (folder / "model_run" / "logs" / "metrics.csv").read_text()
    return weights, {name: state[name] for name in compared}, rows


def assert_goes_on(start, average, phase, how):
    """A training that died in a phase ends, started again, as `whole` did."""
    name = f"{phase} {how}".replace(" ", "-")
    training = start(name, average=average, dies=(phase, how))
    assert not training.ended(), f"{name}: {training.said[-3000:]}"
    assert f"reached the {phase}" in training.said, training.said[-3000:]
    said = training.said
    again = finished(start(name, average=average))
    resumed_from = int(again.partition("from step ")[2].split()[0])
    if how == "SIGTERM":
        assert f"it is saved at step {resumed_from};" in said
    if phase not in ("step", "evaluation"):
        assert resumed_from == LAST_STEP, name
    assert outcome(start.folder / name) == outcome(start.folder / "whole"), name


@pytest.mark.parametrize("how", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.exhaustive)])
def test_killed_or_terminated_in_any_phase_it_ends_as_the_one_that_was_not(start, how):
    finished(start("whole", average="ema"))
    assert outcome(start.folder / "whole")[1]["step"] == LAST_STEP
    for phase in PHASES:
        assert_goes_on(start, "ema", phase, how)


@pytest.mark.parametrize(
    ("average", "deaths"),
    [
        ("", [("evaluation", "SIGTERM"), ("last evaluation", "SIGKILL"), ("final evaluation", "SIGTERM")]),
        pytest.param(
            "swa",
            [("step", "SIGKILL"), ("last evaluation", "SIGTERM"), ("end", "SIGTERM"), ("test", "SIGKILL")],
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_so_it_does_with_other_callbacks(start, average, deaths):
    finished(start("whole", average=average))
    for phase, how in deaths:
        assert_goes_on(start, average, phase, how)


def test_an_export_that_fails_is_done_again_and_nothing_else(start):
    finished(start("whole", average="ema"))
    training = start("failing", average="ema", dies=("export", "error"))
    assert not training.ended()
    assert "no room for the model" in training.said
    again = start("failing", average="ema", dies=("step", "SIGKILL"))  # were there a step, it would die
    said = finished(again)
    assert f"from step {LAST_STEP}" in said
    assert outcome(start.folder / "failing") == outcome(start.folder / "whole")


@pytest.mark.parametrize(
    ("phase", "options"), [("end", {"num_steps": 5, "num_epochs": 0}), ("test", {"num_epochs": 1})]
)
def test_a_training_of_one_epoch_or_less_is_not_lost(start, options, phase):
    training = start("short", dies=(phase, "SIGTERM"), **options)
    assert not training.ended()
    steps = options.get("num_steps", 13)
    assert f"it is saved at step {steps};" in training.said
    assert f"from step {steps}" in finished(start("short", **options))
