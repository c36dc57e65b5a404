"""Number formats of the computation, by the names that `TrainArgs.precision` has for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import TrainArgs

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Precision:
    """How numbers are kept and computed.

    Mixed precision keeps weights in float32 and computes in the other format (`torch.amp`); with float16 the loss is
    scaled, so that small gradients do not vanish. "bf16-true" keeps the weights in bfloat16, too.

    Args:
        name: "32" (or empty), "bf16-mixed", "16-mixed" or "bf16-true".
        device: Where it computes.
    """

    def __init__(self, name: str, device: torch.device):
        self.name = name or "32"
        self._device_type, self._autocast = device.type, _AUTOCAST.get(self.name)
        self.scaler = torch.amp.GradScaler(device.type) if self.name == "16-mixed" else None
        self.is_mixed = self._autocast is not None

    def computing(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        return torch.autocast(self._device_type, self._autocast) if self.is_mixed else nullcontext()

    def of_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model with its weights in their format."""
        return model.to(torch.bfloat16) if self.name == "bf16-true" else model

    def of_features(self, features: Any) -> Any:
        """Features as the model's weights need them."""
        if self.name != "bf16-true" or not isinstance(features, Mapping):
            return features
        return {
            name: value.to(torch.bfloat16) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in features.items()
        }

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the loss's gradients."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def unscale(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Takes the scale out of the optimizers' gradients.

        Raises:
            TrainingError: If one of them has none.
        """
        if not self.scaler:
            return
        for number, optimizer in enumerate(optimizers):
            if all(each.grad is None for group in optimizer.param_groups for each in group["params"]):
                got = f"no gradient for any parameter of optimizer {number} ({type(optimizer).__name__})"
                remedy = "The loss must depend on some of its parameters, and these must have requires_grad."
                raise TrainingError(Problem("optimizer_fn", got, "gradients to step with", remedy))
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Lets an optimizer step; with gradients that were scaled only if they are finite."""
        if self.scaler:
            self.scaler.step(optimizer)
        else:
            optimizer.step()

    def update_scale(self) -> bool:
        """Adapts the scale to the last step; whether that was left out, as its gradients were not finite."""
        assert self.scaler is not None
        before = self.scaler.get_scale()
        self.scaler.update()
        return bool(self.scaler.get_scale() < before)

    def state_dict(self) -> dict[str, Any]:
        """Of the loss's scale."""
        return self.scaler.state_dict() if self.scaler else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        if self.scaler:
            self.scaler.load_state_dict(state)


@contextmanager
def settings(train_args: TrainArgs) -> Iterator[None]:
    """PyTorch's process-wide settings that `TrainArgs` ask for, within the context."""
    matmul, deterministic = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    if train_args.matmul_precision:
        torch.set_float32_matmul_precision(train_args.matmul_precision)
    if train_args.deterministic:
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.use_deterministic_algorithms(deterministic)
