"""Several ranks train a LightningModule: what is reported is of the model that is published, and of whole splits."""

from __future__ import annotations

import json
import socket

import pytest
from results import read


@pytest.fixture
def ranks(forked_lightning, small):
    """Starts two ranks of a training: `ranks(name, **options)`."""

    def start(name, **options):
        with socket.socket() as listener:
            listener.bind(("localhost", 0))
            port = str(listener.getsockname()[1])
        told = {"num_epochs": 2, "strategy": "ddp", "test_files": {"test": small.other}, **options}
        return [
            forked_lightning(
                name,
                log=f"{name}-{rank}",
                env={
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": "2",
                    "LOCAL_WORLD_SIZE": "2",
                    "MASTER_ADDR": "localhost",
                    "MASTER_PORT": port,
                },
                **told,
            )
            for rank in range(2)
        ]

    return start


def all_well(trainings):
    for training in trainings:
        assert training.ended(), training.said[-3000:]


def published(folder):
    """The published model in plain torch, and what was recorded of it."""
    from safetensors.torch import load_file
    from torch import nn

    weights = load_file(folder / "model_run" / "weights.safetensors")
    has_norm = any("running_mean" in name for name in weights)
    layers = nn.Sequential(
        nn.Linear(2, 8), *([nn.BatchNorm1d(8)] if has_norm else []), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 2)
    )
    layers.load_state_dict({name.removeprefix("layers."): value for name, value in weights.items()})
    return layers.eval(), json.loads((folder / "model_run" / "trainer_state.json").read_text())


def by_hand(model, pattern):
    import torch

    rows = list(read(pattern))
    label = torch.tensor([row["label"][0] for row in rows])
    with torch.no_grad():
        logits = model(torch.tensor([row["x"] for row in rows]))
    accuracy = (logits.argmax(1) == label).double().mean()
    return {"loss": float(torch.nn.functional.cross_entropy(logits, label)), "accuracy": float(accuracy)}, logits


@pytest.mark.parametrize("options", [{}, {"synced": True}, {"average": "ema"}, {"early_stopping": {"patience": 5}}])
def test_with_batch_norm_the_metrics_are_those_of_the_published_model(ranks, small, tmp_path, options):
    all_well(ranks("together", **options))
    model, state = published(tmp_path / "together")
    for prefix, files in (("", small.eval), ("test.", small.other)):
        metrics, logits = by_hand(model, files)
        told = {name: state["metrics"][f"{prefix}{name}"] for name in metrics}
        assert told == pytest.approx(metrics, abs=1e-6)
        if prefix:
            results = [row["prediction"] for row in read(tmp_path / "together" / "test_results" / "Split-test" / "*")]
            assert sorted(results) == [pytest.approx(row, abs=1e-6) for row in sorted(logits.tolist())]
    step = state["best_step"] if "early_stopping" in options else state["step"]
    [row] = [row for row in state["history"] if row["step"] == step]
    assert row["val_loss"] == pytest.approx(state["metrics"]["loss"], abs=1e-6)


def test_ranks_that_were_killed_go_on_bit_equal(ranks, tmp_path):
    all_well(ranks("whole", checkpoint_every_n_steps=4))
    for phase, how in (("step", "SIGKILL"), ("last evaluation", "SIGTERM"), ("test", "SIGTERM")):
        trainings = ranks("dying", checkpoint_every_n_steps=4, dies=(phase, how))
        for training in trainings:
            assert not training.ended()
    again = ranks("dying", checkpoint_every_n_steps=4)
    all_well(again)
    assert "from step 26" in again[0].said
    (model, state), (wanted, wanted_state) = published(tmp_path / "dying"), published(tmp_path / "whole")
    assert all(value.equal(wanted.state_dict()[name]) for name, value in model.state_dict().items())
    assert (state["history"], state["metrics"]) == (wanted_state["history"], wanted_state["metrics"])


def test_a_split_with_fewer_examples_than_ranks_is_refused(ranks, written):
    one = written([{"x": [1.0, 2.0], "label": 1}])
    trainings = ranks("few", eval_files=one)
    assert not any(training.ended() for training in trainings)
    assert "a split of 1 examples for 2 ranks; expected at least one example for each rank" in trainings[0].said
