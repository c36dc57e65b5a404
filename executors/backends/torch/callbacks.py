"""What a user may do at the turns of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from polytrainer.executors.backends.torch.engine import Engine


class Callback:
    """Override what you need; what is not overridden costs nothing.

    Each method gets the training: `engine.state` (step, epoch, history, best, …), `engine.model`, `engine.optimizers`,
    `engine.stop()` to end it after the step it is at. A callback with something to remember over a resume has
    `state_dict` and `load_state_dict`.
    """

    def on_train_begin(self, engine: Engine) -> None:
        """Before the first step of this process, after a checkpoint was restored."""

    def on_epoch_begin(self, engine: Engine) -> None:
        """Before the first batch of an epoch (of the rest of it, where a training is resumed)."""

    def on_backward_end(self, engine: Engine, loss: torch.Tensor) -> None:
        """After the gradients of a batch are there, before the optimizer uses them."""

    def on_step_end(self, engine: Engine, loss: torch.Tensor) -> None:
        """After an optimizer step; `loss` is still on its device: reading it each time makes the training wait."""

    def on_evaluate_end(self, engine: Engine, metrics: Mapping[str, float]) -> None:
        """After an evaluation, with its metrics by name."""

    def on_epoch_end(self, engine: Engine) -> None:
        """After the last batch of an epoch, and its evaluation."""

    def on_train_end(self, engine: Engine) -> None:
        """After the last step, with the weights that become the model."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs: numbers, strings, tensors, and lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""


class Callbacks:
    """All callbacks of a training as one, which knows who wants to hear of what.

    Args:
        callbacks: In the order of calling.
        engine: What they are given.
    """

    def __init__(self, callbacks: Sequence[Callback], engine: Engine):
        self._all, self._engine = tuple(callbacks), engine
        self._listeners = {
            event: tuple(
                getattr(each, event) for each in callbacks if getattr(type(each), event) is not getattr(Callback, event)
            )
            for event in vars(Callback)
            if event.startswith("on_")
        }

    @property
    def kinds(self) -> list[str]:
        """Names of their classes."""
        return [type(each).__name__ for each in self._all]

    def hears(self, event: str) -> bool:
        """Whether anybody overrides it."""
        return bool(self._listeners[event])

    def call(self, event: str, *values: Any) -> None:
        """Tells those who override it."""
        for listener in self._listeners[event]:
            listener(self._engine, *values)

    def state_dict(self) -> list[dict[str, Any]]:
        """Of each, in order."""
        return [each.state_dict() for each in self._all]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Takes over what `state_dict` returned."""
        for each, state in zip(self._all, states, strict=True):
            each.load_state_dict(state)
