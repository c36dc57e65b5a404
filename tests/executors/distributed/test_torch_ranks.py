"""Several ranks train one PyTorch model: each example counts once, and what is learned is what one process learns."""

from __future__ import annotations

import json
import signal
import time

import pytest
from results import read
from trainings import SAME, all_well


def outcome(folder):
    from safetensors.numpy import load_file

    state = json.loads((folder / "model_run" / "trainer_state.json").read_text())
    return load_file(folder / "model" / "Format-Torch" / "model.safetensors"), state


def assert_alike(one, other):
    (weights, state), (other_weights, other_state) = one, other
    assert set(weights) == set(other_weights)
    assert all(abs(weights[name] - other_weights[name]).max() < 1e-5 for name in weights)
    assert len(state["history"]) == len(other_state["history"])
    for row, other_row in zip(state["history"], other_state["history"], strict=True):
        assert row == pytest.approx(other_row, rel=1e-4)
    assert state["metrics"] == pytest.approx(other_state["metrics"], rel=1e-4)
    assert state["examples"] == other_state["examples"] == 2 * 103


def results(folder):
    """The test results, which are of the eval split, by what is different in each example."""
    return sorted((row["x"], row["label"], row["prediction"]) for row in read(folder / "test_results/Split-eval/*"))


def assert_same_results(one, other):
    assert len(one) == len(other) == 41
    for (x, label, prediction), (other_x, other_label, expected) in zip(one, other, strict=True):
        assert (x, label) == (other_x, other_label)
        assert prediction == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("count", "options"),
    [
        (2, {"strategy": "ddp"}),
        (3, {}),
        (2, {"strategy": "ddp", "micro_batch_size": 3}),
        (2, {"strategy": "fsdp", "max_grad_norm": 0.05}),
        (3, {"strategy": "fsdp", "grad_accumulation": 2}),
        (2, {"strategy": "ddp", "data_mode": "streaming"}),
    ],
)
def test_ranks_learn_what_one_process_learns(ranks, forked, tmp_path, count, options):
    # 103 examples in batches of 8: the last batch of 7 is shared out too, and 41 in batches of 8 leave 1 for two ranks
    data = {name: value for name, value in options.items() if name in ("data_mode", "max_grad_norm")}
    together = ranks(count, "together", **options)
    all_well(together)
    all_well([forked("alone", **SAME, **data)])
    assert_alike(outcome(tmp_path / "together"), outcome(tmp_path / "alone"))
    assert_same_results(results(tmp_path / "together"), results(tmp_path / "alone"))
    assert "ranks" in together[0].said
    assert "step" not in together[1].said  # one of them speaks


def test_ranks_that_were_killed_go_on_bit_equal(ranks, tmp_path):
    options = {"dropout": 0.2, "norm": True, "checkpoint_every_n_steps": 3}
    all_well(ranks(2, "whole", **options))
    for how in (signal.SIGKILL, signal.SIGTERM):
        killed = ranks(2, "killed", slow=0.05, **options)
        deadline = time.monotonic() + 300
        while "2 ranks" not in killed[0].said or not list((tmp_path / "killed").glob(".checkpoints/*/step-*")):
            assert time.monotonic() < deadline, killed[0].said[-3000:]
            time.sleep(0.01)
        time.sleep(0.1)
        killed[1].send(how)
        assert not any(training.ended() for training in killed)  # the other one ends in seconds, too
    again = ranks(2, "killed", **options)
    all_well(again)
    assert "from step" in again[0].said
    (weights, state), (wanted, wanted_state) = outcome(tmp_path / "killed"), outcome(tmp_path / "whole")
    assert {name: value.tolist() for name, value in weights.items()} == {
        name: value.tolist() for name, value in wanted.items()
    }
    assert state["history"] == wanted_state["history"]


def test_fewer_examples_than_ranks_are_refused(ranks):
    trainings = ranks(2, "few", batch_size=1)
    assert not any(training.ended() for training in trainings)
    assert "batches of 1 of 103 examples for 2 ranks; expected at least one example for each" in trainings[0].said


def test_with_fsdp_nothing_is_tried_out(ranks):
    trainings = ranks(2, "tried", strategy="fsdp", micro_batch_size=0)
    assert not any(training.ended() for training in trainings)
    assert (
        "micro_batch_size: got 0, to be found by trying, with the strategy 'fsdp'; expected a number"
        in trainings[0].said
    )
