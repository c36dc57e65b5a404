"""TorchTrainer: what a user gets for a model_fn, and what each hook is for."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from torch_fits import program, same, state, weights

pytestmark = pytest.mark.newest


# ---- a training


def test_a_model_fn_is_enough(made, fit):
    result = fit(made(), num_epochs=5)
    assert result.metrics["accuracy"] > 0.7
    assert result.steps == state(fit)["step"] == 5 * 13
    assert state(fit)["num_examples"] == 103
    assert state(fit)["examples"] == 5 * 103


def test_the_run_is_written_down(made, fit):
    result = fit(made(scheduler="cosine"), num_epochs=3, log_every_n_steps=5)
    with (fit.output / "model_run" / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [13, 26, 39]
    assert float(rows[-1]["val_accuracy"]) == result.metrics["accuracy"]
    assert float(rows[0]["loss"]) > float(rows[-1]["loss"])
    curves = events(fit.output / "model_run" / "logs")
    assert {"train/loss", "train/learning_rate", "train/memory_mib", "validation/accuracy"} <= set(curves)
    assert [step for step, _ in curves["train/learning_rate"]] == [5, 10, 15, 20, 25, 30, 35]
    assert curves["train/learning_rate"][0][1] > curves["train/learning_rate"][-1][1]
    assert state(fit)["arguments"]["scheduler"] == "'cosine'"


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    tags = accumulator.Tags()
    found = {tag: [(each.step, each.value) for each in accumulator.Scalars(tag)] for tag in tags["scalars"]}
    return {**found, "graph": tags["graph"], "histograms": tags["histograms"]}


def test_the_graph_and_histograms_are_drawn_when_asked_for(made, fit):
    fit(made(log_graph=True, log_histograms=True), num_epochs=1)
    drawn = events(fit.output / "model_run" / "logs")
    assert drawn["graph"]
    assert "1.weight" in drawn["histograms"]


def test_banner_progress_and_each_split_are_on_the_screen(made, fit, small, capsys):
    fit(made(), eval_files={"eval": small.eval, "other": small.other}, num_epochs=1, log_every_n_steps=5)
    screen = capsys.readouterr().out
    assert "22 parameters, 22 of them trainable" in screen
    assert "cross_entropy" in screen
    assert "step 5/13  loss" in screen
    assert "examples/s" in screen
    assert "\n  other: loss" in screen


def test_the_program_takes_any_number_of_examples_and_needs_no_code_of_ours(made, fit):
    import torch

    fit(made())
    stored = weights(fit)
    for count in (1, 2, 7):
        x = torch.randn(count, 2)
        hidden = torch.tanh(x @ torch.tensor(stored["1.weight"]).T + torch.tensor(stored["1.bias"]))
        wanted = hidden @ torch.tensor(stored["3.weight"]).T + torch.tensor(stored["3.bias"])
        assert torch.allclose(program(fit)({"x": x}), wanted, atol=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(made, fit, tmp_path):
    found = []
    for number, seed in enumerate((1, 1, 2)):
        fit.output = tmp_path / str(number)
        fit(made(), seed=seed)
        found.append(weights(fit))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_several_eval_splits_are_told_apart_and_together(made, fit, small):
    result = fit(made(), eval_files={"eval": small.eval, "other": small.other}, test_files={"held": small.other})
    metrics = result.metrics
    assert metrics["accuracy"] == pytest.approx((metrics["eval.accuracy"] * 41 + metrics["other.accuracy"] * 10) / 51)
    assert metrics["loss"] == pytest.approx((metrics["eval.loss"] * 41 + metrics["other.loss"] * 10) / 51)
    assert metrics["held.accuracy"] == metrics["other.accuracy"]


def test_metrics_are_of_the_whole_split_however_it_is_batched(made, fit, tmp_path):
    names = ["accuracy", "f1", "auroc"]
    found = []
    for size in (3, 41):
        fit.output = tmp_path / str(size)
        found.append(fit(made(metrics=names), eval_args={"batch_size": size}).metrics)
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert set(found[0]) == {"loss", *names}


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"eval_every_n_steps": 5}, [5, 10, 15, 20, 25, 26]),
        ({"eval_every_n_epochs": 2, "num_epochs": 5}, [26, 52, 65]),
        ({"num_steps": 20}, [13, 20]),
        ({"eval_files": None}, [13, 26]),
    ],
)
def test_when_it_is_evaluated(made, fit, options, steps):
    fit(made(), **options)
    assert [row["step"] for row in state(fit)["history"]] == steps


# ---- hooks


def test_defaults_by_name(made, fit):
    trainer = made(optimizer="sgd", optimizer_options={"momentum": 0.9}, scheduler="linear", warmup_steps=0.5)
    fit(trainer)
    [optimizer] = trainer.engine.optimizers
    assert type(optimizer).__name__ == "SGD"
    assert optimizer.defaults["momentum"] == 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamx"}, r"'adamx'; expected one of .*adamw"),
        ({"scheduler": "cosin"}, r"'cosin'; expected one of .*cosine"),
        ({"loss": "entropy"}, r"'entropy'; expected one of .*cross_entropy"),
        ({"metrics": ["acc"]}, r"'acc'; expected one of .*accuracy"),
        ({"optimizer_options": {"beta": 1}}, "beta"),
        ({"label_key": "lable"}, r"'lable'; expected one of the features, \['label', 'x'\]"),
    ],
)
def test_an_unknown_name_is_refused_before_training_with_those_that_exist(made, fit, options, message):
    from polytrainer.executors.errors import PreflightError

    label = options.pop("label_key", "label")
    with pytest.raises(PreflightError, match=message):
        fit(made(label, **options))


def test_a_forward_that_names_features_gets_them_and_no_others(made, fit):
    from torch import nn

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x, scale=1.0):
            return self.layer(x) * scale

    assert fit(made(model_fn=lambda self: Named())).metrics["accuracy"] > 0.5


def test_a_forward_that_needs_what_is_no_feature_is_refused(made, fit):
    from torch import nn

    from polytrainer.executors.errors import PreflightError

    class Needy(nn.Linear):
        def forward(self, x, y):
            return super().forward(x + y)

    with pytest.raises(PreflightError, match=r"the parameters y; expected parameters that are features, which are x"):
        fit(made(model_fn=lambda self: Needy(2, 2)))


def test_a_model_that_fails_on_the_features_says_what_it_was_given(made, fit):
    from torch import nn

    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=r"outputs for x \[8, 2\] float32. A forward whose parameters") as caught:
        fit(made(model_fn=lambda self: nn.Sequential(nn.Linear(2, 2))))  # which does not know of a dict
    assert "linear" in str(caught.value.__cause__)


def test_what_is_no_module_is_refused(made, fit):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=r"what model_fn returned: got builtins.dict; expected a torch.nn.Module"):
        fit(made(model_fn=lambda self: {}))


def test_each_step_can_be_ones_own(made, fit):
    import torch

    seen = []

    def train_step(self, model, batch):
        features, label = batch
        seen.append(len(label))
        return {"loss": torch.nn.functional.cross_entropy(self.predict_fn(model, features), label.flatten())}

    def eval_step(self, model, batch, metrics):
        return super(type(self), self).eval_step(model, batch, metrics) * 0 + 7

    result = fit(made(train_step=train_step, eval_step=eval_step))
    assert seen == 2 * ([8] * 12 + [7])
    assert result.metrics["loss"] == 7
    assert result.metrics["accuracy"] > 0.5


def test_a_loss_of_ones_own_gets_outputs_and_label(made, fit):
    def loss_fn(self, outputs, label):
        return (outputs[:, 1:] - label.float()).square().mean()

    fit(made(loss_fn=loss_fn, metrics=[]))
    assert state(fit)["history"][-1]["val_loss"] < 0.3


def test_without_a_label_the_loss_gets_the_features(made, fit):
    from torch import nn

    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x)

    def loss_fn(self, outputs, features):
        return (outputs - features["x"]).square().mean()

    trainer = made(None, model_fn=lambda self: Autoencoder(), loss_fn=loss_fn, metrics=[])
    fit(trainer, num_epochs=20)
    assert state(fit)["history"][-1]["val_loss"] < state(fit)["history"][0]["val_loss"] / 10


def test_several_optimizers_and_a_scheduler_of_torchs_own(made, fit):
    import torch

    def optimizer_fn(self, model):
        layers = [model[1].parameters(), model[3].parameters()]
        return [torch.optim.SGD(each, lr=0.1) for each in layers]

    def scheduler_fn(self, optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5)

    trainer = made(optimizer_fn=optimizer_fn, scheduler_fn=scheduler_fn)
    fit(trainer)
    assert [each.param_groups[0]["lr"] for each in trainer.engine.optimizers] == [0.025, 0.025]


def test_plateau_steps_on_what_the_evaluation_found(made, fit):
    trainer = made(
        scheduler="plateau",
        scheduler_options={"patience": 0, "threshold": 10.0, "threshold_mode": "abs", "factor": 0.5},
    )
    fit(trainer, num_epochs=4)
    assert trainer.engine.optimizers[0].param_groups[0]["lr"] == 0.05 * 0.5**3


def test_metrics_of_ones_own(made, fit):
    import torchmetrics

    made_metrics = {"f2": lambda: torchmetrics.FBetaScore("multiclass", beta=2.0, num_classes=2)}
    result = fit(made(metrics_fn=lambda self: {name: make() for name, make in made_metrics.items()}))
    assert 0 < result.metrics["f2"] <= 1


def test_batches_of_ones_own(made, fit):
    import torch
    from torch.utils.data import DataLoader

    def input_fn(self, files, *, training, first_step=0):
        rows = [
            ({"x": torch.randn(2, generator=torch.Generator().manual_seed(i))}, torch.tensor([i % 2]))
            for i in range(20)
        ]
        return DataLoader(rows, batch_size=5)

    fit(made(input_fn=input_fn), num_epochs=3)
    assert state(fit)["step"] == 12


def test_batches_that_are_used_up_are_an_error_and_no_endless_loop(made, fit):
    import torch

    from polytrainer.executors.errors import TrainingError

    def input_fn(self, files, *, training, first_step=0):
        if training:
            return (({"x": torch.randn(5, 2)}, torch.tensor([0, 1, 0, 1, 0])) for _ in range(3))
        return [({"x": torch.randn(5, 2)}, torch.tensor([0, 1, 0, 1, 0]))]

    with pytest.raises(TrainingError, match=r"input_fn: got no batch in epoch 2; .*used up after one epoch"):
        fit(made(input_fn=input_fn), num_steps=30)


def test_callbacks_hear_of_each_turn_and_can_stop(made, fit):
    from polytrainer.executors.backends.torch.callbacks import Callback

    heard = []

    class Listener(Callback):
        def on_train_begin(self, engine):
            heard.append("train")

        def on_epoch_begin(self, engine):
            heard.append("epoch")

        def on_backward_end(self, engine, loss):
            heard.append("backward")
            assert all(parameter.grad is not None for parameter in engine.model.parameters())

        def on_step_end(self, engine, loss):
            heard.append("step")
            if engine.state.step == 15:
                engine.stop()

        def on_evaluate_end(self, engine, metrics):
            heard.append(f"accuracy at {engine.state.step}" if "accuracy" in metrics else "?")

        def on_epoch_end(self, engine):
            heard.append("epoch end")

        def on_train_end(self, engine):
            heard.append("end")

    fit(made(callbacks=lambda self: [Listener()]), num_epochs=5)
    step = ["backward", "step"]
    first = ["train", "epoch", *13 * step, "accuracy at 13", "epoch end"]
    assert heard == [*first, "epoch", *2 * step, "accuracy at 15", "epoch end", "end"]


def test_what_is_predicted_and_exported_can_be_ones_own(made, fit):
    import torch

    def predict_fn(self, model, features):
        return {"logits": model(features), "double": 2 * features["x"]}

    fit(made(predict_fn=predict_fn))
    x = torch.randn(3, 2)
    assert torch.equal(program(fit)({"x": x})["double"], 2 * x)


def test_hyperparameters_override_arguments(made, small, tmp_path):
    from polytrainer.executors.backends import local_fit

    trainer = made()
    args = local_fit.run_args(trainer, small.train, small.eval, schema=small.schema, num_steps=1)
    args.hyperparameters = {"values": {"hidden": 9, "optimizer": "sgd", "learning_rate": 0.5}}
    trainer.run_fn(args)
    assert trainer.model[1].out_features == 9
    assert trainer.engine.optimizers[0].param_groups[0]["lr"] == 0.5


def test_in_a_notebook_its_parts_can_be_called(made, fit, small):
    trainer = made()
    fit(trainer, test_files={"test": small.other})
    assert trainer.estimated_steps_per_epoch == 13
    assert trainer.validate()["accuracy"] == state(fit)["metrics"]["accuracy"]
    assert trainer.test()["test.accuracy"] == state(fit)["metrics"]["test.accuracy"]
    trainer.save_checkpoint(force=True)
    assert trainer.engine.checkpointer.load()[0] == 26
    before = weights(fit)
    trainer.save()
    assert same(before, weights(fit))


def test_it_runs_where_there_is_no_tfx(small, tmp_path):
    script = f"""
        import sys

        class Refused:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "tfx":
                    raise ImportError(f"somebody imports {{name}}")

        sys.meta_path.insert(0, Refused())
        from torch import nn
        from polytrainer import Features, TorchTrainer

        class Mine(TorchTrainer):
            def model_fn(self):
                features = Features.from_schema(self.schema, exclude=["label"])
                return nn.Sequential(features, nn.Linear(features.out_features, 2))

        trainer = Mine("label", metrics=["accuracy"])
        print(trainer.fit({small.train!r}, {small.eval!r}, schema={small.schema!r}, num_epochs=1))
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "FitResult(metrics={'loss'" in done.stdout


