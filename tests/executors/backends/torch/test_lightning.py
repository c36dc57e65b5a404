"""A LightningModule from model_fn: Lightning trains it; data, checkpoints, records and export are as for any model."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:`isinstance.treespec, LeafSpec"),
]


@pytest.fixture
def kinds(lightning_kinds):
    return lightning_kinds


@pytest.fixture
def network(lightning_network):
    return lightning_network


@pytest.fixture
def fit(lightning_fit):
    return lightning_fit


def same(one, other):
    import torch

    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def rows(fit):
    with (fit.output / "model_run" / "logs" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_it_is_trained_and_exported(fit, network, small, kinds):
    import tensorflow as tf
    import torch
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from polytrainer import TorchTrainer

    class Exporting(kinds[1]):
        save = TorchTrainer.save

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    logging = network(training_step=training_step)
    told = {"test_files": {"test": small.other}, "export_args": {"formats": ["SAVED_MODEL"]}}
    trainer = fit(logging, kind=Exporting, num_epochs=4, log_every_n_steps=2, **told)
    assert trainer.result.steps == 52  # 13 of 8 examples, the last of 7
    assert trainer.result.metrics["loss"] < 0.6
    assert set(trainer.result.metrics) == {"loss", "test.loss"}
    assert trainer.result.parity["saved_model"] <= 1e-5
    served = tf.saved_model.load(str(fit.output / "model" / "Format-Serving")).signatures["predict"]
    program = torch.export.load(fit.output / "model" / "Format-Torch" / "model.pt2").module()
    x = torch.tensor([[3.0, 1.0], [-2.0, -1.0], [0.1, 0.2]])
    with torch.no_grad():
        assert torch.allclose(program({"x": x}), trainer.model(x), atol=1e-6)
        assert torch.allclose(torch.tensor(served(x=x.numpy())["outputs"].numpy()), trainer.model(x), atol=1e-6)
    assert program({"x": x}).argmax(1)[:2].tolist() == [1, 0]
    table = rows(fit)
    assert [(row["step"], row["epoch"]) for row in table] == [("13", "1"), ("26", "2"), ("39", "3"), ("52", "4")]
    assert list(table[0]) == ["step", "epoch", "learning_rate", "loss", "val_loss"]
    assert float(table[-1]["val_loss"]) == pytest.approx(trainer.result.metrics["loss"])
    assert float(table[-1]["loss"]) < float(table[0]["loss"])
    state = json.loads((fit.output / "model_run" / "trainer_state.json").read_text())
    assert (state["step"], state["examples"], state["total_steps"]) == (52, 412, 52)
    events = EventAccumulator(str(fit.output / "model_run" / "logs"))
    events.Reload()
    assert {"train_loss", "val_loss"} <= set(events.Tags()["scalars"])


def test_layers_may_be_made_by_a_hook(fit, network, kinds):
    from torch import nn

    from polytrainer import TorchTrainer

    def setup(self, stage):
        if not hasattr(self, "more"):
            self.more = nn.Linear(2, 2)

    def forward(self, x):
        return self.more(self.layers(x))

    exporting = type("Exporting", (kinds[1],), {"save": TorchTrainer.save})
    fit(network(setup=setup, forward=forward), kind=exporting)
    assert (fit.output / "model" / "Format-Serving" / "model.pt2").exists()


def test_an_evaluation_counts_each_example_once(fit):
    import torch
    from torch.nn import functional

    trainer = fit(eval_args={"batch_size": 16, "num_steps": 1})  # 16, 16 and 9 examples
    with torch.no_grad():
        batches = [trainer.model(f["x"]) for f, _ in trainer.eval_batches["eval"]]
        labels = [label.flatten() for _, label in trainer.eval_batches["eval"]]
    wanted = functional.cross_entropy(torch.cat(batches), torch.cat(labels))
    assert trainer.result.metrics["loss"] == pytest.approx(float(wanted), rel=1e-5)
    wanted = functional.cross_entropy(batches[0], labels[0])
    assert float(rows(fit)[-1]["val_loss"]) == pytest.approx(float(wanted), rel=1e-5)


def test_a_mean_counts_examples_whatever_their_lengths(fit, network, written):
    import tensorflow as tf

    def forward(self, x):
        return x.values

    def validation_step(self, batch, batch_idx):
        self.log("label", batch[1].float().mean())

    def training_step(self, batch, batch_idx):
        return self.layers[0].weight.square().sum()

    files = written([{"x": [0.5] * (1 + number), "label": number} for number in range(11)])
    spec = {"x": tf.io.VarLenFeature(tf.float32), "label": tf.io.FixedLenFeature([1], tf.int64)}
    methods = {"forward": forward, "validation_step": validation_step, "training_step": training_step}
    data = {"train_files": files, "eval_files": files, "schema": None}
    trainer = fit(network(**methods), arguments={"feature_spec": spec}, **data)
    assert trainer.result.metrics == {"label": pytest.approx(5.0)}


def test_the_trainer_is_made_with_what_the_user_says(fit):
    import lightning

    heard = []

    class Listening(lightning.Callback):
        def on_train_epoch_end(self, trainer, module):
            heard.append(trainer.current_epoch)

    config = {"max_epochs": 3, "callbacks": [Listening()], "logger": False, "precision": "bf16-mixed"}
    trainer = fit(config={**config, "limit_train_batches": 5}, max_grad_norm=0.5)
    assert heard == [0, 1, 2]
    assert trainer.result.steps == trainer.schedule.total_steps == 15
    made = trainer.engine.lightning
    assert (made.precision, made.gradient_clip_val, made.loggers) == ("bf16-mixed", 0.5, [])
    assert not list((fit.output / "model_run" / "logs").glob("events*"))


@pytest.mark.parametrize(
    ("config", "train_args", "match"),
    [
        ({"max_steps": 5}, {"num_steps": 6}, r"trainer_config\['max_steps'\].*train_args.num_steps=6"),
        ({"max_epochs": 5}, {"num_steps": 6}, r"trainer_config\['max_epochs'\].*train_args.num_steps=6"),
        ({"precision": "32"}, {"precision": "bf16-mixed"}, r"trainer_config\['precision'\].*train_args.precision"),
        ({"val_check_interval": 3}, {"eval_every_n_steps": 4}, r"val_check_interval.*eval_every_n_steps=4"),
        ({"max_steps": 3}, {"grad_accumulation": 3}, r"batches of 8 examples in 3 parts"),
        ({"max_steps": 3}, {"micro_batch_size": 0}, r"not found by trying"),
        ({"max_epoch": 3}, {}, r"trainer_config: got .*max_epoch"),
        ({"devices": 2, "accelerator": "cpu"}, {}, r"devices for 2 ranks.*num_processes"),
        ({"max_steps": 3}, {"early_stopping": {}, "eval_files": None}, r"validation_step: got no split"),
    ],
)
def test_what_contradicts_is_refused_before_any_training(config, train_args, match, fit):
    with pytest.raises(ValueError, match=match):
        fit(config=config, **train_args)


def test_the_same_said_twice_is_no_contradiction(fit):
    assert fit(config={"max_steps": 4}, num_steps=4).result.steps == 4


@pytest.mark.parametrize(("name", "value"), [("optimizer_fn", lambda self, model: None), ("metrics", ["accuracy"])])
def test_what_lightning_does_itself_is_refused(name, value, fit, kinds):
    hooks, arguments = ({name: value}, {}) if callable(value) else ({}, {name: value})
    with pytest.raises(ValueError, match=rf"{name}: got what Lightning does itself"):
        fit(kind=type("Hooked", (kinds[1],), hooks), arguments=arguments)


def test_its_arguments_are_of_no_use_to_another_model(fit):
    from torch import nn

    with pytest.raises(ValueError, match=r"trainer_config: got arguments of lightning.Trainer for a Linear"):
        fit(network=lambda: nn.Linear(2, 2), config={"max_epochs": 1})


def test_without_lightning_it_is_said_what_to_install(fit, monkeypatch):
    from torch import nn

    own = type("LightningModule", (nn.Module,), {"__module__": "lightning.pytorch.core.module"})
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(ValueError, match=r"lightning.pytorch: got what cannot be imported.*polytrainer\[lightning\]"):
        fit(network=own)


def test_an_error_of_the_users_stays_as_it_is(fit, network):
    def training_step(self, batch, batch_idx):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fit(network(training_step=training_step))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_loss_that_is_no_number_ends_the_training(fit, network):
    def training_step(self, batch, batch_idx):
        return self.loss(batch) * (float("nan") if self.global_step == 4 else 1.0)

    with pytest.raises(RuntimeError, match=r"nan at step 5.*at step 4"):
        fit(network(training_step=training_step))


def test_parts_of_a_batch_make_the_step_of_a_whole_one(fit, network):
    sizes = []

    def training_step(self, batch, batch_idx):
        sizes.append(len(batch[1]))
        return self.loss(batch)

    whole = fit(num_steps=12)
    parts = fit(network(training_step=training_step), num_steps=12, grad_accumulation=4, eval_every_n_steps=5)
    assert sizes == [2] * 48
    for name, value in whole.saved.items():
        assert value.allclose(parts.saved[name], atol=1e-6)
    assert [row["step"] for row in rows(fit)] == ["5", "10", "12"]


def test_splits_have_metrics_of_their_own(fit, network, small):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.loss(batch), on_step=True, on_epoch=True)
        self.log("val/examples", float(len(batch[1])), reduce_fx="sum")

    def test_step(self, batch, batch_idx):
        self.log("test_examples", float(len(batch[1])), reduce_fx="sum")

    splits = {"a": small.eval, "b": small.other}
    trainer = fit(
        network(validation_step=validation_step, test_step=test_step),
        eval_files=splits,
        test_files=splits,
        early_stopping={"metric": "val_b.loss", "patience": 9},
    )
    found = trainer.result.metrics
    assert {name for name in found if name.endswith("loss")} == {"a.loss", "b.loss"}
    wanted = {"a.examples": 41, "b.examples": 10, "a.test_examples": None, "b.test_examples": None}
    assert {name: found.get(name) for name in wanted} == wanted
    assert {name: row for name, row in rows(fit)[0].items() if name.endswith("examples")} == {
        "val_a.examples": "41.0",
        "val_b.examples": "10.0",
    }
    assert not [name for name in rows(fit)[0] if name.endswith(("_epoch", "_step"))]
    assert trainer.engine.state.best == min(float(row["val_b.loss"]) for row in rows(fit))


@pytest.mark.parametrize("metric", ["score", "val_score"])
def test_early_stopping_goes_back_to_the_best_weights(metric, fit, network):
    weights = []

    def validation_step(self, batch, batch_idx):
        self.log("val_score", [0.1, 0.5, 0.9, 0.3, 0.2, 0.95, 0.1, 0.1, 0.1, 0.1][self.current_epoch])

    def on_validation_end(self):
        if not self.trainer.sanity_checking:
            weights.append({name: value.clone() for name, value in self.state_dict().items()})

    trainer = fit(
        network(validation_step=validation_step, on_validation_end=on_validation_end),
        num_epochs=10,
        early_stopping={"metric": metric, "mode": "max", "patience": 2},
        keep_checkpoints={"best": 2},
    )
    assert [float(row["val_score"]) for row in rows(fit)] == pytest.approx([0.1, 0.5, 0.9, 0.3, 0.2])
    assert same(trainer.saved, weights[2])
    kept = sorted(path.name for path in (fit.output / "model_run" / "checkpoints").iterdir())
    assert kept == ["step-00000026.safetensors", "step-00000039.safetensors"]


@pytest.mark.parametrize("where", ["trainer_config", "configure_callbacks"])
def test_a_model_checkpoint_of_the_users_chooses_the_weights(where, fit, network):
    from lightning.pytorch.callbacks import ModelCheckpoint

    weights = []

    def validation_step(self, batch, batch_idx):
        self.log("val_score", [0.1, 0.9, 0.5, 0.5][self.current_epoch])

    def on_validation_end(self):
        if not self.trainer.sanity_checking:
            weights.append({name: value.clone() for name, value in self.state_dict().items()})

    methods = {"validation_step": validation_step, "on_validation_end": on_validation_end}
    chooses = [ModelCheckpoint(monitor="val_score", mode="max")]
    if where == "configure_callbacks":
        methods["configure_callbacks"] = lambda self: chooses
    config = {"callbacks": chooses} if where == "trainer_config" else {}
    trainer = fit(network(**methods), {"enable_checkpointing": True, **config}, num_epochs=3)
    assert same(trainer.saved, weights[1])
    assert trainer.result.best_step == 26


def test_a_model_checkpoint_of_what_no_evaluation_logs_chooses_nothing(fit, network, caplog):
    from lightning.pytorch.callbacks import ModelCheckpoint

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    trainer = fit(
        network(training_step=training_step), {"callbacks": [ModelCheckpoint(monitor="train_loss")]}, num_epochs=2
    )
    assert "ModelCheckpoint(monitor='train_loss'): validation_step logs only ['loss']" in caplog.text
    assert trainer.result.best_step is None


def test_a_metric_of_one_of_several_splits_is_checked_before_the_first_step(fit, network, small):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.loss(batch))

    module = network(validation_step=validation_step, training_step=lambda self, batch, batch_idx: 1 / 0)
    told = {"eval_files": {"a": small.eval, "b": small.other}, "early_stopping": {"metric": "loss"}}
    with pytest.raises(ValueError, match=r"metric: got 'loss'; expected one of \['a.loss', 'b.loss'\]"):
        fit(module, **told)


@pytest.mark.parametrize("metric", ["auc", "val_auc"])
@pytest.mark.parametrize("sanity_steps", [2, 0])
def test_a_metric_that_is_not_logged_cannot_be_watched(metric, sanity_steps, fit, network):
    steps = []

    def training_step(self, batch, batch_idx):
        steps.append(batch_idx)
        return self.loss(batch)

    config = {"num_sanity_val_steps": sanity_steps, "max_epochs": 2}
    with pytest.raises(ValueError, match=r"early_stopping.metric: got 'auc'; expected one of \['loss'\]"):
        fit(network(training_step=training_step), config, early_stopping={"metric": metric})
    assert len(steps) == (0 if sanity_steps else 13)  # before the first step, or at the first evaluation


def test_what_a_checkpoint_could_not_be_read_with_is_refused(fit, network):
    class Odd:
        pass

    def on_save_checkpoint(self, checkpoint):
        checkpoint["odd"] = odd

    Odd.__module__, Odd.__qualname__ = "json", "Odd"
    json.Odd = Odd
    odd = Odd()
    try:
        with pytest.raises(RuntimeError, match=r"only code can make: .*json.Odd.*save_hyperparameters\(ignore"):
            fit(network(on_save_checkpoint=on_save_checkpoint))
    finally:
        del json.Odd


class DiedError(Exception):
    """Stands for the death of a process: nothing is saved any more."""


def dying(kinds, scheduler):
    """A module with dropout and momentum, which dies after as many steps of a process as its `dies_after` says."""
    import torch
    from torch import nn

    class Dying(kinds[0]):
        dies_after = None

        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 2))
            self.steps = 0

        def on_train_batch_start(self, batch, batch_idx):
            seen.append((self.current_epoch, batch_idx, self.global_step))

        def on_train_epoch_start(self):
            seen.append("epoch")

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.steps += 1
            if self.steps == self.dies_after:
                raise DiedError

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)
            if scheduler == "plateau":
                made = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.5)
                watching = {"scheduler": made, "monitor": "val_loss", "strict": False}
                return {"optimizer": optimizer, "lr_scheduler": watching}
            made = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.8)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "interval": scheduler}}

    seen = Dying.seen = []
    return Dying


@pytest.mark.parametrize(
    ("scheduler", "deaths", "options"),
    [
        ("plateau", [16], {"num_epochs": 4, "eval_every_n_epochs": 2}),  # a checkpoint each epoch
        # 6 steps an epoch: taken up at the end of one, then within the next
        ("plateau", [13, 5], {"num_epochs": 3, "checkpoint_every_n_steps": 4, "batch_size": 18}),
        ("step", [9], {"num_steps": 20, "checkpoint_every_n_steps": 2, "eval_every_n_steps": 4}),
        ("epoch", [25], {"num_steps": 16, "checkpoint_every_n_steps": 2, "grad_accumulation": 2, "early_stopping": {}}),
    ],
)
def test_one_that_died_ends_bit_equal_to_one_that_did_not(scheduler, deaths, options, fit, kinds):
    network = dying(kinds, scheduler)
    told = {"batch_size": 16, **options}  # 7 steps an epoch
    whole = fit(network, **told)
    steps = list(network.seen)
    for death in deaths:
        network.dies_after = death
        with pytest.raises(DiedError):
            fit(network, **told)
        network.seen.clear()
    network.dies_after = None
    resumed = fit(network, **told)
    assert resumed.engine.resumed_from > 0
    assert network.seen == steps[-len(network.seen) :]  # the same numbers, no step or epoch once more
    assert same(resumed.saved, whole.saved)
    assert resumed.engine.state.history == whole.engine.state.history
    assert resumed.result.metrics == whole.result.metrics
    assert resumed.engine.state.examples == whole.engine.state.examples
    curves = [each.engine.lightning.fit_loop.epoch_loop._batches_that_stepped for each in (whole, resumed)]
    assert curves[0] == curves[1]  # what a logger has for a step


class Unsized:
    """Batches that have neither a length nor a position."""

    def __init__(self, batches):
        self._batches = list(batches)

    def __iter__(self):
        return iter(self._batches)


@pytest.mark.parametrize("form", [list, Unsized])
def test_it_goes_on_whatever_input_fn_returns(form, fit, kinds):
    network = dying(kinds, "step")

    class Own(kinds[1]):
        def input_fn(self, files, *, training, first_step=0):
            return form(super().input_fn(files, training=training))

    told = {"kind": Own, "batch_size": 16, "num_epochs": 3, "checkpoint_every_n_steps": 3}
    whole = fit(network, **told)
    network.dies_after = 11
    with pytest.raises(DiedError):
        fit(network, **told)
    network.dies_after = None
    resumed = fit(network, **told)
    assert resumed.engine.resumed_from == 9
    assert same(resumed.saved, whole.saved)
    assert resumed.engine.state.history == whole.engine.state.history
    assert [row["step"] for row in resumed.engine.state.history] == [7, 14, 21]


def test_without_a_seed_the_order_of_the_data_is_that_of_the_first_try(fit, kinds):
    seeds, network = [], dying(kinds, "step")

    class Unseeded(kinds[1]):
        def model_fn(self):
            seeds.append(self.seed)
            return super().model_fn()

    network.dies_after = 9
    with pytest.raises(DiedError):
        fit(network, kind=Unseeded, batch_size=16, seed=None)
    network.dies_after = None
    resumed = fit(network, kind=Unseeded, batch_size=16, seed=None)
    assert seeds[0] != seeds[1]
    assert (resumed.seed, resumed.train_batches.state_dict()["seed"]) == (seeds[0], seeds[0])


@pytest.mark.parametrize(("part", "step"), [(8, 5), (51, 26)])  # the first of the step's two, the very last
def test_sigterm_saves_the_step_it_is_at(part, step, fit, network):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.trainer.fit_loop.total_batch_idx == part and self.asks:
            os.kill(os.getpid(), signal.SIGTERM)

    asked = network(on_train_batch_end=on_train_batch_end, asks=True)
    with pytest.raises(RuntimeError, match=f"SIGTERM; it is saved at step {step};"):
        fit(asked, grad_accumulation=2)
    asked.asks = False
    trainer = fit(asked, grad_accumulation=2)
    assert (trainer.engine.resumed_from, trainer.result.steps) == (step, 26)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# Imports once, and forks a process for each of three trainings; the second is killed, the third is the same again.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import lightning, tensorflow, tensorflow_transform.tf_metadata.schema_utils, torch, torch.utils.tensorboard
from torch import nn
from polytrainer import TorchTrainer

class Network(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, batch_idx):
        time.sleep(slow)
        return nn.functional.cross_entropy(self(batch[0]["x"]), batch[1].flatten())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)

class Mine(TorchTrainer):
    def model_fn(self):
        return Network()

    def save(self, model):
        torch.save(model.state_dict(), Path(output) / "weights.pt")

small, folder = map(Path, sys.argv[1:])
for name, slow in (("whole", 0), ("killed", 0.1), ("killed", 0)):
    output = str(folder / name)
    if not (child := os.fork()):
        Mine("label").fit(str(small / "Split-train" / "*"), schema=str(small / "schema.pbtxt"), output_dir=output,
                          num_epochs=3, batch_size=8, seed=1, checkpoint_every_n_steps=2)
        sys.stdout.flush()
        os._exit(0)
    while slow and not list(folder.glob("killed/.checkpoints/*/step-0000000[4-9]")):
        time.sleep(0.01)
    if slow:
        os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == (signal.SIGKILL if slow else 0)
"""


def test_a_rank_that_another_job_has_left_keeps_no_log_from_being_written(fit, network, monkeypatch):
    from lightning_utilities.core.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as with RANK=1 when Lightning is imported
    fit(network())
    assert list(fit.output.glob("model_run/logs/events.*"))


@pytest.mark.exhaustive
def test_a_process_that_is_killed_is_taken_up_by_the_next(small, tmp_path):
    import torch

    command = [sys.executable, "-c", PROGRAM, str(small.folder), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"resumed +from step [4-9]\n", done.stdout)
    assert same(torch.load(tmp_path / "killed" / "weights.pt"), torch.load(tmp_path / "whole" / "weights.pt"))
