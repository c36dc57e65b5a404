"""What is published is true of what is published: metrics are of whole splits, and of the weights that are written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from results import read
from torch_fits import program, state, weights
from trainings import all_well

pytestmark = pytest.mark.newest

METRICS = ["accuracy", "f1", "auroc"]


def by_hand(scores, labels):
    """Loss and metrics of two classes, by NumPy and scikit-learn."""
    from sklearn.metrics import f1_score, roc_auc_score

    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    logarithms = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    return {
        "loss": -logarithms[np.arange(len(labels)), labels].mean(),
        "accuracy": (scores.argmax(1) == labels).mean(),
        "f1": f1_score(labels, scores.argmax(1), average="macro"),
        "auroc": roc_auc_score(labels, logarithms[:, 1] - logarithms[:, 0]),
    }


def columns(files):
    rows = list(read(files))
    return np.array([row["x"] for row in rows], np.float32), np.array([row["label"][0] for row in rows])


def network(stored, x):
    """The model of the `made` fixture, from its published weights."""
    hidden = np.tanh(x @ stored["1.weight"].T + stored["1.bias"])
    return hidden @ stored["3.weight"].T + stored["3.bias"]


def ema():
    """A callback that keeps a moving average of the weights, and makes it the model in the end."""
    import torch

    from polytrainer.executors.backends.torch.callbacks import Callback

    class Ema(Callback):
        def on_train_begin(self, engine):
            self.average = torch.optim.swa_utils.AveragedModel(
                engine.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
            )

        def on_step_end(self, engine, loss):
            self.average.update_parameters(engine.model)

        def on_train_end(self, engine):
            engine.model.load_state_dict(self.average.module.state_dict())

    return Ema()


def assert_true_of_what_is_published(fit, small, metrics, logits):
    """Of eval split and test splits: by the program, by the written weights, and by the test results."""
    import torch

    recorded = state(fit)["metrics"]
    assert recorded == metrics
    for prefix, split in (("", "eval"), ("again.", "eval"), ("held.", "other")):
        x, labels = columns(getattr(small, split))
        told = {name: metrics[prefix + name] for name in ["loss", *METRICS]}
        assert told == pytest.approx(by_hand(network(weights(fit), x), labels), abs=1e-6)
        assert told == pytest.approx(by_hand(logits(torch.tensor(x)), labels), abs=1e-6)
        if prefix:
            rows = list(read(fit.output / "test_results" / f"Split-{prefix[:-1]}" / "*"))
            assert [row["x"] for row in rows] == x.tolist()
            told_rows = by_hand(np.log([row["prediction"] for row in rows]), [row["label"][0] for row in rows])
            assert told == pytest.approx(told_rows, abs=1e-6)


CASES = {
    "plain": {},
    "limited evaluations": {"eval_args": {"num_steps": 1}},
    "another batch size": {"eval_args": {"num_steps": 2, "batch_size": 5}},
    "streaming": {"eval_args": {"num_steps": 1}, "data_mode": "streaming"},
    "early stopping": {"eval_args": {"num_steps": 1}, "early_stopping": {"metric": "accuracy", "patience": 2}},
    "best weights": {"eval_args": {"num_steps": 1}, "keep_checkpoints": {"metric": "loss", "best": 2, "last": 1}},
    "ema": {"eval_args": {"num_steps": 1}},
    "ema and best weights": {"eval_every_n_steps": 4, "early_stopping": {"patience": 3}},
}


@pytest.mark.parametrize("case", CASES)
def test_metrics_are_those_of_the_published_weights_on_whole_splits(made, fit, small, case):
    callbacks = {"callbacks": lambda self: [ema()]} if case.startswith("ema") else {}
    trainer = made(metrics=METRICS, learning_rate=0.2, **callbacks)
    test_files = {"again": small.eval, "held": small.other}
    result = fit(trainer, num_epochs=6, test_files=test_files, **CASES[case])
    with_program = program(fit)
    assert_true_of_what_is_published(fit, small, result.metrics, lambda x: with_program({"x": x}).detach().numpy())
    assert trainer.validate() == {name: result.metrics[name] for name in ["loss", *METRICS]}


def test_and_those_of_the_loaded_saved_model(made, fit, small):
    import tensorflow as tf

    result = fit(
        made(metrics=METRICS, callbacks=lambda self: [ema()]),
        eval_args={"num_steps": 1, "batch_size": 7},
        early_stopping={"metric": "accuracy", "patience": 1},
        test_files={"again": small.eval, "held": small.other},
        export_args={"formats": ["SAVED_MODEL"]},
    )
    loaded = tf.saved_model.load(str(fit.output / "model" / "Format-Serving"))
    predict = loaded.signatures["predict"]
    assert_true_of_what_is_published(
        fit, small, result.metrics, lambda x: predict(x=tf.constant(x.numpy()))["outputs"].numpy()
    )


def test_while_training_evaluations_are_of_the_first_batches(made, fit):
    """Which is what num_steps is for; each of them is of the same ones."""
    trainer = made(optimizer="sgd", learning_rate=1e-12)
    fit(trainer, num_epochs=4, eval_args={"num_steps": 1, "batch_size": 5})
    losses = [row["val_loss"] for row in state(fit)["history"]]
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-9)
    assert abs(losses[0] - state(fit)["metrics"]["loss"]) > 1e-3


# ---- data of one's own


def batches(small, size=6):
    import torch

    x, label = columns(small.eval)
    x, label = torch.tensor(x), torch.tensor(label)
    return [({"x": x[i : i + size]}, label[i : i + size]) for i in range(0, len(x), size)]


class Positioned:
    """Goes on where the last iteration was left, until it is at the end, as readers with a position do."""

    def __init__(self, some):
        self.some, self.at = some, 0

    def __iter__(self):
        while self.at < len(self.some):
            self.at += 1
            yield self.some[self.at - 1]
        self.at = 0

    def __len__(self):
        return len(self.some)

    def state_dict(self):
        return {"at": self.at}


class Resumable(Positioned):
    def load_state_dict(self, state):
        self.at = state["at"]


def generator(some):
    yield from some


def data_loader(some):
    from torch.utils.data import DataLoader

    return DataLoader(some, batch_size=None)


@pytest.mark.parametrize("kind", [Resumable, Positioned, generator, data_loader, list])
@pytest.mark.parametrize("every", [2, 0])
def test_each_evaluation_starts_at_the_first_example_whatever_input_fn_returns(made, fit, small, kind, every):
    some, seen = batches(small), []

    def input_fn(self, files, *, training, first_step=0):
        return list(some) if training else kind(some)

    def eval_step(self, model, batch, metrics):
        seen.append(next(number for number, each in enumerate(some) if batch[0]["x"] is each[0]["x"]))
        return super(type(self), self).eval_step(model, batch, metrics)

    trainer = made(input_fn=input_fn, eval_step=eval_step)
    result = fit(trainer, num_epochs=1, eval_every_n_steps=every, eval_args={"num_steps": 3})
    while_training = 4 if every else 1
    assert seen == [0, 1, 2] * while_training + list(range(7))
    x, labels = columns(small.eval)
    assert result.metrics["loss"] == pytest.approx(by_hand(network(weights(fit), x), labels)["loss"], abs=1e-6)


# ---- several ranks


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": True},
        {"early_stopping": {"metric": "accuracy", "patience": 1}, "eval_every_n_steps": 3},
        {"strategy": "fsdp", "keep_checkpoints": {"metric": "loss", "best": 1}},
    ],
)
def test_of_two_ranks_too(ranks, small, tmp_path, options):
    from safetensors.numpy import load_file

    options = {"strategy": "ddp", "learning_rate": 0.1, "eval_args": {"num_steps": 1, "batch_size": 5}, **options}
    all_well(ranks(2, "together", **options))
    out = tmp_path / "together"
    metrics = json.loads((out / "model_run" / "trainer_state.json").read_text())["metrics"]
    stored = load_file(out / "model" / "Format-Torch" / "model.safetensors")
    x, labels = columns(small.eval)
    hidden = np.tanh(x @ stored["layers.0.weight"].T + stored["layers.0.bias"])
    expected = by_hand(hidden @ stored["layers.3.weight"].T + stored["layers.3.bias"], labels)
    told = list(read(out / "test_results" / "Split-eval" / "*"))
    assert len(told) == len(labels) == 41
    by_rows = by_hand(np.log([row["prediction"] for row in told]), [row["label"][0] for row in told])
    for name in ("loss", "accuracy", "auroc"):
        assert metrics[name] == pytest.approx(expected[name], abs=1e-6)
        assert metrics[name] == pytest.approx(by_rows[name], abs=1e-6)