# ---- precision, memory, settings


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true"])
def test_half_precision_learns_too_and_gives_out_float32(made, fit, precision):
    import torch

    trainer = made()
    result = fit(trainer, precision=precision, num_epochs=5)
    assert result.metrics["accuracy"] > 0.7
    assert program(fit)({"x": torch.randn(3, 2)}).dtype == torch.float32
    kept = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {kept}
    assert bool(trainer.engine.state_dict()["backend"]) == (precision == "16-mixed")


@pytest.mark.parametrize(
    "options", [{"grad_accumulation": 3}, {"micro_batch_size": 3}, {"micro_batch_size": 1}, {"micro_batch_size": 100}]
)
def test_a_batch_in_parts_teaches_the_same_leftovers_included(made, fit, tmp_path, options):
    fit(made())
    whole = weights(fit)
    fit.output = tmp_path / "in parts"
    sizes = []

    def train_step(self, model, batch):
        sizes.append(len(batch[1]))
        return super(type(self), self).train_step(model, batch)

    fit(made(train_step=train_step), **options)
    assert same(whole, weights(fit), 1e-5)
    assert sum(sizes) == 2 * 103
    if options == {"grad_accumulation": 3}:
        assert sizes[:3] == [2, 3, 3]
    if options == {"micro_batch_size": 3}:
        assert sizes[:3] == [2, 3, 3]
        assert sizes[36:39] == [2, 2, 3]  # of 7 that are left over


