"""Learning-rate schedules by name, against torch's own."""

from __future__ import annotations

import time

import pytest

pytestmark = pytest.mark.newest

STEPS = 60
RATE = 0.3


@pytest.fixture
def make():
    from polytrainer.executors.backends.torch.schedulers import make

    return make


def optimizer(*rates):
    import torch

    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (RATE,)]
    return torch.optim.SGD(groups)


def rates(schedule, of, steps=STEPS, group=0):
    seen = []
    for _ in range(steps):
        seen.append(float(of.param_groups[group]["lr"]))
        of.step()  # torch's schedulers warn without it
        schedule.step()
    return seen


SAME_AS_TORCH = [
    ("cosine", {}, "CosineAnnealingLR", {"T_max": STEPS}),
    ("cosine", {"end_factor": 0.1}, "CosineAnnealingLR", {"T_max": STEPS, "eta_min": 0.1 * RATE}),
    ("linear", {}, "LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": STEPS}),
    ("linear", {"end_factor": 0.2}, "LinearLR", {"start_factor": 1.0, "end_factor": 0.2, "total_iters": STEPS}),
    ("polynomial", {"power": 2.0}, "PolynomialLR", {"total_iters": STEPS, "power": 2.0}),
    ("exponential", {"gamma": 0.9}, "ExponentialLR", {"gamma": 0.9}),
    ("exponential", {}, "ExponentialLR", {"gamma": 0.1 ** (1 / STEPS)}),
    ("step", {"step_size": 7, "gamma": 0.5}, "StepLR", {"step_size": 7, "gamma": 0.5}),
    ("step", {}, "StepLR", {"step_size": 20}),
    ("multi_step", {"milestones": [31, 5]}, "MultiStepLR", {"milestones": [5, 31]}),
    ("multi_step", {}, "MultiStepLR", {"milestones": [30, 45]}),
    ("one_cycle", {}, "OneCycleLR", {"max_lr": RATE, "total_steps": STEPS + 1, "cycle_momentum": False}),
    (
        "one_cycle",
        {"pct_start": 0.5, "anneal_strategy": "linear", "div_factor": 10, "final_div_factor": 5},
        "OneCycleLR",
        {
            "max_lr": RATE,
            "total_steps": STEPS + 1,
            "cycle_momentum": False,
            "pct_start": 0.5,
            "anneal_strategy": "linear",
            "div_factor": 10,
            "final_div_factor": 5,
        },
    ),
    ("cyclic", {}, "CyclicLR", {"base_lr": 0.1 * RATE, "max_lr": RATE, "step_size_up": 8, "cycle_momentum": False}),
    (
        "cyclic",
        {"mode": "triangular2", "step_size_up": 4, "step_size_down": 9},
        "CyclicLR",
        {
            "base_lr": 0.1 * RATE,
            "max_lr": RATE,
            "step_size_up": 4,
            "step_size_down": 9,
            "mode": "triangular2",
            "cycle_momentum": False,
        },
    ),
    (
        "cyclic",
        {"mode": "exp_range", "gamma": 0.95, "step_size_up": 4},
        "CyclicLR",
        {
            "base_lr": 0.1 * RATE,
            "max_lr": RATE,
            "step_size_up": 4,
            "mode": "exp_range",
            "gamma": 0.95,
            "cycle_momentum": False,
        },
    ),
    ("cosine_restarts", {}, "CosineAnnealingWarmRestarts", {"T_0": 15}),
    (
        "cosine_restarts",
        {"first_cycle_steps": 4, "cycle_multiplier": 3, "end_factor": 0.1},
        "CosineAnnealingWarmRestarts",
        {"T_0": 4, "T_mult": 3, "eta_min": 0.1 * RATE},
    ),
]


