"""Optimizers, schedules and the parameters that they change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from polytrainer.executors.backends.torch.backend import TrainerBackend
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.monitors import Monitor
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.hooks import TorchHooks

_BETTER = {"min": "less", "max": "more"}


class Optimization:
    """What changes a model's parameters, step by step.

    Args:
        trainer: With `optimizer_fn` and `scheduler_fn`.
        model: As the backend wrapped it.
        backend: The ranks.

    Attributes:
        optimizers: One or more.
        schedulers: Of the learning rates.
        stepwise: Those of them that step with each step of the optimizers.
        on_metric: Those that step with each evaluation.
        parameters: Of the model, and all others that the optimizers hold.
        own_parameters: Those others.

    Raises:
        PreflightError: If a hook returned something else.
    """

    def __init__(self, trainer: TorchHooks, model: nn.Module, backend: TrainerBackend):
        self._model = model
        self.optimizers = _optimizers(trainer.optimizer_fn(model))
        self.schedulers = _schedulers([trainer.scheduler_fn(each) for each in self.optimizers])
        self.stepwise = [each for each in self.schedulers if not isinstance(each, ReduceLROnPlateau)]
        self.on_metric = [
            each
            for each in self.schedulers
            if isinstance(each, ReduceLROnPlateau) or getattr(each, "steps_on_metric", False)
        ]
        self.find_parameters()
        if backend.world_size > 1:
            for parameter in self.own_parameters:
                torch.distributed.broadcast(parameter.data, 0)

    def find_parameters(self) -> None:
        """Finds all parameters whose gradients are to be cleared; those that only the optimizers hold, too."""
        of_model = {id(each): each for each in self._model.parameters()}
        held = {id(each): each for one in self.optimizers for group in one.param_groups for each in group["params"]}
        self.own_parameters = [each for key, each in held.items() if key not in of_model]
        self.parameters = [*of_model.values(), *self.own_parameters]
        self._found_groups = self._num_groups()

    def find_added_parameters(self) -> None:
        """The same, if a callback has given an optimizer further ones."""
        if self._num_groups() != self._found_groups:
            self.find_parameters()

    def problems(self, monitor: Monitor, *, evaluates: bool) -> list[Problem]:
        """What is wrong with the schedules that follow a metric.

        Args:
            monitor: The metric.
            evaluates: Whether the training is evaluated at all.
        """
        problems = []
        if self.on_metric and not evaluates:
            got = "a schedule that follows a metric, in a training that is not evaluated"
            problems.append(Problem("scheduler", got, "a split to evaluate on, or another schedule"))
        for scheduler in self.on_metric:
            mode = getattr(scheduler, "mode", monitor.mode)
            if mode != monitor.mode:
                got = f"mode {mode!r} for the metric {monitor.metric!r}, of which {_BETTER[monitor.mode]} is better"
                problems.append(Problem("scheduler", got, f"mode {monitor.mode!r}"))
        return problems

    def _num_groups(self) -> int:
        return sum(len(optimizer.param_groups) for optimizer in self.optimizers)


def _optimizers(returned: Any) -> list[torch.optim.Optimizer]:
    """What `optimizer_fn` returned, as a list.

    Raises:
        PreflightError: If it is something else, e.g. Lightning's `([optimizers], [schedulers])`.
    """
    optimizers = list(returned) if isinstance(returned, (list, tuple)) else [returned]
    wrong = [each for each in optimizers if not isinstance(each, torch.optim.Optimizer)]
    if wrong or not optimizers:
        got = ", ".join(f"a {type(each).__name__}" for each in wrong) or "no optimizer"
        remedy = "Schedulers are returned by scheduler_fn(optimizer), one for each optimizer."
        problem = Problem("what optimizer_fn returned", got, "a torch.optim.Optimizer, or a list of them", remedy)
        raise PreflightError([problem])
    return optimizers


def _schedulers(returned: Sequence[Any]) -> list[Any]:
    """What `scheduler_fn` returned for each optimizer, without None.

    Raises:
        PreflightError: If it is something else, e.g. a list, or Lightning's dict.
    """
    schedulers = [each for each in returned if each is not None]
    wrong = [each for each in schedulers if not (hasattr(each, "step") and hasattr(each, "state_dict"))]
    if wrong:
        got = ", ".join(f"a {type(each).__name__}" for each in wrong)
        remedy = "It is called once for each optimizer; several at once: torch's ChainedScheduler or SequentialLR."
        problem = Problem("what scheduler_fn returned", got, "a scheduler of torch.optim.lr_scheduler, or None", remedy)
        raise PreflightError([problem])
    return schedulers