def hungry(limit):
    """A model that really runs out of memory on more examples than that."""
    import torch
    from torch import nn

    class Hungry(nn.Linear):
        def forward(self, x):
            if self.training and len(x) > limit:
                torch.empty(2**60, dtype=torch.uint8)
            return super().forward(x)

    return Hungry(2, 2)


def test_a_micro_batch_that_fits_is_found_and_the_training_stays_the_same(made, fit, tmp_path):
    fit(made(model_fn=lambda self: hungry(1000)))
    whole = weights(fit)
    fit.output = tmp_path / "found"
    trainer = made(model_fn=lambda self: hungry(3))
    fit(trainer, micro_batch_size=0)
    assert trainer.engine.micro_batches.size == 2
    assert same(whole, weights(fit), 1e-5)


def test_out_of_memory_says_what_helps(made, fit):
    from polytrainer.executors.errors import TrainingError

    with pytest.raises(TrainingError, match=r"forward and backward of 8 examples.*micro_batch_size=0"):
        fit(made(model_fn=lambda self: hungry(3)))
    with pytest.raises(TrainingError, match=r"of 1 examples at once"):
        fit(made(model_fn=lambda self: hungry(0)), micro_batch_size=0)


def test_gradients_are_clipped(made, fit):
    import torch

    from polytrainer.executors.backends.torch.callbacks import Callback

    class Measure(Callback):
        def on_step_end(self, engine, loss):
            step = [new - old for new, old in zip(engine.model.parameters(), self.before, strict=True)]
            norms.append(float(torch.nn.utils.get_total_norm(step)))

        def on_backward_end(self, engine, loss):
            self.before = [parameter.detach().clone() for parameter in engine.model.parameters()]

    norms = []
    fit(made(optimizer="sgd", learning_rate=1.0, callbacks=lambda self: [Measure()]), max_grad_norm=0.01)
    assert max(norms) <= 0.01 * 1.001
    assert max(norms) > 0.009


