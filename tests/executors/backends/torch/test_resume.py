"""A PyTorch training that is killed and started again ends with the bits it would have ended with."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest

PRECISION = {"precision": "16-mixed", "max_grad_norm": 1.0}


@pytest.fixture
def start(forked, tmp_path):
    """Starts a training: `start(name, slow=…, **options)`."""

    def run(name, **options):
        return forked(name, **{"num_epochs": 6, "checkpoint_every_n_steps": 2, **PRECISION, **options})

    run.folder = tmp_path
    return run


def finished(training):
    assert training.ended(), training.said[-3000:]
    return training.said


def outcome(folder: Path):
    """Weights, and all that was recorded except for times."""
    from safetensors.numpy import load_file

    stored = load_file(folder / "model" / "Format-Torch" / "model.safetensors")
    weights = {name: value.tolist() for name, value in stored.items()}
    state = json.loads((folder / "model_run" / "trainer_state.json").read_text())
    compared = ("step", "epoch", "examples", "history", "metrics", "best", "best_step", "waited")
    rows = (folder / "model_run" / "logs" / "metrics.csv").read_text()
    return weights, {name: state[name] for name in compared}, rows


def checkpoints(folder: Path):
    return sorted(folder.glob(".checkpoints/*/step-*"))


def wait_for(condition, training):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, training.said[-3000:]
        time.sleep(0.005)


@pytest.mark.newest
def test_killed_twenty_times_it_ends_bit_equal_to_one_that_was_not(start):
    stopping = {"early_stopping": {"metric": "loss", "patience": 30}, "keep_checkpoints": {"best": 2}}
    finished(start("whole", **stopping))
    wanted = outcome(start.folder / "whole")
    kills = resumed = number = 0
    while kills < 20:
        training = start(f"killed-{number}", slow=0.01, **stopping)
        wait_for(lambda training=training: "examples in" in training.said, training)
        time.sleep(random.uniform(0, 0.5))
        training.send(random.choice([signal.SIGKILL, signal.SIGTERM]))
        if training.ended():  # it was too late for this one
            assert outcome(start.folder / f"killed-{number}") == wanted
            number += 1
        else:
            kills += 1
        resumed += "resumed" in training.said
    finished(start(f"killed-{number}", **stopping))
    assert outcome(start.folder / f"killed-{number}") == wanted
    assert resumed > 5
    assert not checkpoints(start.folder / f"killed-{number}")


def test_sigterm_saves_the_step_it_is_at(start):
    training = start("asked", slow=0.05, checkpoint_every_n_steps=1000)
    wait_for(lambda: "examples in" in training.said, training)
    time.sleep(0.3)
    training.send(signal.SIGTERM)
    assert not training.ended()
    step = int(training.said.partition("it is saved at step ")[2].split(";")[0])
    assert checkpoints(start.folder / "asked")[-1].name == f"step-{step:08}"
    assert f"resumed        from step {step}" in finished(start("asked", checkpoint_every_n_steps=1000))


def killed(start, name, at_least=2, **options):
    """A training that died with some checkpoints."""
    training = start(name, slow=0.05, **options)
    wait_for(lambda: len(checkpoints(start.folder / name)) >= at_least, training)
    training.send(signal.SIGKILL)
    assert not training.ended()
    return checkpoints(start.folder / name)


@pytest.mark.parametrize("file", ["model.safetensors", "training.pt", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(start, file):
    *_, older, newer = killed(start, "damaged")
    content = bytearray((newer / file).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (newer / file).write_bytes(content)
    said = finished(start("damaged"))
    assert "cannot be read" in said
    assert f"from step {int(older.name[5:])}" in said


def test_with_reset_optimizer_only_weights_and_position_go_on(start):
    *_, newest = killed(start, "reset", reset_optimizer=True)
    said = finished(start("reset", reset_optimizer=True))
    assert f"from step {int(newest.name[5:])}" in said
    finished(start("whole"))
    assert outcome(start.folder / "reset")[1]["examples"] == outcome(start.folder / "whole")[1]["examples"]
    assert outcome(start.folder / "reset")[0] != outcome(start.folder / "whole")[0]


def test_a_streamed_split_goes_on_where_it_was(start):
    finished(start("whole", data_mode="streaming"))
    killed(start, "streamed", data_mode="streaming")
    assert "from step" in finished(start("streamed", data_mode="streaming"))
    assert outcome(start.folder / "streamed") == outcome(start.folder / "whole")


def test_a_change_of_the_arguments_is_another_training(start):
    killed(start, "changed")
    assert "from step" not in finished(start("changed", batch_size=9))
