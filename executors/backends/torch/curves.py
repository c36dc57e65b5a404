"""The shapes of learning-rate schedules: for a number of steps, a function from the step to a factor.

A step is counted from the end of the warm-up; the factor multiplies the learning rate that the optimizer was made with.
Where torch has a scheduler of the same shape, the factors are its learning rates for a learning rate of 1.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Literal

from polytrainer.proto.problems import Problem

Curve = Callable[[int], float]


def constant(steps: int) -> Curve:
    """Always 1."""
    return lambda step: 1.0


def linear(steps: int, *, end_factor: float = 0.0) -> Curve:
    """A line from 1 to `end_factor`, as torch's `LinearLR(start_factor=1)`."""
    return polynomial(steps, power=1.0, end_factor=end_factor)


def polynomial(steps: int, *, power: float = 1.0, end_factor: float = 0.0) -> Curve:
    """`(1 - step / steps) ** power` from 1 to `end_factor`, as torch's `PolynomialLR`, whose end is 0."""
    steps = max(steps, 1)

    def factor(step: int) -> float:
        left = 1.0 - step / steps if step < steps else 0.0
        height: float = left**power
        return end_factor + (1.0 - end_factor) * height

    return factor


def cosine(steps: int, *, end_factor: float = 0.0) -> Curve:
    """Half a cosine from 1 to `end_factor`, as torch's `CosineAnnealingLR` (arXiv:1608.03983, without restarts)."""
    steps = max(steps, 1)
    half, per_step = 0.5 * (1.0 - end_factor), math.pi / steps

    def factor(step: int) -> float:
        return end_factor + half * (1.0 + math.cos(per_step * step)) if step < steps else end_factor

    return factor


def cosine_restarts(
    steps: int, *, first_cycle_steps: int | None = None, cycle_multiplier: int = 1, end_factor: float = 0.0
) -> Curve:
    """Half a cosine again and again, as torch's `CosineAnnealingWarmRestarts` (arXiv:1608.03983).

    Args:
        steps: Steps of the training.
        first_cycle_steps: Steps of the first cycle (T_0); None: a quarter of the training.
        cycle_multiplier: By what each cycle is longer than the one before (T_mult).
        end_factor: Where each cycle ends.
    """
    first = _quarter(steps) if first_cycle_steps is None else _positive("first_cycle_steps", first_cycle_steps)
    multiplier, half = _positive("cycle_multiplier", cycle_multiplier), 0.5 * (1.0 - end_factor)
    starts = [0]
    length = first
    while starts[-1] + length <= steps:
        starts.append(starts[-1] + length)
        length *= multiplier
    starts.append(starts[-1] + length)

    def factor(step: int) -> float:
        cycle = min(bisect_right(starts, step), len(starts) - 1)
        begin, end = starts[cycle - 1], starts[cycle]
        done = min((step - begin) / (end - begin), 1.0)
        return end_factor + half * (1.0 + math.cos(math.pi * done))

    return factor


def exponential(steps: int, *, gamma: float | None = None) -> Curve:
    """`gamma ** step`, as torch's `ExponentialLR`; by default so that the training ends at a tenth."""
    base = 0.1 ** (1.0 / max(steps, 1)) if gamma is None else gamma
    return lambda step: math.pow(base, step)