def test_process_wide_settings_are_those_asked_for_while_it_trains_and_no_longer(made, fit):
    import torch

    seen = []

    def train_step(self, model, batch):
        seen.append((torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()))
        return super(type(self), self).train_step(model, batch)

    fit(made(train_step=train_step), num_steps=1, matmul_precision="medium", deterministic=True)
    assert seen == [("medium", True)]
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_strategy_of_another_framework_is_refused(made, fit):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match="'mirrored'; expected one of default, single, ddp, fsdp"):
        fit(made(), strategy="mirrored")


def test_pymarlins_names_are_known(made, fit):
    trainer = made()
    fit(trainer, strategy="sp-amp", num_steps=2)
    assert trainer.engine.backend.precision.name == "16-mixed"


# ---- early stopping, kept weights


def test_early_stopping_goes_back_to_the_best_weights(made, fit):
    from safetensors.numpy import load_file

    trainer = made(learning_rate=2.0, optimizer="sgd")
    result = fit(trainer, num_epochs=50, early_stopping={"metric": "loss", "patience": 2})
    told = state(fit)
    losses = {row["step"]: row["val_loss"] for row in told["history"]}
    best = min(losses, key=losses.get)
    assert told["best_step"] == best
    assert told["step"] == best + 2 * 13 < 50 * 13
    assert result.metrics["loss"] == pytest.approx(losses[best])
    [kept] = (fit.output / "model_run" / "checkpoints").iterdir()
    assert same(load_file(kept), weights(fit))


