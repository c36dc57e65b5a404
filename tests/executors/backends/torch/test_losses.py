"""Losses by name: what they are, and which labels fit which outputs."""

from __future__ import annotations

import itertools
import math

import pytest

pytestmark = pytest.mark.newest

CLASSES = [[2.0, 0.5, -1.0], [0.0, 1.0, 3.0], [1.0, 1.0, 1.0], [-2.0, 0.0, 0.5]]
BINARY = [0.5, -1.0, 2.0, 3.0]


@pytest.fixture
def make():
    from polytrainer.executors.backends.torch.losses import make

    return make


@pytest.fixture
def tensor():
    import torch

    return torch.tensor


def softmax(row):
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


LABELS = [0, 2, 1, 0]
CROSS_ENTROPY = mean(-math.log(softmax(row)[label]) for row, label in zip(CLASSES, LABELS, strict=True))
BINARY_LABELS = [1, 0, 1, 0]
BINARY_CROSS_ENTROPY = mean(
    -math.log(sigmoid(x) if y else 1 - sigmoid(x)) for x, y in zip(BINARY, BINARY_LABELS, strict=True)
)


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_cross_entropy_takes_classes_as_tfx_gives_them(shape, dtype, make, tensor):
    import torch

    label = tensor(LABELS, dtype=getattr(torch, dtype)).reshape(shape)
    assert make("cross_entropy")(tensor(CLASSES), label).item() == pytest.approx(CROSS_ENTROPY)


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
@pytest.mark.parametrize("shapes", itertools.product([(4,), (4, 1)], repeat=2))
@pytest.mark.parametrize("name", ["binary_cross_entropy", "multilabel"])
def test_binary_cross_entropy_is_of_logits_and_never_broadcasts(name, shapes, dtype, make, tensor):
    import torch

    shape, label_shape = shapes
    label = tensor(BINARY_LABELS).to(getattr(torch, dtype)).reshape(label_shape)
    loss = make(name)(tensor(BINARY).reshape(shape), label)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(BINARY_CROSS_ENTROPY)


def errors():
    return [(x - y) for x, y in zip(BINARY, BINARY_LABELS, strict=True)]


BY_HAND = {
    "mse": ({}, mean(e * e for e in errors())),
    "mae": ({}, mean(abs(e) for e in errors())),
    "huber": ({"delta": 0.75}, mean(e * e / 2 if abs(e) < 0.75 else 0.75 * (abs(e) - 0.375) for e in errors())),
    "smooth_l1": ({"beta": 0.75}, mean(e * e / 1.5 if abs(e) < 0.75 else abs(e) - 0.375 for e in errors())),
    "poisson_nll": ({}, mean(math.exp(x) - y * x for x, y in zip(BINARY, BINARY_LABELS, strict=True))),
    "hinge": ({}, mean(max(0, 1 - (x if y else -x)) for x, y in zip(BINARY, BINARY_LABELS, strict=True))),
}


@pytest.mark.parametrize("label_shape", [(4,), (4, 1)])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("name", BY_HAND)
def test_losses_of_numbers_by_hand(name, shape, label_shape, make, tensor):
    options, expected = BY_HAND[name]
    loss = make(name, **options)(tensor(BINARY).reshape(shape), tensor(BINARY_LABELS).reshape(label_shape))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_hinge_takes_labels_of_both_conventions(make, tensor):
    outputs, loss = tensor(BINARY), make("hinge")
    assert loss(outputs, tensor([1, 0, 1, 0])) == loss(outputs, tensor([1, -1, 1, -1]))


def test_multi_margin(make, tensor):
    expected = mean(
        sum(max(0, 1 - row[label] + x) for i, x in enumerate(row) if i != label) / 3
        for row, label in zip(CLASSES, LABELS, strict=True)
    )
    assert make("multi_margin")(tensor(CLASSES), tensor([[0], [2], [1], [0]])).item() == pytest.approx(expected)


def test_nll_takes_log_probabilities(make, tensor):
    outputs = tensor(CLASSES).log_softmax(1)
    assert make("nll")(outputs, tensor(LABELS)).item() == pytest.approx(CROSS_ENTROPY)


def test_kl_div_is_a_divergence_of_an_example(make, tensor):
    p, q = [0.2, 0.3, 0.5], [0.1, 0.6, 0.3]
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert make("kl_div")(tensor([q, q]).log(), tensor([p, p])).item() == pytest.approx(expected)


