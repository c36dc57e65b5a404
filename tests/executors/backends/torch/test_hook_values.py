"""What hooks return that cannot be trained with is a Problem that says what to return."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polytrainer import TorchTrainer
from polytrainer.executors.backends.torch.backend import Single
from polytrainer.executors.backends.torch.callbacks import Callback
from polytrainer.executors.errors import PreflightError, TrainingError

ERRORS = (PreflightError, TrainingError)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(2, 2)

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def fit(small):
    def run(members, arguments=None, **options):
        hooks = {"model_fn": lambda self: Network(), "save": lambda self, model=None: {}, **members}
        trainer = type("Mine", (TorchTrainer,), {"__module__": __name__, **hooks})("label", **(arguments or {}))
        told = {"num_epochs": 1, "batch_size": 16, "seed": 1, **options}
        trainer.fit(small.train, small.eval, schema=small.schema, **told)
        return trainer

    return run


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.1)


def lightnings(self, model):
    optimizer = sgd(model)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def batches(*parts):
    return lambda self, files, *, training, first_step=0: [parts]


X, LABEL = {"x": torch.randn(16, 2)}, torch.zeros(16, dtype=torch.int64)
CASES = {
    "optimizers and schedulers": (
        {"optimizer_fn": lightnings},
        r"what optimizer_fn returned: got a list, a list; expected a torch.optim.Optimizer, .*scheduler_fn",
    ),
    "no optimizer": ({"optimizer_fn": lambda self, model: []}, "what optimizer_fn returned: got no optimizer"),
    "a list of schedulers": (
        {"scheduler_fn": lambda self, optimizer: [torch.optim.lr_scheduler.StepLR(optimizer, 1)]},
        r"what scheduler_fn returned: got a list; expected a scheduler .*once for each optimizer",
    ),
    "a dict of a scheduler": (
        {"scheduler_fn": lambda self, optimizer: {"scheduler": None}},
        r"what scheduler_fn returned: got a dict",
    ),
    "a batch of one part": ({"input_fn": batches(X)}, r"got a tuple of 1; expected \(features, label\)"),
    "a batch of four parts": (
        {"input_fn": batches(X, LABEL, LABEL, LABEL)},
        r"got a tuple of 4; expected \(features, la",
    ),
    "a batch that is a dict": (
        {"input_fn": lambda self, files, *, training, first_step=0: [X]},
        r"a batch of input_fn: got a dict; expected .*without a label_key",
    ),
    "losses of examples": (
        {
            "loss_fn": lambda self, outputs, label: nn.functional.cross_entropy(
                outputs, label.view(-1), reduction="none"
            )
        },
        r"train_step: got a tensor of shape \[16\]; expected a scalar .*losses.sum\(\), len\(losses\)",
    ),
    "a loss without a graph": (
        {"loss_fn": lambda self, outputs, label: nn.functional.cross_entropy(outputs, label.view(-1)).detach()},
        r"the loss: got a loss that depends on no parameter .*all parameters frozen",
    ),
    "a loss that is a float": (
        {"loss_fn": lambda self, outputs, label: 1.0},
        "train_step: got a float; expected a scalar",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_a_problem(fit, case):
    members, match = CASES[case]
    with pytest.raises(ERRORS, match=rf"(?s){match}"):
        fit(members)


def test_a_batch_of_three_parts_has_a_weight(fit):
    trainer = fit({"input_fn": batches(X, LABEL, torch.ones(16))})
    assert trainer.engine.state.examples == 16


def test_a_backend_may_be_a_class_or_a_function(fit):
    class Own(Single):
        pass

    def make(train_args):
        return Own(train_args)

    for given in (Own, make):
        assert isinstance(fit({}, {"backend": given}).engine.backend, Own)


def test_what_is_no_backend_is_refused_with_what_it_lacks(fit):
    class Old:
        rank, world_size, device = 0, 1, torch.device("cpu")

        def wrap(self, model):
            return model

    with pytest.raises(PreflightError, match=r"backend: got a Old without .*unscale; expected a TrainerBackend"):
        fit({}, {"backend": Old()})
    with pytest.raises(PreflightError, match="backend: got a int without"):
        fit({}, {"backend": lambda train_args: 3})


def test_a_backend_that_was_made_before_the_ranks_is_refused(fit):
    from polytrainer.proto.trainer_pb2 import TrainArgs

    with pytest.raises(PreflightError, match=r"a Single that was made before the ranks are; expected a class"):
        fit({}, {"backend": Single(TrainArgs())}, strategy="ddp", num_processes=2)


class Watches(Callback):
    def __init__(self):
        self.gradients, self.rates = [], []

    def on_backward_end(self, engine, loss):
        self.gradients.append([parameter.grad.clone() for parameter in engine.parameters])

    def on_step_end(self, engine, loss):
        self.rates.append(engine.optimizers[0].param_groups[0]["lr"])


def test_hooks_see_gradients_without_the_scale_of_the_loss(fit):
    seen = {}
    for precision in ("32", "16-mixed"):
        callback = Watches()
        fit({"callbacks": lambda self, callback=callback: [callback]}, precision=precision)
        seen[precision] = callback.gradients[0]
    assert any(bool(gradient.abs().max() > 1e-3) for gradient in seen["32"])
    for plain, mixed in zip(seen["32"], seen["16-mixed"], strict=True):
        torch.testing.assert_close(plain, mixed, rtol=0.05, atol=1e-3)


def test_schedulers_do_not_step_where_the_scale_was_too_large(fit):
    callback = Watches()
    loud = {
        "callbacks": lambda self: [callback],
        "optimizer_fn": lambda self, model: sgd(model),
        "scheduler_fn": lambda self, optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
        # float16 goes up to 65504, and the scale begins with 65536
        "loss_fn": lambda self, outputs, label: 8 * nn.functional.cross_entropy(outputs.half(), label.view(-1)),
    }
    fit(loud, precision="16-mixed")
    skipped = sum(not all(bool(g.isfinite().all()) for g in gradients) for gradients in callback.gradients)
    assert 0 < skipped < 7
    assert callback.rates[-1] == pytest.approx(0.1 * 0.5 ** (7 - skipped))


def test_an_optimizer_without_gradients_is_a_problem_of_float16(fit):
    def optimizer_fn(self, model):
        return [sgd(model), torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)]

    with pytest.raises(TrainingError, match=r"got no gradient for any parameter of optimizer 1 \(SGD\).*requires_grad"):
        fit({"optimizer_fn": optimizer_fn}, precision="16-mixed")