def test_a_metric_to_watch_that_does_not_exist_is_named_with_those_that_do(made, fit):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=r"'auc'; expected one of \['accuracy', 'loss'\]"):
        fit(made(), early_stopping={"metric": "auc"})


def test_the_best_and_the_last_are_kept_and_the_best_becomes_the_model(made, fit):
    from safetensors.numpy import load_file

    keep = {"best": 2, "last": 1, "metric": "loss"}
    fit(made(learning_rate=2.0, optimizer="sgd"), num_epochs=6, keep_checkpoints=keep)
    losses = {row["step"]: row["val_loss"] for row in state(fit)["history"]}
    best = sorted(losses, key=losses.get)[:2]
    files = {path.name: path for path in (fit.output / "model_run" / "checkpoints").iterdir()}
    assert set(files) == {f"step-{step:08}.safetensors" for step in {*best, 78}}
    assert same(load_file(files[f"step-{best[0]:08}.safetensors"]), weights(fit))


# ---- what goes wrong


def test_what_was_used_is_in_the_state_by_name_and_value(made, fit):
    fit(made(learning_rate=None))
    used = json.loads((fit.output / "model_run" / "trainer_state.json").read_text())["training"]
    assert (used["loss"], used["optimizer"], used["learning rate"]) == ("cross_entropy", "AdamW", "0.001")


def test_patterns_without_files_are_named(made, fit, small):
    from polytrainer.executors.errors import PreflightError

    match = r"train_files: got '/no/such/\*'; expected at least one file.*eval_files: got '/nor/\*.gz'"
    with pytest.raises(PreflightError, match=r"(?s)" + match):
        fit(made(), train_files="/no/such/*", eval_files={"eval": small.eval, "more": "/nor/*.gz"})


def test_a_loss_that_is_no_number_stops_the_training_at_its_step(made, fit):
    from polytrainer.executors.errors import TrainingError

    def train_step(self, model, batch):
        loss = super(type(self), self).train_step(model, batch)
        return loss * float("nan") if self.engine.state.step == 8 else loss

    with pytest.raises(TrainingError, match=r"nan at step 9; expected a finite number. It was 0\.\d+ at step 8"):
        fit(made(train_step=train_step), checkpoint_every_n_steps=3)
    [checkpoints] = (fit.output / ".checkpoints").iterdir()
    assert sorted(path.name for path in checkpoints.glob("step-*"))[-1] == "step-00000006"
    assert not (fit.output / "model").exists()


def test_nan_in_the_data_is_found_as_such(made, fit, written):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=r"'x'.*NaN.*record 0 of .*expected"):
        fit(made(), train_files=written([{"x": [1.0, float("nan")], "label": 1}] * 20))