@pytest.mark.parametrize(("name", "options", "theirs", "their_options"), SAME_AS_TORCH)
def test_the_learning_rates_are_those_of_torch(name, options, theirs, their_options, make):
    import torch

    ours, other = optimizer(), optimizer()
    total = their_options.get("total_steps", STEPS)
    schedule = make(name, ours, total, **options)
    reference = getattr(torch.optim.lr_scheduler, theirs)(other, **their_options)
    expected = rates(reference, other)
    assert len(set(expected)) > 1
    assert rates(schedule, ours) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_constant(make):
    of = optimizer()
    assert rates(make("constant", of, STEPS), of) == [RATE] * STEPS


def test_inverse_sqrt_goes_on_from_its_warmup_as_the_transformer_did(make):
    of = optimizer()
    seen = rates(make("inverse_sqrt", of, STEPS, warmup_steps=10), of)
    assert seen[10] == RATE
    assert seen[40] == pytest.approx(RATE * (10 / 40) ** 0.5)  # warm-up ** 0.5 * step ** -0.5, section 5.3
    of = optimizer()
    assert rates(make("inverse_sqrt", of, STEPS, timescale=3), of)[9] == pytest.approx(RATE * 0.5)


def test_the_warmup_is_a_line_to_where_the_schedule_begins(make):
    import torch

    ours, other = optimizer(), optimizer()
    lr_scheduler = torch.optim.lr_scheduler
    warmup = lr_scheduler.LinearLR(other, start_factor=1 / 11, total_iters=10)
    cosine = lr_scheduler.CosineAnnealingLR(other, T_max=STEPS - 10)
    reference = lr_scheduler.SequentialLR(other, [warmup, cosine], milestones=[10])
    expected = rates(reference, other)
    assert rates(make("cosine", ours, STEPS, warmup_steps=10), ours) == pytest.approx(expected, rel=1e-9)


def test_the_warmup_of_a_schedule_that_begins_low_goes_there(make):
    of = optimizer()
    seen = rates(make("one_cycle", of, STEPS, warmup_steps=4), of)
    assert seen[:5] == pytest.approx([RATE / 25 * step / 5 for step in range(1, 6)])


def test_the_warmup_may_be_a_fraction_of_the_training(make):
    first, second = optimizer(), optimizer()
    by_fraction = rates(make("linear", first, STEPS, warmup_steps=0.1), first)
    assert by_fraction == rates(make("linear", second, STEPS, warmup_steps=6), second)
    assert by_fraction.index(max(by_fraction)) == 6


@pytest.mark.parametrize("steps", [-1, STEPS + 1, 1.5])
def test_a_warmup_that_cannot_be_is_refused(steps, make):
    with pytest.raises(ValueError, match=rf"warmup_steps: got {steps}; expected steps from 0 to {STEPS}"):
        make("constant", optimizer(), STEPS, warmup_steps=steps)


@pytest.mark.parametrize("name", ["linear", "polynomial", "cosine", "one_cycle"])
def test_a_schedule_with_an_end_stays_there(name, make):
    of = optimizer()
    seen = rates(make(name, of, 10), of, steps=15)
    assert set(seen[10:]) == {min(seen)}


@pytest.mark.parametrize("total_steps", [1, 2, 3])
def test_the_shortest_trainings(total_steps, make):
    from polytrainer.executors.backends.torch.schedulers import CURVES

    for name in CURVES:
        for warmup in (0, 1):
            of = optimizer()
            assert all(0 <= rate <= RATE for rate in rates(make(name, of, total_steps, warmup), of, steps=5)), name


def test_every_group_keeps_its_own_learning_rate(make):
    of = optimizer(1.0, 0.1)
    make("linear", of, 4).step()
    assert [group["lr"] for group in of.param_groups] == pytest.approx([0.75, 0.075])


def test_a_learning_rate_in_a_tensor_is_written_in_place(make):
    import torch

    rate = torch.tensor(0.5)
    of = optimizer(rate)
    make("linear", of, 4).step()
    assert of.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.375)


