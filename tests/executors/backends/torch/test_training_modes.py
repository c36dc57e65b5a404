"""A model is trained as its author wrote it: what arrives in evaluation mode, is frozen, or lies beside the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polytrainer import TorchTrainer
from polytrainer.executors.backends.torch.callbacks import Callback
from polytrainer.executors.errors import PreflightError, TrainingError

DROP_LAST = r"TrainArgs\(drop_last=True\) leaves an incomplete last batch out"


class Network(nn.Module):
    """Takes note of the modes that its modules are in while it is called with gradients."""

    def __init__(self, *, norm=True):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 8), *([nn.BatchNorm1d(8)] if norm else []), nn.Dropout(0.5))
        self.head = nn.Linear(8, 2)
        self.modes = []

    def forward(self, x):
        if torch.is_grad_enabled():
            self.modes.append({name or "all": module.training for name, module in self.named_modules()})
        return self.head(self.backbone(x))


class Nested(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


@pytest.fixture
def fit(small):
    """Trains without writing a model: `fit(model_fn, members, arguments, **options)`."""

    def run(model_fn, members=None, arguments=None, **options):
        hooks = {"model_fn": lambda self: model_fn(), "save": lambda self, model=None: {}, **(members or {})}
        trainer = type("Mine", (TorchTrainer,), {"__module__": __name__, **hooks})("label", **(arguments or {}))
        told = {"num_epochs": 2, "batch_size": 16, "seed": 1, "eval_every_n_steps": 3, **options}
        trainer.fit(small.train, small.eval, schema=small.schema, **told)
        return trainer

    return run


def trained_modes(model):
    """The modes of the modules, which have to be the same at each step, also after evaluations."""
    assert len(model.modes) >= 14
    assert all(modes == model.modes[0] for modes in model.modes)
    return model.modes[0]


def test_a_model_in_training_mode_stays_in_it_after_each_evaluation(fit):
    assert all(trained_modes(fit(Network).model).values())


def test_a_model_that_arrives_in_evaluation_mode_is_trained_in_training_mode(fit):
    model = fit(lambda: Network().eval()).model
    assert all(trained_modes(model).values())
    assert model.backbone[1].num_batches_tracked == 14


def test_a_frozen_batch_norm_in_evaluation_mode_stays_so(fit):
    def model_fn():
        model = Network()
        model.backbone[1].eval().requires_grad_(False)
        return model

    for make in (model_fn, lambda: model_fn().eval()):
        model = fit(make).model
        modes = trained_modes(model)
        assert [name for name, training in modes.items() if not training] == ["backbone.1"]
        assert model.backbone[1].num_batches_tracked == 0


def test_a_frozen_backbone_of_a_model_in_evaluation_mode_stays_so(fit):
    def model_fn():
        model = Network().eval()
        model.backbone.requires_grad_(False)
        return model

    modes = trained_modes(fit(model_fn).model)
    assert modes["all"]
    assert modes["head"]
    assert not any(training for name, training in modes.items() if name.startswith("backbone"))


def test_a_module_that_the_author_put_into_evaluation_mode_stays_so_and_is_warned_of(fit, caplog):
    def model_fn():
        model = Network()
        model.backbone.eval()
        return model

    with caplog.at_level("WARNING"):
        modes = trained_modes(fit(model_fn).model)
    assert not modes["backbone.2"]
    assert (
        "In evaluation mode, and trained like that: backbone. Their dropout and BatchNorm do not train" in caplog.text
    )


def bert():
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertModel(BertConfig(vocab_size=10, **sizes)).eval()  # as from_pretrained leaves it


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head, self.modes = bert(), nn.Linear(8, 2), []

    def forward(self, x):
        if torch.is_grad_enabled():
            self.modes.append({name or "all": module.training for name, module in self.named_modules()})
        return self.head(self.encoder(x.abs().long().clamp(max=9)).pooler_output)


def test_a_pretrained_model_of_transformers_inside_of_ones_own_is_trained_in_training_mode(fit):
    pytest.importorskip("transformers")
    assert all(trained_modes(fit(Words, num_epochs=2).model).values())


def test_a_frozen_pretrained_model_stays_in_evaluation_mode(fit):
    pytest.importorskip("transformers")

    def model_fn():
        model = Words()
        model.encoder.requires_grad_(False)
        return model

    modes = trained_modes(fit(model_fn).model)
    assert not any(training for name, training in modes.items() if name.startswith("encoder"))


class Gradients(Callback):
    def __init__(self):
        self.seen = []

    def on_backward_end(self, engine, loss):
        self.seen.append(float(engine.trainer.scale.grad))


def with_a_parameter_beside(callback, *more):
    """Hooks of a trainer whose loss has a parameter of its own; its gradient is 1 in each step."""

    def optimizer_fn(self, model):
        self.scale = nn.Parameter(torch.zeros(()))
        return torch.optim.SGD([*model.parameters(), self.scale], 0.1)

    def loss_fn(self, outputs, label):
        return nn.functional.cross_entropy(outputs, label.view(-1)) + self.scale

    return {"optimizer_fn": optimizer_fn, "loss_fn": loss_fn, "callbacks": lambda self: [callback, *more]}


def test_gradients_of_parameters_beside_the_model_are_of_one_step(fit):
    callback = Gradients()
    trainer = fit(Network, with_a_parameter_beside(callback))
    assert callback.seen == [1.0] * 14
    assert float(trainer.scale.detach()) == pytest.approx(-1.4)


def test_gradients_of_parameters_that_a_callback_adds_are_of_one_step(fit):
    added, seen = nn.Parameter(torch.zeros(())), []

    class Adds(Callback):
        def on_step_end(self, engine, loss):
            if engine.state.step == 2:  # in the middle of an epoch
                engine.optimizers[0].add_param_group({"params": [added]})

        def on_backward_end(self, engine, loss):
            seen.append(float(added.grad))

    def loss_fn(self, outputs, label):
        return nn.functional.cross_entropy(outputs, label.view(-1)) + added

    hooks = {"loss_fn": loss_fn, "callbacks": lambda self: [Adds()], "scheduler_fn": lambda self, optimizer: None}
    fit(Network, hooks)
    assert seen == [1.0, 2.0, 3.0] + [1.0] * 11  # before it is an optimizer's, nobody clears it


def test_parameters_beside_the_model_are_resumed(fit, tmp_path):
    class DiesError(Exception):
        pass

    class Dies(Callback):
        step = 9

        def on_step_end(self, engine, loss):
            if engine.state.step == Dies.step:
                raise DiesError

    def run(folder):
        hooks = with_a_parameter_beside(Gradients(), Dies())
        return fit(Network, hooks, output_dir=str(tmp_path / folder), checkpoint_every_n_steps=4)

    with pytest.raises(DiesError):
        run("died")
    Dies.step = None
    resumed, whole = run("died"), run("whole")
    assert resumed.engine.resumed_from == 8
    assert resumed.scale.detach() == whole.scale.detach()


@pytest.mark.parametrize(
    ("batch_size", "options"),
    [
        (17, {}),
        (51, {}),
        (103, {"micro_batch_size": 1}),
        (16, {"micro_batch_size": 3, "num_steps": 7, "num_epochs": 0}),
    ],
)
def test_a_part_of_one_example_for_batch_norm_is_refused_before_training(fit, batch_size, options):
    # 103 = 6 * 17 + 1 = 2 * 51 + 1; of 7 = 103 - 6 * 16 in parts of at most 3 the smallest has two
    if options.get("micro_batch_size") == 3:
        fit(Network, batch_size=batch_size, **options)
        return
    with pytest.raises(PreflightError, match=rf"train_args.batch_size: got batches of {batch_size} .*{DROP_LAST}"):
        fit(Network, batch_size=batch_size, **options)


def test_a_last_batch_of_one_that_is_never_reached_or_left_out_is_none(fit):
    assert fit(Network, batch_size=17, num_steps=6, num_epochs=0).engine.state.step == 6
    assert fit(Network, batch_size=17, max_steps_per_epoch=6).engine.state.step == 12
    trainer = fit(Network, batch_size=17, drop_last=True)
    assert (trainer.engine.state.step, trainer.engine.state.epoch, trainer.engine.state.examples) == (12, 2, 204)


def test_a_last_batch_of_one_trains_a_model_without_batch_norm(fit):
    assert fit(lambda: Network(norm=False), batch_size=17).engine.state.step == 14


def test_a_last_batch_of_one_of_ones_own_data_is_explained(fit):
    def input_fn(self, files, *, training, first_step=0):
        x, label = torch.randn(17, 2), torch.zeros(17, dtype=torch.int64)
        return [({"x": x[:16]}, label[:16]), ({"x": x[16:]}, label[16:])]

    with pytest.raises(TrainingError, match=rf"the model: got a single value for BatchNorm.*{DROP_LAST}"):
        fit(Network, {"input_fn": input_fn})