def test_a_label_that_is_no_class_is_found_before_training(made, fit, written):
    from polytrainer.executors.errors import PreflightError

    rows = [{"x": [1.0, 2.0], "label": 1}] * 50 + [{"x": [1.0, 2.0], "label": 2}]
    with pytest.raises(
        PreflightError, match=r"'label': got values from 1 to 2; expected values from 0 to 1: the model"
    ):
        fit(made(), train_files=written(rows))


def test_a_record_that_does_not_fit_is_named(made, fit, written):
    rows = [{"x": [1.0, 2.0], "label": 1}] * 30 + [{"x": [1.0], "label": 0}]
    with pytest.raises(
        ValueError, match=r"'x' in record 30 of .*data_tfrecord-00000-of-00001.gz: got 1 value; expected 2"
    ):
        fit(made(), train_files=written(rows))


# ---- parts of one's own


def test_a_checkpointer_of_ones_own_gets_the_state_and_gives_it_back(made, fit):
    class InMemory:
        def __init__(self):
            self.states = {}

        def save(self, step, state):
            import copy

            self.states[step] = copy.deepcopy(dict(state))

        def load(self, step=None):
            newest = step if step is not None else max(self.states, default=None)
            return None if newest is None else (newest, self.states[newest])

        def wait(self):
            pass

    checkpointer = InMemory()
    fit(made(checkpointer=checkpointer), num_epochs=3)
    assert set(checkpointer.states) == {13, 26, 39}
    again = made(checkpointer=checkpointer)
    fit(again, num_epochs=3)
    assert again.engine.resumed_from == 39


def test_a_backend_of_ones_own_computes_the_steps(made, fit):
    from polytrainer.executors.backends.torch.backend import Single, TrainerBackend
    from polytrainer.proto.trainer_pb2 import TrainArgs

    class Signs(Single):
        """Descends by the gradients' signs."""

        def step(self, optimizers, parameters, max_grad_norm):
            parameters = list(parameters)
            for parameter in parameters:
                parameter.grad.sign_()
            return super().step(optimizers, parameters, max_grad_norm)

    backend = Signs(TrainArgs())
    assert isinstance(backend, TrainerBackend)
    trainer = made(backend=backend, optimizer="sgd", learning_rate=0.01)
    assert fit(trainer, num_epochs=5).metrics["accuracy"] > 0.7
    assert trainer.engine.backend is backend


# ---- warm start


def test_it_starts_from_the_weights_that_match_and_says_which(made, fit, tmp_path, capsys):
    fit(made())
    old = weights(fit)
    base = str(fit.output / "model" / "Format-Serving")
    fit.output = tmp_path / "second"
    fit(made(learning_rate=0.0), base_model=base, num_steps=1)
    assert same(old, weights(fit))
    assert "4 of 4 weights match" in capsys.readouterr().out
    fit.output = tmp_path / "third"

    def wider(self):
        from torch import nn

        return nn.Sequential(*made().model_fn()[:3], nn.Linear(4, 3))

    fit(made(model_fn=wider, learning_rate=0.0), base_model=base, num_steps=1)
    assert same({"1.weight": old["1.weight"]}, {"1.weight": weights(fit)["1.weight"]})
    assert "2 of 4 weights match; 2 have another shape (3.bias, 3.weight)" in capsys.readouterr().out


def test_a_strict_warm_start_or_one_without_a_match_is_refused(made, fit, tmp_path):
    from torch import nn

    from polytrainer.executors.errors import PreflightError

    fit(made())
    base = str(fit.output / "model" / "Format-Serving")
    with pytest.raises(PreflightError, match="0 of 2 weights match"):
        fit(made(model_fn=lambda self: nn.Sequential(made().model_fn()[0], nn.Linear(2, 3))), base_model=base)
    with pytest.raises(PreflightError, match="expected all weights, of the same names and shapes"):
        fit(
            made(strict_base_model=True, model_fn=lambda self: nn.Sequential(*made().model_fn()[:3], nn.Linear(4, 3))),
            base_model=base,
        )
    with pytest.raises(PreflightError, match=r"no Format-Torch/model\.safetensors in"):
        fit(made(), base_model=str(Path(base).parent.parent / "elsewhere" / "Format-Serving"))


def test_a_module_that_was_frozen_stays_so_and_one_that_trains_trains(made, fit):
    from torch import nn

    seen = []

    def model_fn(self):
        model = nn.Sequential(made().model_fn()[0], nn.BatchNorm1d(2), nn.Linear(2, 2))
        model[1].eval()
        return model

    def train_step(self, model, batch):
        seen.append([module.training for module in model])
        return super(type(self), self).train_step(model, batch)

    fit(made(model_fn=model_fn, train_step=train_step), eval_every_n_steps=1, num_steps=2)
    assert seen == [[True, False, True]] * 2


