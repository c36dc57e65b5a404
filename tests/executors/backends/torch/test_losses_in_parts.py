"""A batch in parts is the batch: its gradients are those of the whole, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.newest

CLASSES, LENGTH = 3, 4
CLASS_WEIGHTS = [0.5, 3.0, 20.0]


def classes(rows, shape=()):
    import torch

    return torch.randint(0, CLASSES, (rows, *shape))


def padded(rows):
    """Classes of positions, of which some are ignored: in some rows all, in some none."""
    import torch

    label = classes(rows, (LENGTH,))
    label[torch.arange(LENGTH) >= torch.randint(0, LENGTH + 1, (rows, 1))] = -100
    return label


def numbers(rows):
    import torch

    return torch.randn(rows, CLASSES)


def labels(rows):
    import torch

    return torch.randint(0, 2, (rows, CLASSES)).float()


def probabilities(rows, shape=()):
    import torch

    return torch.rand(rows, CLASSES, *shape).softmax(1)


def ignoring(rows):
    """Classes of examples, of which those of class 0 are ignored."""
    return classes(rows)


TOKENS = (CLASSES, LENGTH)
# name: loss, options, shape of the outputs of an example, labels
LOSSES = {
    "cross_entropy": ("cross_entropy", {}, (CLASSES,), classes),
    "cross_entropy of class weights": ("cross_entropy", {"weight": CLASS_WEIGHTS}, (CLASSES,), classes),
    "cross_entropy, smoothed": (
        "cross_entropy",
        {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2, "ignore_index": 0},
        (CLASSES,),
        ignoring,
    ),
    "cross_entropy of probabilities": ("cross_entropy", {"weight": CLASS_WEIGHTS}, (CLASSES,), probabilities),
    "cross_entropy of tokens": ("cross_entropy", {"weight": CLASS_WEIGHTS}, TOKENS, padded),
    "cross_entropy of tokens, smoothed": ("cross_entropy", {"label_smoothing": 0.1}, TOKENS, padded),
    "cross_entropy of probabilities of tokens": (
        "cross_entropy",
        {},
        TOKENS,
        lambda rows: probabilities(rows, (LENGTH,)),
    ),
    "nll": ("nll", {}, (CLASSES,), classes),
    "nll of tokens": ("nll", {"weight": CLASS_WEIGHTS}, TOKENS, padded),
    "multi_margin": ("multi_margin", {"weight": CLASS_WEIGHTS}, (CLASSES,), classes),
    "binary_cross_entropy": ("binary_cross_entropy", {"pos_weight": CLASS_WEIGHTS}, (CLASSES,), labels),
    "multilabel": ("multilabel", {"weight": CLASS_WEIGHTS}, (CLASSES,), labels),
    "hinge": ("hinge", {}, (CLASSES,), labels),
    "huber": ("huber", {"delta": 0.5}, (CLASSES,), numbers),
    "kl_div": ("kl_div", {}, (CLASSES,), probabilities),
    "kl_div of tokens": ("kl_div", {}, TOKENS, lambda rows: probabilities(rows, (LENGTH,))),
    "mae": ("mae", {}, (CLASSES,), numbers),
    "mse": ("mse", {}, (CLASSES,), numbers),
    "poisson_nll": ("poisson_nll", {}, (CLASSES,), labels),
    "smooth_l1": ("smooth_l1", {"beta": 0.3}, (CLASSES,), numbers),
}


def own_mean(self, outputs, label):
    """The mean over rows, as most write it."""
    return (outputs.flatten(1).square().mean(1) + outputs.flatten(1)[:, 0] * label.flatten(1)[:, 0]).mean()


def own_sum_and_weight(self, outputs, label):
    from torch.nn import functional

    losses = functional.cross_entropy(outputs, label, reduction="none")
    return losses.sum(), (label != -100).sum()


def own_weighted(self, outputs, label, weight=None):
    losses = (outputs - label).square().flatten(1).mean(1)
    if weight is None:
        return losses.sum(), len(losses)
    return {"loss": ((losses * weight).sum(), weight.sum())}["loss"]


OWN = {
    "a mean over rows": (own_mean, (CLASSES,), numbers),
    "a sum over tokens and their number": (own_sum_and_weight, TOKENS, padded),
    "a weighted sum and the weight": (own_weighted, (CLASSES,), numbers),
}


@pytest.fixture(scope="module")
def training(small, tmp_path_factory):
    """`training(loss, …)`: an engine whose model is a linear layer in float64, and a function of batch and parts."""
    from torch import nn

    from polytrainer import TorchTrainer
    from polytrainer.executors.backends import local_fit
    from polytrainer.executors.backends.torch.micro_batches import MicroBatches
    from polytrainer.proto.trainer_pb2 import TrainArgs

    class Linear(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.shape, self.layer = shape, nn.Linear(2, int(np.prod(shape))).double()

        def forward(self, x):
            return self.layer(x.double()).view(-1, *self.shape)

    def make(shape, label_of, loss=None, loss_fn=None, weighted=False, **arguments):
        def input_fn(self, files, *, training, first_step=0):
            return [batch(label_of, 5, weighted)]

        hooks = {"model_fn": lambda self: Linear(shape), "input_fn": input_fn, "save": lambda self, model=None: {}}
        hooks |= {"loss_fn": loss_fn} if loss_fn else {}
        trainer = type("Mine", (TorchTrainer,), hooks)("label", loss=loss, **arguments)
        folder = str(tmp_path_factory.mktemp("parts"))
        trainer.bind(
            local_fit.run_args(trainer, small.train, small.eval, schema=small.schema, output_dir=folder, seed=1)
        )
        trainer.begin()
        engine = trainer.engine

        def gradients(some, **parts):
            rows = len(some[1])
            for parameter in engine.parameters:
                parameter.grad = None
            micro = MicroBatches(TrainArgs(**parts), engine.backend, rows)
            loss = micro.compute(engine, some, rows)
            return float(loss), [parameter.grad.clone() for parameter in engine.parameters]

        make.engine = engine
        return gradients

    return make


def batch(label_of, rows, weighted=False, seed=0):
    """Rows of features and labels; weighted ones have weights of which some are 0."""
    import torch

    torch.manual_seed(seed)
    x, label = torch.randn(rows, 2), label_of(rows)
    if not weighted:
        return {"x": x}, label
    return {"x": x}, label, torch.rand(rows) * torch.randint(0, 2, (rows,)) * 3


def assert_alike(one, other):
    import torch

    (loss, gradients), (other_loss, other_gradients) = one, other
    scale = max(float(each.abs().max()) for each in other_gradients)
    assert loss == pytest.approx(other_loss, rel=1e-6, abs=1e-12)
    for gradient, expected in zip(gradients, other_gradients, strict=True):
        assert torch.isfinite(gradient).all()
        assert float((gradient - expected).abs().max()) <= 1e-6 * scale


def by_definition(engine, some, loss, options):
    """Loss and gradients of a batch without weights of examples, by torch's own functions."""
    import torch
    from torch.nn import functional

    functions = {
        "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
        "multilabel": functional.binary_cross_entropy_with_logits,
        "cross_entropy": functional.cross_entropy,
        "hinge": lambda scores, label: (1 - scores * (2 * label - 1)).clamp(min=0).mean(),
        "huber": functional.huber_loss,
        "kl_div": lambda *both: functional.kl_div(*both, reduction="batchmean"),
        "mae": functional.l1_loss,
        "mse": functional.mse_loss,
        "multi_margin": functional.multi_margin_loss,
        "nll": functional.nll_loss,
        "poisson_nll": functional.poisson_nll_loss,
        "smooth_l1": functional.smooth_l1_loss,
    }
    tensors = {
        name: torch.tensor(value).double() if isinstance(value, list) else value for name, value in options.items()
    }
    label = some[1].double() if some[1].is_floating_point() else some[1]
    value = functions[loss](engine.model(some[0]["x"]), label, **tensors)
    return float(value.detach()), list(torch.autograd.grad(value, engine.parameters))