def test_cross_entropy_takes_probabilities_of_classes(make, tensor):
    one_hot = [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    for label in (tensor(one_hot), tensor(one_hot).float()):
        assert make("cross_entropy")(tensor(CLASSES), label).item() == pytest.approx(CROSS_ENTROPY)


def test_a_class_for_each_position(make, tensor):
    outputs = tensor([CLASSES, CLASSES]).transpose(1, 2)  # [2, 3, 4]
    assert make("cross_entropy")(outputs, tensor([LABELS, LABELS])).item() == pytest.approx(CROSS_ENTROPY)


def test_options_of_cross_entropy(make, tensor):
    outputs, label = tensor(CLASSES), tensor(LABELS)
    smooth = mean(
        -(0.9 * math.log(softmax(row)[label]) + 0.1 * mean(math.log(p) for p in softmax(row)))
        for row, label in zip(CLASSES, LABELS, strict=True)
    )
    assert make("cross_entropy", label_smoothing=0.1)(outputs, label).item() == pytest.approx(smooth)
    weighted = make("cross_entropy", weight=[0.0, 1.0, 0.0])  # only the third example's class counts
    for dtype in (outputs.dtype, outputs.double().dtype):
        assert weighted(outputs.to(dtype), label).item() == pytest.approx(math.log(3))


def test_positive_examples_can_weigh_more(make, tensor):
    outputs, label = tensor(BINARY), tensor(BINARY_LABELS)
    expected = mean(
        -3 * math.log(sigmoid(x)) if y else -math.log(1 - sigmoid(x))
        for x, y in zip(BINARY, BINARY_LABELS, strict=True)
    )
    assert make("binary_cross_entropy", pos_weight=3.0)(outputs, label).item() == pytest.approx(expected)


@pytest.mark.parametrize(("dtype", "result"), [("float64", "float64"), ("float16", "float32"), ("bfloat16", "float32")])
@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "mse", "multi_margin", "kl_div"])
def test_outputs_of_other_precision(name, dtype, result, make, tensor):
    import torch

    label = tensor(LABELS) if name in ("cross_entropy", "multi_margin") else tensor(CLASSES)
    outputs = tensor(CLASSES, dtype=getattr(torch, dtype), requires_grad=True)
    loss = make(name)(outputs, label)
    loss.backward()
    assert loss.dtype == getattr(torch, result)
    assert outputs.grad.dtype == outputs.dtype


@pytest.mark.parametrize(
    ("name", "outputs", "label"),
    [
        ("mse", (4, 1), (1, 4)),
        ("mse", (4, 3), (4,)),
        ("mse", (4,), (1,)),
        ("binary_cross_entropy", (4, 2), (4, 1)),
        ("cross_entropy", (4, 3), (3,)),
        ("cross_entropy", (4, 3), (4, 2)),
        ("cross_entropy", (4, 3, 5), (4, 1)),
        ("nll", (4, 3), (4, 3)),
    ],
)
def test_what_does_not_fit_is_refused_with_both_shapes(name, outputs, label, make):
    import re

    import torch

    message = f"loss {name}: got outputs {list(outputs)} and a label {list(label)} of torch.float32"
    with pytest.raises(ValueError, match=re.escape(message)):
        make(name)(torch.zeros(outputs), torch.zeros(label))


@pytest.mark.parametrize("shapes", itertools.product([(4,), (4, 1)], repeat=2))
def test_cross_entropy_of_one_logit_would_always_be_zero(shapes, make, tensor):
    import torch

    with pytest.raises(ValueError, match="A single output per example goes with binary_cross_entropy"):
        make("cross_entropy")(torch.zeros(shapes[0]), tensor(LABELS).reshape(shapes[1]))


def test_a_batch_of_one(make, tensor):
    assert make("cross_entropy")(tensor([CLASSES[2]]), tensor([[1]])).item() == pytest.approx(math.log(3))
    assert make("mse")(tensor([[2.0]]), tensor([5])).item() == 9


@pytest.mark.parametrize("rest", [{"logits": 1}, {"outputs": 1}, {"anything": 1}, {"logits": 1, "outputs": 0, "z": 0}])
def test_outputs_may_be_a_mapping(rest, make, tensor):
    outputs = {name: tensor(BINARY) if it else tensor([0.0]) for name, it in rest.items()}
    assert make("binary_cross_entropy")(outputs, tensor(BINARY_LABELS)).item() == pytest.approx(BINARY_CROSS_ENTROPY)


def test_outputs_that_leave_open_what_to_take(tensor):
    from polytrainer.executors.backends.torch.losses import logits_of

    with pytest.raises(
        ValueError, match="outputs: got a mapping with a, b; expected a tensor, or a mapping with one at"
    ):
        logits_of({"a": tensor([1]), "b": tensor([1])})
    with pytest.raises(ValueError, match="got a tuple;"):
        logits_of((tensor([1]),))
    with pytest.raises(ValueError, match="got a mapping with nothing;"):
        logits_of({})


def test_unknown_names_and_options(make):
    with pytest.raises(ValueError, match=r"loss: got 'crossentropy'; expected one of binary_cross_entropy, cross_entr"):
        make("crossentropy")
    message = (
        "loss cross_entropy: got the option reduction; expected options among ignore_index, label_smoothing, weight"
    )
    with pytest.raises(ValueError, match=message):
        make("cross_entropy", reduction="sum")
    with pytest.raises(ValueError, match="loss mse: got the option delta; expected no options"):
        make("mse", delta=1)


def test_weights_that_an_evaluation_has_moved_first_are_of_use_in_training():
    """As in a training that is resumed at an evaluation."""
    import torch

    from polytrainer.executors.backends.torch import losses

    loss, label = losses.make("cross_entropy", weight=[1.0, 2.0, 3.0]), torch.tensor([0, 1, 2, 0])
    outputs = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        loss(torch.randn(4, 3, dtype=torch.float64), label)
    loss(outputs, label).backward()
    assert outputs.grad is not None