def test_a_model_that_no_program_can_be_made_of_is_refused_before_it_is_trained(made, fit):
    from torch import nn

    from polytrainer.executors.errors import PreflightError

    class Choosy(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else super().forward(-x)

    steps = []

    def train_step(self, model, batch):
        steps.append(1)
        return super(type(self), self).train_step(model, batch)

    said = r"Nothing was trained: torch.export: got .*; expected a model that torch.export can make"
    with pytest.raises(PreflightError, match=said):
        fit(made(model_fn=lambda self: Choosy(2, 2), train_step=train_step))
    assert not steps
    trainer = made(model_fn=lambda self: Choosy(2, 2), train_step=train_step, save=lambda self, model: None)
    fit(trainer, num_steps=1)
    assert steps


# ---- features of other kinds


def test_words_any_number_of_ids_and_missing_values_go_into_the_model_and_the_program(made, fit, written):
    import tensorflow as tf
    import torch
    from torch import nn

    from polytrainer import Features, Vocabulary

    rows = [
        {"city": [b"Oslo", b"Rome"][i % 2], "ids": [i % 5] * (i % 4), "age": 0.1 * i, "label": i % 2} for i in range(40)
    ]
    for i, row in enumerate(rows):
        for name in (["age"] if i % 3 == 0 else []) + (["ids"] if i % 4 == 0 else []):
            del row[name]
    spec = {
        "city": tf.io.FixedLenFeature([1], tf.string),
        "ids": tf.io.VarLenFeature(tf.int64),
        "age": tf.io.VarLenFeature(tf.float32),
        "label": tf.io.FixedLenFeature([1], tf.int64),
    }

    def model_fn(self):
        # by name, how many values an example has; those with a vocabulary are ids
        sizes, words = {"city": 1, "ids": None, "age": 1}, {"city": 3, "ids": 5}
        features = Features(sizes, vocabulary_sizes=words, masks=["age"])
        return nn.Sequential(features, nn.Linear(features.out_features, 2))

    trainer = made(
        model_fn=model_fn, feature_spec=spec, defaults={"age": -1.0}, encoders={"city": Vocabulary(["Oslo", "Rome"])}
    )
    files = written(rows)
    result = fit(trainer, train_files=files, eval_files=files, schema=None, num_epochs=40)
    assert result.metrics["accuracy"] == 1.0
    age, mask = torch.tensor([[3.0], [-1.0], [0.0]]), torch.tensor([[True], [False], [True]])
    ids = {"ids.values": torch.tensor([1, 2, 2]), "ids.row_lengths": torch.tensor([1, 0, 2])}
    said = program(fit)({"city": torch.tensor([[0], [1], [0]]), "age": age, "age_mask": mask, **ids})
    assert said.argmax(1).tolist() == [0, 1, 0]


def test_only_ragged_features_and_a_single_example(made, fit, written):
    import tensorflow as tf
    import torch
    from torch import nn

    from polytrainer import Features

    rows = [{"ids": [i % 2, 2 + i % 3], "label": i % 2} for i in range(40)]
    spec = {"ids": tf.io.VarLenFeature(tf.int64), "label": tf.io.FixedLenFeature([1], tf.int64)}

    def model_fn(self):
        features = Features({"ids": None}, vocabulary_sizes={"ids": 5})
        return nn.Sequential(features, nn.Linear(features.out_features, 2))

    files = written(rows)
    fit(made(model_fn=model_fn, feature_spec=spec), train_files=files, eval_files=files, schema=None, num_epochs=40)
    for ids, wanted in (([[1, 2]], [1]), ([[0, 4], [1]], [0, 1])):
        values, lengths = torch.tensor([*itertools.chain(*ids)]), torch.tensor([len(each) for each in ids])
        assert program(fit)({"ids.values": values, "ids.row_lengths": lengths}).argmax(1).tolist() == wanted


def test_a_compiled_model_learns_the_same(made, fit, tmp_path):
    fit(made())
    whole = weights(fit)
    fit.output = tmp_path / "compiled"
    fit(made(), compile=True)
    assert same(whole, weights(fit), 1e-5)
