"""Learning-rate schedules by name: one factor a step, which every group's learning rate is multiplied by.

torch's own schedulers compute and copy much more at each step: 15 to 20 µs, where a step of a small model takes 200.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from polytrainer.executors.backends.torch import curves
from polytrainer.executors.backends.torch.registry import check_options, look_up
from polytrainer.proto.problems import Problem

CURVES: dict[str, Callable[..., curves.Curve]] = {
    "constant": curves.constant,
    "cosine": curves.cosine,
    "cosine_restarts": curves.cosine_restarts,
    "cyclic": curves.cyclic,
    "exponential": curves.exponential,
    "inverse_sqrt": curves.inverse_sqrt,
    "linear": curves.linear,
    "multi_step": curves.multi_step,
    "one_cycle": curves.one_cycle,
    "polynomial": curves.polynomial,
    "step": curves.step,
}
PLATEAU = "plateau"
TOLD = {"steps", "warmup_steps", "optimizer"}  # what a schedule is told by `make` itself


class StepSchedule:
    """A learning rate for each step: `group["lr"]` is `group["initial_lr"]` times the factor of the step.

    Attributes:
        steps_on_metric: False: `step()` once after each step of the optimizer is all.
        last_step: Steps done.
    """

    steps_on_metric = False

    def __init__(self, optimizer: torch.optim.Optimizer, curve: curves.Curve, warmup_steps: int = 0):
        """Sets the learning rates of step 0.

        Args:
            optimizer: Its groups' learning rates are those that factors multiply: `initial_lr` where an earlier
                schedule left one, else `lr`.
            curve: Factor of each step, where step 0 is the first after the warm-up.
            warmup_steps: Steps s at whose beginning the factor is `curve(0) * (s + 1) / (warmup_steps + 1)`.
        """
        self.optimizer, self._curve, self._warmup_steps = optimizer, curve, warmup_steps
        self._first = curve(0)
        self.last_step = 0
        _remember(optimizer)
        self._write(self._factor(0))

    def step(self) -> None:
        """Sets the learning rates of the next step."""
        self.last_step += 1
        self._write(self._factor(self.last_step))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold. The learning rates that are multiplied are in the optimizer's own state."""
        return {"last_step": self.last_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state; to be called after the optimizer's own `load_state_dict`."""
        self.last_step = state["last_step"]
        self._write(self._factor(self.last_step))

    def _factor(self, step: int) -> float:
        since = step - self._warmup_steps
        return self._curve(since) if since >= 0 else self._first * (step + 1) / (self._warmup_steps + 1)

    def _write(self, factor: float) -> None:
        for group in self.optimizer.param_groups:  # loading a state makes new groups: they cannot be kept
            if isinstance(group["lr"], torch.Tensor):  # which a compiled or captured step reads: filled, not replaced
                group["lr"].fill_(group["initial_lr"] * factor)
            else:
                group["lr"] = group["initial_lr"] * factor


class PlateauSchedule:
    """A learning rate that falls when a metric no longer gets better (`torch.optim.lr_scheduler.ReduceLROnPlateau`).

    Attributes:
        steps_on_metric: True: besides `step()` after each step of the optimizer, `step(metric)` at each evaluation.
        last_step: Steps done.
    """

    steps_on_metric = True

    def __init__(self, optimizer: torch.optim.Optimizer, warmup_steps: int = 0, **options: Any):
        """Begins with the warm-up, if there is one.

        Args:
            optimizer: What the learning rate is for.
            warmup_steps: As in `StepSchedule`; metrics before its end are not looked at.
            **options: Those of ReduceLROnPlateau: mode, factor, patience, threshold, threshold_mode, cooldown, min_lr
                and eps, in evaluations.
        """
        self._warmup = StepSchedule(optimizer, curves.constant(0), warmup_steps)
        self._warmup_steps, self._plateau = warmup_steps, ReduceLROnPlateau(optimizer, **options)

    @property
    def last_step(self) -> int:
        """Steps done."""
        return self._warmup.last_step

    @property
    def mode(self) -> str:
        """Whether the metric is to get less, "min", or more, "max"."""
        return str(self._plateau.mode)

    def step(self, metric: float | torch.Tensor | None = None) -> None:
        """Counts a step of the optimizer; with a metric, an evaluation instead."""
        if metric is not None:
            if self.last_step >= self._warmup_steps:
                self._plateau.step(metric)
        elif self.last_step < self._warmup_steps:
            self._warmup.step()
        else:
            self._warmup.last_step += 1

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold; the learning rate is in the optimizer's own state."""
        return {"last_step": self.last_step, "plateau": self._plateau.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state; to be called after the optimizer's own `load_state_dict`."""
        self._warmup.last_step = state["last_step"]
        self._plateau.load_state_dict(state["plateau"])


def make(
    name: str, optimizer: torch.optim.Optimizer, total_steps: int, warmup_steps: float = 0, **options: Any
) -> StepSchedule | PlateauSchedule:
    """Makes a schedule for the learning rates that an optimizer has.

    To be made before the optimizer's state is loaded. A curve that has an end stays there if training goes on.

    Args:
        name: `plateau`, which needs a metric at each evaluation, or one of `CURVES`, whose functions in `curves` say
            what the factor of each step is.
        optimizer: Its learning rates are those at the top of the schedule (for `one_cycle` and `cyclic` too).
        total_steps: Optimizer steps of the whole training, warm-up included.
        warmup_steps: Steps over which the learning rate rises linearly to where the schedule begins; a float between
            0 and 1 is a fraction of `total_steps`.
        **options: Those of the curve's function, or, for `plateau`, of ReduceLROnPlateau (mode, factor, patience, …).

    Raises:
        ValueError: If the name or an option is unknown, or the warm-up is longer than the training.
    """
    makers: dict[str, Callable[..., Any]] = {**CURVES, PLATEAU: ReduceLROnPlateau}
    maker = look_up("scheduler", name, makers)
    check_options(f"scheduler {name}", options, set(inspect.signature(maker).parameters) - TOLD)
    warmup = _warmup_steps(warmup_steps, total_steps)
    if name == PLATEAU:
        return PlateauSchedule(optimizer, warmup, **options)
    told = {"warmup_steps": warmup} if name == "inverse_sqrt" else {}
    return StepSchedule(optimizer, maker(total_steps - warmup, **told, **options), warmup)


def _warmup_steps(given: float, total_steps: int) -> int:
    """Steps, of steps or a fraction."""
    steps = round(given * total_steps) if 0 < given < 1 else given
    if steps != int(steps) or not 0 <= steps <= total_steps:
        expected = f"steps from 0 to {total_steps}, which is the whole training, or a fraction of it below 1"
        raise ValueError(str(Problem("warmup_steps", repr(given), expected)))
    return int(steps)


def _remember(optimizer: torch.optim.Optimizer) -> None:
    """Keeps each group's learning rate as `initial_lr`, where torch's own schedulers keep it, as a plain float."""
    for group in optimizer.param_groups:
        group["initial_lr"] = float(group.get("initial_lr", group["lr"]))