CUTS = st.one_of(
    st.builds(lambda size: {"micro_batch_size": size}, st.integers(1, 12)),
    st.builds(lambda parts: {"grad_accumulation": parts}, st.integers(2, 12)),
)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_of_a_loss_by_name_are_those_of_the_whole_batch(training, kind, weighted):
    loss, options, shape, label_of = LOSSES[kind]
    gradients = training(shape, label_of, loss, loss_options=options, weighted=weighted)
    engine = training.engine

    @settings(max_examples=25, deadline=None)
    @given(rows=st.integers(1, 12), cut=CUTS, seed=st.integers(0, 1000))
    def check(rows, cut, seed):
        some = batch(label_of, rows, weighted, seed)
        whole = gradients(some)
        assert_alike(gradients(some, **cut), whole)
        if not weighted and engine.trainer._sample.loss(engine.model(some[0]["x"]), some[1]).item():
            assert_alike(whole, by_definition(engine, some, loss, options))

    check()


@pytest.mark.parametrize("kind", OWN)
def test_and_those_of_a_loss_of_ones_own(training, kind):
    loss_fn, shape, label_of = OWN[kind]
    weighted = kind == "a weighted sum and the weight"
    gradients = training(shape, label_of, loss_fn=loss_fn, weighted=weighted)

    @settings(max_examples=25, deadline=None)
    @given(rows=st.integers(1, 12), cut=CUTS, seed=st.integers(0, 1000))
    def check(rows, cut, seed):
        some = batch(label_of, rows, weighted, seed)
        assert_alike(gradients(some, **cut), gradients(some))

    check()