@pytest.mark.parametrize("name", ["cosine", "cyclic", "plateau"])
def test_a_schedule_goes_on_from_its_state(name, make):
    def evaluated(schedule, metric):
        if schedule.steps_on_metric:
            schedule.step(metric)

    options = {"patience": 0, "factor": 0.5} if name == "plateau" else {}
    ends = []
    for resumed in (False, True):
        of = optimizer()
        schedule = make(name, of, STEPS, warmup_steps=3, **options)
        rates(schedule, of, steps=20)
        evaluated(schedule, 1.0)
        if resumed:
            states = of.state_dict(), schedule.state_dict()
            of = optimizer()
            schedule = make(name, of, STEPS, warmup_steps=3, **options)
            of.load_state_dict(states[0])
            schedule.load_state_dict(states[1])
        evaluated(schedule, 1.0)  # no better: half of it from here on
        ends.append(rates(schedule, of, steps=20))
    assert ends[0] == ends[1]
    assert ends[0][0] < RATE


def test_plateau_falls_when_the_metric_gets_no_better(make):
    of = optimizer()
    schedule = make("plateau", of, STEPS, mode="max", factor=0.5, patience=1)
    assert schedule.steps_on_metric
    seen = []
    for metric in (0.1, 0.2, 0.2, 0.2, 0.2, 0.2):
        rates(schedule, of, steps=3)
        schedule.step(metric)
        seen.append(of.param_groups[0]["lr"])
    assert seen == [RATE, RATE, RATE, RATE / 2, RATE / 2, RATE / 4]


def test_plateau_looks_at_no_metric_during_its_warmup(make):
    of = optimizer()
    schedule = make("plateau", of, STEPS, warmup_steps=4, factor=0.5, patience=0)
    for _ in range(3):
        schedule.step(1.0)
    assert rates(schedule, of, steps=6) == pytest.approx([RATE * f for f in (0.2, 0.4, 0.6, 0.8, 1.0, 1.0)])
    schedule.step(1.0)
    schedule.step(1.0)
    assert of.param_groups[0]["lr"] == RATE / 2


def test_only_plateau_steps_on_a_metric(make):
    from polytrainer.executors.backends.torch.schedulers import CURVES

    assert not any(make(name, optimizer(), STEPS).steps_on_metric for name in CURVES)


def test_a_step_costs_next_to_nothing(make):
    of = optimizer()
    schedule = make("cosine", of, 100_000, warmup_steps=10)

    def microseconds():
        start = time.perf_counter()
        for _ in range(2_000):
            schedule.step()
        return (time.perf_counter() - start) / 2_000 * 1e6

    assert min(microseconds() for _ in range(10)) < 2


def test_unknown_names_and_options(make):
    with pytest.raises(ValueError, match=r"scheduler: got 'cosin'; expected one of constant, cosine, .*plateau"):
        make("cosin", optimizer(), STEPS)
    with pytest.raises(ValueError, match="scheduler cosine: got the option eta_min; expected options among end_factor"):
        make("cosine", optimizer(), STEPS, eta_min=0.1)
    with pytest.raises(ValueError, match="scheduler constant: got the option gamma; expected no options"):
        make("constant", optimizer(), STEPS, gamma=0.1)
    with pytest.raises(ValueError, match=r"got the option steps; expected options among .*patience"):
        make("plateau", optimizer(), STEPS, steps=1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("one_cycle", {"anneal_strategy": "cosine"}, "anneal_strategy: got 'cosine'; expected 'cos' or 'linear'"),
        ("cyclic", {"mode": "sine"}, "mode: got 'sine'; expected one of triangular, triangular2, exp_range"),
        ("step", {"step_size": 0}, "step_size: got 0; expected a whole number from 1 up"),
        ("cosine_restarts", {"cycle_multiplier": 1.5}, "cycle_multiplier: got 1.5"),
    ],
)
def test_options_that_cannot_be(name, options, message, make):
    with pytest.raises(ValueError, match=message):
        make(name, optimizer(), STEPS, **options)
