"""Optimizers by name."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.newest

NAMES = [
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "asgd"),
    *("muon", "nadam", "radam", "rmsprop", "rprop", "sgd"),
]


@pytest.fixture
def weight():
    import torch

    return torch.nn.Parameter(torch.tensor([[3.0, -2.0], [1.0, 4.0]]))


@pytest.fixture
def make():
    from polytrainer.executors.backends.torch.optimizers import make

    return make


@pytest.mark.parametrize("name", NAMES)
def test_each_makes_a_loss_smaller_with_its_own_learning_rate(name, make, weight):
    optimizer = make(name, [weight])
    for _ in range(20):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
    assert (weight**2).sum() < 30.0


def test_these_are_all_there_are(make, weight):
    from polytrainer.executors.backends.torch.optimizers import OPTIMIZERS

    assert sorted(OPTIMIZERS) == NAMES
    with pytest.raises(ValueError, match=r"^optimizer: got 'adamx'; expected one of adadelta, .*adam, .*, sgd\.$"):
        make("adamx", [weight])


@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.001), ("sgd", 0.01), ("adadelta", 1.0)])
def test_a_learning_rate_where_nobody_gives_one(name, rate, make, weight):
    assert make(name, [weight]).param_groups[0]["lr"] == rate
    assert make(name, [weight], 0.5).param_groups[0]["lr"] == 0.5


def test_the_documented_learning_rates_are_the_real_ones(make):
    from polytrainer.executors.backends.torch.optimizers import OPTIMIZERS

    by_rate = {}
    for name, kind in OPTIMIZERS.items():
        by_rate.setdefault(kind.learning_rate, set()).add(name)
    assert by_rate == {
        0.001: {"adam", "adamw", "radam", "muon"},
        0.002: {"adamax", "nadam"},
        0.01: {"adafactor", "adagrad", "asgd", "rmsprop", "rprop", "sgd"},
        1.0: {"adadelta"},
    }


def test_options_are_those_of_torch(make, weight):
    group = make("adamw", [weight], betas=(0.8, 0.9), weight_decay=0.3).param_groups[0]
    assert group["betas"] == (0.8, 0.9)
    assert group["weight_decay"] == 0.3


def test_an_unknown_option_is_named_with_those_there_are(make, weight):
    with pytest.raises(
        ValueError, match=r"optimizer sgd: got the option beta; expected options among .*momentum.*weight_decay"
    ):
        make("sgd", [weight], beta=0.9)
    with pytest.raises(ValueError, match="got the option lr;"):
        make("sgd", [weight], lr=0.9)


@pytest.mark.parametrize(("name", "fused"), [("adam", True), ("adamw", True), ("adagrad", True), ("sgd", None)])
def test_a_step_is_one_kernel_where_there_is_one_for_the_cpu(name, fused, make, weight):
    assert make(name, [weight]).param_groups[0].get("fused") is fused


def test_no_kernel_is_chosen_against_the_user_or_for_other_parameters(make, weight):
    import torch

    assert make("adam", [weight], foreach=True).param_groups[0]["fused"] is None
    assert make("adam", [weight], fused=False).param_groups[0]["fused"] is False
    assert make("adam", [torch.zeros(2, dtype=torch.complex64)]).param_groups[0]["fused"] is None
    assert make("adam", [torch.zeros(2, device="meta")]).param_groups[0]["fused"] is None


def test_the_kernel_does_what_the_plain_optimizer_does(make):
    import torch

    ends = []
    for fused in (True, False):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 8))
        optimizer = make("adamw", [weight], 0.1, fused=fused)
        for _ in range(5):
            optimizer.zero_grad()
            weight.pow(4).sum().backward()
            optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends)


def test_groups_and_named_parameters(make):
    import torch

    layer = torch.nn.Linear(2, 1)
    groups = [{"params": (p for p in [layer.weight]), "lr": 0.5}, {"params": [layer.bias]}]
    optimizer = make("adam", groups, 0.1)
    assert [(group["lr"], len(group["params"])) for group in optimizer.param_groups] == [(0.5, 1), (0.1, 1)]
    assert make("adam", layer.named_parameters()).param_groups[0]["fused"] is True


def test_muon_takes_matrices_only(make):
    import torch

    layer = torch.nn.Linear(2, 3)
    with pytest.raises(
        ValueError, match=r"optimizer muon: got parameters of shape \[3\]; expected matrices.*optimizer_fn"
    ):
        make("muon", layer.parameters())