@pytest.mark.parametrize("label_of", [classes, padded])
def test_and_with_weights_of_classes(training, label_of):
    shape = TOKENS if label_of is padded else (CLASSES,)
    by_class = dict(enumerate(CLASS_WEIGHTS))
    gradients = training(shape, label_of, "cross_entropy", class_weights=by_class)
    engine = training.engine

    @settings(max_examples=25, deadline=None)
    @given(rows=st.integers(1, 12), cut=CUTS, seed=st.integers(0, 1000))
    def check(rows, cut, seed):
        some = batch(label_of, rows, seed=seed)
        whole = gradients(some)
        assert_alike(gradients(some, **cut), whole)
        if (some[1] >= 0).any():
            assert_alike(whole, by_definition(engine, some, "cross_entropy", {"weight": CLASS_WEIGHTS}))

    check()


# ---- where nothing counts


@pytest.mark.parametrize("cut", [{}, {"micro_batch_size": 3}, {"grad_accumulation": 8}])
def test_a_part_in_which_everything_is_ignored_counts_for_nothing(training, cut):
    gradients = training(TOKENS, padded, "cross_entropy")
    features, label = batch(padded, 8)
    label[:3] = -100
    rest = {"x": features["x"][3:]}, label[3:]
    assert_alike(gradients((features, label), **cut), gradients(rest))


@pytest.mark.parametrize("cut", [{}, {"micro_batch_size": 3}, {"grad_accumulation": 8}])
@pytest.mark.parametrize("why", ["ignored", "weightless", "a loss of one's own"])
def test_a_batch_in_which_nothing_counts_has_a_loss_of_0_and_teaches_nothing(training, cut, why):
    weighted = why == "weightless"
    own = {"loss_fn": own_sum_and_weight} if why == "a loss of one's own" else {"loss": "cross_entropy"}
    gradients = training(TOKENS, padded, weighted=weighted, **own)
    some = batch(padded, 16, weighted)
    some[2 if weighted else 1][:] = 0 if weighted else -100
    loss, found = gradients(some, **cut)
    assert loss == 0
    assert all((gradient == 0).all() for gradient in found)