def step(steps: int, *, step_size: int | None = None, gamma: float = 0.1) -> Curve:
    """Times `gamma` every `step_size` steps (by default a third of the training), as torch's `StepLR`."""
    size = max(math.ceil(steps / 3), 1) if step_size is None else _positive("step_size", step_size)
    return lambda step: gamma ** (step // size)


def multi_step(steps: int, *, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1) -> Curve:
    """Times `gamma` at each milestone, as torch's `MultiStepLR`.

    Args:
        steps: Steps of the training.
        milestones: Steps after the warm-up, or fractions of these steps; by default those of the ResNet paper's CIFAR
            experiments (arXiv:1512.03385).
        gamma: What the factor is multiplied by.
    """
    at = sorted(round(milestone * steps) if 0 < milestone < 1 else int(milestone) for milestone in milestones)
    return lambda step: gamma ** bisect_right(at, step)


def one_cycle(
    steps: int,
    *,
    pct_start: float = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Curve:
    """Up to 1 and down again, as torch's `OneCycleLR(cycle_momentum=False)` (arXiv:1708.07120).

    Args:
        steps: Steps of the training.
        pct_start: Fraction of them that goes up.
        anneal_strategy: Of half a cosine, or of a line.
        div_factor: 1 over the first factor.
        final_div_factor: The first factor over the last.
    """
    if anneal_strategy not in ("cos", "linear"):
        raise ValueError(str(Problem("anneal_strategy", repr(anneal_strategy), "'cos' or 'linear'")))
    top, last = pct_start * steps - 1.0, max(steps - 1, 1)
    low, lowest = 1.0 / div_factor, 1.0 / (div_factor * final_div_factor)

    def between(start: float, end: float, done: float) -> float:
        if anneal_strategy == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * done))

    def factor(step: int) -> float:
        if step <= top:
            return between(low, 1.0, step / top) if top > 0 else 1.0
        return between(1.0, lowest, (step - top) / (last - top)) if step < last else lowest

    return factor


def cyclic(
    steps: int,
    *,
    base_factor: float = 0.1,
    step_size_up: int | None = None,
    step_size_down: int | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
) -> Curve:
    """From `base_factor` to 1 and back, as torch's `CyclicLR(cycle_momentum=False)` (arXiv:1506.01186).

    Args:
        steps: Steps of the training.
        base_factor: Where each cycle begins and ends.
        step_size_up: Steps of a cycle's rise; None: an eighth of the training, which makes four cycles.
        step_size_down: Steps of its fall; None: those of its rise.
        mode: `triangular`: each cycle the same; `triangular2`: each half as high as the one before; `exp_range`: its
            height times `gamma ** step`.
        gamma: For `exp_range`.
    """
    heights: dict[str, Callable[[int, int], float]] = {
        "triangular": lambda cycle, step: 1.0,
        "triangular2": lambda cycle, step: math.pow(0.5, cycle),
        "exp_range": lambda cycle, step: math.pow(gamma, step),
    }
    if mode not in heights:
        raise ValueError(str(Problem("mode", repr(mode), f"one of {', '.join(heights)}")))
    height = heights[mode]
    up = max(math.ceil(steps / 8), 1) if step_size_up is None else _positive("step_size_up", step_size_up)
    down = up if step_size_down is None else _positive("step_size_down", step_size_down)

    def factor(step: int) -> float:
        cycle, done = divmod(step, up + down)
        rise = done / up if done <= up else 1.0 - (done - up) / down
        return base_factor + (1.0 - base_factor) * rise * height(cycle, step)

    return factor


def inverse_sqrt(steps: int, *, warmup_steps: int = 0, timescale: int | None = None) -> Curve:
    """`sqrt(timescale / (timescale + step))` (Attention Is All You Need, arXiv:1706.03762, section 5.3).

    Args:
        steps: Steps of the training.
        warmup_steps: Those that went before.
        timescale: Steps after which the factor is 0.71; None: as many as the warm-up had, or 10,000 without one, as in
            Hugging Face's `get_inverse_sqrt_schedule`.
    """
    scale = warmup_steps or 10_000 if timescale is None else _positive("timescale", timescale)
    return lambda step: math.sqrt(scale / (scale + step))


def _quarter(steps: int) -> int:
    return max(math.ceil(steps / 4), 1)


def _positive(name: str, value: int) -> int:
    if value != int(value) or value < 1:
        raise ValueError(str(Problem(name, repr(value), "a whole number from 1 up")))
    return int(value)
