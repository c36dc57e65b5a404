"""A ported loss that broadcasts `[batch]` and `[batch, 1]`, which pairs each output with every label, is refused."""

from __future__ import annotations

import pytest

from polytrainer.executors.errors import PreflightError, TrainingError

torch = pytest.importorskip("torch")
functional = torch.nn.functional

OUTPUTS = torch.tensor([0.1, 0.7, -0.4, 2.0])
LABEL = torch.tensor([[1.0], [0.0], [3.0], [-2.0]])


def check(loss_fn, outputs=OUTPUTS, label=LABEL):
    from polytrainer.executors.backends.torch import label_shapes

    label_shapes.check(loss_fn, outputs, label)


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    "loss_fn",
    [functional.mse_loss, lambda outputs, label: ((outputs - label) ** 2).mean(), functional.l1_loss],
    ids=["mse_loss", "by hand", "l1_loss"],
)
def test_outputs_of_one_dimension_and_a_label_of_two(loss_fn):
    match = r"loss_fn: got outputs \[4\] and a label \[4, 1\], of which it compares .*label.flatten\(\)"
    with pytest.raises(PreflightError, match=match):
        check(loss_fn)


def test_outputs_of_two_dimensions_and_a_label_that_the_loss_flattens():
    with pytest.raises(PreflightError, match=r"got outputs \[4, 1\] and a label \[4, 1\], of which it compares"):
        check(lambda outputs, label: ((outputs - label.flatten()) ** 2).mean(), OUTPUTS[:, None])


def test_classes_that_cross_entropy_does_not_take():
    classes = torch.tensor([[0], [1], [1], [0]])
    with pytest.raises(PreflightError, match=r"outputs \[4, 2\] and a label \[4, 1\], of which it takes none"):
        check(functional.cross_entropy, torch.randn(4, 2), classes)


@pytest.mark.parametrize(
    ("loss_fn", "outputs"),
    [
        (functional.mse_loss, OUTPUTS[:, None]),
        (lambda outputs, label: functional.mse_loss(outputs, label[:, 0]), OUTPUTS),
        (lambda outputs, label: (((outputs - label[:, 0]) ** 2).sum(), len(label)), OUTPUTS),
        (lambda outputs, label: -torch.corrcoef(torch.stack([outputs, label[:, 0]]))[0, 1], OUTPUTS),
        (lambda outputs, label: (outputs[:, None] - outputs[None, :]).abs().mean(), OUTPUTS),
    ],
    ids=["of the same shape", "of the first column", "sum and weight", "of a batch", "pairs of outputs"],
)
def test_losses_that_are_as_they_are_meant_are_taken(loss_fn, outputs):
    check(loss_fn, outputs)


def flat(model, features):
    return model(features)[:, 0]


def test_it_is_looked_at_before_training(made, fit):
    def loss_fn(self, outputs, label):
        return ((outputs - label) ** 2).mean()

    with pytest.raises(PreflightError, match="compares each output with every label"):
        fit(made(loss_fn=loss_fn, predict_fn=lambda self, model, features: flat(model, features), metrics=[]))


def test_in_a_step_of_ones_own_pytorchs_warning_is_an_error(made, fit):
    def train_step(self, model, batch):
        features, label = batch
        return functional.mse_loss(flat(model, features), label.float())

    with pytest.raises(TrainingError, match=r"Using a target size .*label.flatten\(\)"):
        fit(made(train_step=train_step))


def test_cross_entropy_in_a_step_of_ones_own_is_explained(made, fit):
    def train_step(self, model, batch):
        features, label = batch
        return functional.cross_entropy(model(features), label)

    with pytest.raises(TrainingError, match=r"multi-target not supported.*label.flatten\(\)"):
        fit(made(train_step=train_step))
