"""Ranks whose BatchNorm sees other examples evaluate one model: the one that is published."""

from __future__ import annotations

import json

import numpy as np
import pytest
from results import read
from trainings import all_well


def published(folder):
    from safetensors.numpy import load_file

    state = json.loads((folder / "model_run" / "trainer_state.json").read_text())
    return load_file(folder / "model" / "Format-Torch" / "model.safetensors"), state


def by_hand(stored, files):
    """Loss, accuracy and probabilities of a split, in NumPy: linear, BatchNorm's running statistics, tanh, linear."""
    rows = list(read(files))
    x, labels = np.array([row["x"] for row in rows]), np.array([row["label"][0] for row in rows])
    layers = {name: np.float64(value) for name, value in stored.items()}
    hidden = x @ layers["layers.0.weight"].T + layers["layers.0.bias"]
    hidden = (hidden - layers["layers.1.running_mean"]) / np.sqrt(layers["layers.1.running_var"] + 1e-5)
    hidden = np.tanh(hidden * layers["layers.1.weight"] + layers["layers.1.bias"])
    scores = hidden @ layers["layers.4.weight"].T + layers["layers.4.bias"]
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    return loss, (scores.argmax(1) == labels).mean(), probabilities


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "ddp"},
        {"strategy": "fsdp"},
        {"strategy": "ddp", "batch_size": 16, "micro_batch_size": 4, "eval_args": {"num_steps": 1}},
        {"strategy": "ddp", "keep_checkpoints": {"metric": "accuracy", "best": 1}, "eval_every_n_steps": 4},
        {"strategy": "fsdp", "early_stopping": {"metric": "loss", "patience": 1}},
    ],
)
def test_what_is_reported_is_true_of_the_published_statistics(ranks, small, tmp_path, options):
    all_well(ranks(2, "together", norm=True, learning_rate=0.1, **options))
    stored, state = published(tmp_path / "together")
    loss, accuracy, probabilities = by_hand(stored, small.eval)
    assert stored["layers.1.num_batches_tracked"] > 0
    assert state["metrics"]["loss"] == pytest.approx(loss, abs=1e-6)
    assert state["metrics"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    told = [row["prediction"] for row in read(tmp_path / "together" / "test_results" / "Split-eval" / "*")]
    rows = [row["x"] for row in read(tmp_path / "together" / "test_results" / "Split-eval" / "*")]
    expected = dict(zip([tuple(row["x"]) for row in read(small.eval)], probabilities, strict=True))
    assert np.allclose(told, [expected[tuple(x)] for x in rows], atol=1e-6)


def test_an_evaluation_while_training_is_of_the_weights_that_are_kept(ranks, small, tmp_path):
    from safetensors.numpy import load_file

    keep = {"keep_checkpoints": {"last": 2}}
    all_well(ranks(2, "together", norm=True, learning_rate=0.1, strategy="ddp", num_epochs=3, **keep))
    _, state = published(tmp_path / "together")
    losses = {row["step"]: row["val_loss"] for row in state["history"]}
    assert len(state["kept"]) == 2
    for step in map(int, state["kept"]):
        kept = load_file(tmp_path / "together" / "model_run" / "checkpoints" / f"step-{step:08}.safetensors")
        assert losses[step] == pytest.approx(by_hand(kept, small.eval)[0], abs=1e-6)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_sync_batch_norm_on_a_cpu_is_refused(strategy):
    import torch

    from polytrainer.executors.backends.torch.backend import Ddp, Fsdp
    from polytrainer.executors.errors import PreflightError
    from polytrainer.proto.trainer_pb2 import TrainArgs

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    kind = {"ddp": Ddp, "fsdp": Fsdp}[strategy]
    with pytest.raises(PreflightError, match=r"train_args.sync_batch_norm: got True on a CPU; expected GPUs"):
        kind(TrainArgs(strategy=strategy, sync_batch_norm=True))


def test_and_ends_the_training_with_these_words(ranks):
    trainings = ranks(2, "together", strategy="ddp", sync_batch_norm=True)
    assert not any(training.ended() for training in trainings)
    assert "train_args.sync_batch_norm: got True on a CPU; expected GPUs" in trainings[0].said


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_buffers_of_all_kinds_become_those_of_rank_0(ranks, tmp_path, strategy):
    """A mask, a transposed table, an empty one: what models register besides statistics."""
    all_well(ranks(2, "together", strategy=strategy, buffers=True, num_epochs=1))
    _, state = published(tmp_path / "together")
    assert state["metrics"]["accuracy"] > 0
