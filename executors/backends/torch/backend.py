"""What a training runs on: one process, several that hold the model each (DDP), several that share it out (FSDP)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from polytrainer.executors.backends.torch.precision import Precision
from polytrainer.executors.distributed import process_group
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import TrainArgs

Optimizers = Sequence[torch.optim.Optimizer]


@runtime_checkable
class TrainerBackend(Protocol):
    """Where and how a step is computed. `TorchTrainer(backend=…)` takes one of your own; subclass `Single` for little.

    Attributes:
        rank: Number of this process among all that train the model, from 0.
        world_size: How many they are.
        device: Where the model computes.
    """

    rank: int
    world_size: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on its device, with gradients shared between ranks."""

    def plain(self, model: nn.Module) -> nn.Module:
        """The wrapped model without what shares its gradients: for evaluation, compilation and export."""

    def of_features(self, features: Any) -> Any:
        """Features in the number format that the wrapped model takes."""

    def computing(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""

    def accumulating(self, model: nn.Module) -> AbstractContextManager[Any]:
        """The context of forward and backward of all micro-batches of a batch but the last."""

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the loss's gradients to those that are there."""

    def unscale(self, optimizers: Optimizers) -> None:
        """Takes the loss's scale out of the gradients of a whole batch, before anybody looks at them."""

    def step(self, optimizers: Optimizers, parameters: Sequence[nn.Parameter], max_grad_norm: float) -> Any:
        """Lets the optimizers step and clears the gradients.

        Args:
            optimizers: Whose gradients are there, without a scale.
            parameters: Of the model, and all others that the optimizers hold.
            max_grad_norm: What the gradients' norm is scaled down to; 0: it is not.

        Returns:
            The gradients' norm where `max_grad_norm` is not 0, a tensor; else None.
        """

    @property
    def skipped(self) -> bool:
        """Whether the last step was none, as its scaled gradients were not finite."""

    def sync_buffers(self, model: nn.Module) -> None:
        """Gives all ranks the buffers of rank 0 (BatchNorm's statistics, which each rank has of its own)."""

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Averages gradients over ranks, of parameters that are not the model's."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, on each of them."""

    def gather(self, value: Any) -> list[Any]:
        """A Python object of each rank, in order, on each of them."""

    def model_state(self, model: nn.Module) -> dict[str, Any]:
        """The whole model's weights by name, on the CPU; may be empty on ranks other than 0. All ranks call it."""

    def load_model_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Takes over what `model_state` returned. All ranks call it."""

    def optimizer_state(self, model: nn.Module, optimizers: Optimizers) -> Any:
        """Likewise, of the optimizers."""

    def load_optimizer_state(self, model: nn.Module, optimizers: Optimizers, state: Any) -> None:
        """Takes over what `optimizer_state` returned."""

    def state_dict(self) -> dict[str, Any]:
        """What else a resumed training needs, e.g. the scale of the loss."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""


class Single:
    """One process and one device: the first GPU, else the CPU.

    Args:
        train_args: Their `precision`.
    """

    skipped = False

    def __init__(self, train_args: TrainArgs):
        self.rank, self.world_size, self.device = process_group.rank(), process_group.world_size(), _device()
        self.precision = Precision(train_args.precision, self.device)
        self.of_features = self.precision.of_features
        self.computing = self.precision.computing
        self.backward = self.precision.backward

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on the device."""
        return self.precision.of_model(model.to(self.device))

    def plain(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def accumulating(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Nothing to do: gradients add up."""
        return nullcontext()

    def unscale(self, optimizers: Optimizers) -> None:
        """Where there is a scale: float16's."""
        self.precision.unscale(optimizers)

    def sync_buffers(self, model: nn.Module) -> None:
        """Nothing to do: there is one rank."""

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Nothing to do."""

    def step(self, optimizers: Optimizers, parameters: Sequence[nn.Parameter], max_grad_norm: float) -> Any:
        """Clips the gradients where asked to, lets the optimizers step, and clears the gradients."""
        norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm) if max_grad_norm else None
        for optimizer in optimizers:
            self.precision.step(optimizer)
        if self.precision.scaler:
            self.skipped = self.precision.update_scale()
        for parameter in parameters:  # what `zero_grad` does, less what it costs: a tenth of a small model's step
            parameter.grad = None
        return norm

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The values themselves: there is one rank."""
        return values

    def gather(self, value: Any) -> list[Any]:
        """The one value."""
        return [value]

    def model_state(self, model: nn.Module) -> dict[str, Any]:
        """Weights and buffers by name."""
        return dict(model.state_dict())

    def load_model_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Takes them over."""
        model.load_state_dict(state)

    def optimizer_state(self, model: nn.Module, optimizers: Optimizers) -> Any:
        """Of each optimizer."""
        return [optimizer.state_dict() for optimizer in optimizers]

    def load_optimizer_state(self, model: nn.Module, optimizers: Optimizers, state: Any) -> None:
        """Takes them over."""
        for optimizer, each in zip(optimizers, state, strict=True):
            optimizer.load_state_dict(each)

    def state_dict(self) -> dict[str, Any]:
        """The scale of the loss."""
        return self.precision.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes it over."""
        self.precision.load_state_dict(state)


class Ddp(Single):
    """Each rank holds the whole model and computes its share of each batch; gradients are averaged.

    Attributes:
        find_unused_parameters: Whether each step looks for parameters that it does not use. None, until it is found out
            with the first examples.
    """

    def __init__(self, train_args: TrainArgs):
        super().__init__(train_args)
        given = train_args.HasField("find_unused_parameters")
        self.find_unused_parameters: bool | None = train_args.find_unused_parameters if given else None
        self.sync_batch_norm = train_args.sync_batch_norm
        if self.sync_batch_norm and self.device.type == "cpu":
            got, expected = "True on a CPU", "GPUs: PyTorch has no SyncBatchNorm for CPUs"
            raise PreflightError([Problem("train_args.sync_batch_norm", got, expected)])

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model in `DistributedDataParallel`, all ranks with the weights of rank 0."""
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            self._with_sync_batch_norm(super().wrap(model)),
            device_ids=devices,
            find_unused_parameters=bool(self.find_unused_parameters),
        )

    def _with_sync_batch_norm(self, model: nn.Module) -> nn.Module:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model) if self.sync_batch_norm else model

    def sync_buffers(self, model: nn.Module) -> None:
        """A broadcast of each."""
        for buffer in self.plain(model).buffers():
            torch.distributed.broadcast(buffer, 0)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """An all-reduce of each."""
        for parameter in parameters:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.distributed.all_reduce(gradient)
            parameter.grad = gradient / self.world_size

    def plain(self, model: nn.Module) -> nn.Module:
        """The model inside."""
        return model.module

    def accumulating(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Gradients stay on this rank."""
        return model.no_sync()  # type: ignore[no-any-return]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """An all-reduce."""
        torch.distributed.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """An all-gather."""
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

    def model_state(self, model: nn.Module) -> dict[str, Any]:
        """Of the model inside."""
        return super().model_state(model.module)

    def load_model_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Into the model inside."""
        super().load_model_state(model.module, state)


class Fsdp(Ddp):
    """Ranks share the weights, gradients and optimizer state out (FSDP2), and gather a layer when they compute it."""

    def __init__(self, train_args: TrainArgs):
        super().__init__(train_args)
        if self.precision.scaler:
            remedy = "bf16-mixed needs no scaling, and runs on the same devices."
            problem = Problem(
                "train_args.precision", "'16-mixed' with the strategy 'fsdp'", "another precision", remedy
            )
            raise PreflightError([problem])

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with each block of its lists and sequences sharded, then the rest."""
        from torch.distributed.fsdp import fully_shard

        model = self._with_sync_batch_norm(Single.wrap(self, model))
        for tensor in (*model.parameters(), *model.buffers()):  # DDP does so by itself
            torch.distributed.broadcast(tensor.data, 0)
        for container in [each for each in model.modules() if isinstance(each, (nn.ModuleList, nn.Sequential))]:
            for block in container:
                if any(True for _ in block.parameters()):
                    fully_shard(block)
        return fully_shard(model)

    def plain(self, model: nn.Module) -> nn.Module:
        """The model, which was sharded in place."""
        return model

    def accumulating(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Gradients are reduced with each micro-batch: to keep them whole would cost the memory that FSDP saves."""
        return nullcontext()

    def step(self, optimizers: Optimizers, parameters: Sequence[nn.Parameter], max_grad_norm: float) -> Any:
        """As ever; the norm is that of all shards."""
        norm = super().step(optimizers, parameters, max_grad_norm)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def model_state(self, model: nn.Module) -> dict[str, Any]:
        """Whole tensors, on rank 0."""
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        return dict(get_model_state_dict(model, options=_whole()))

    def load_model_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """From rank 0's to the shards."""
        from torch.distributed.checkpoint.state_dict import set_model_state_dict

        set_model_state_dict(model, state if self.rank == 0 else {}, options=_whole(broadcast_from_rank0=True))

    def optimizer_state(self, model: nn.Module, optimizers: Optimizers) -> Any:
        """Whole tensors by the parameters' names, on rank 0."""
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

        return dict(get_optimizer_state_dict(model, tuple(optimizers), options=_whole()))

    def load_optimizer_state(self, model: nn.Module, optimizers: Optimizers, state: Any) -> None:
        """From rank 0's to the shards."""
        from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

        whole = state if self.rank == 0 else {}
        set_optimizer_state_dict(model, tuple(optimizers), whole, options=_whole(broadcast_from_rank0=True))


_SHARED: dict[str, type[Single]] = {"ddp": Ddp, "fsdp": Fsdp}
_NAMES = ("default", "single", *_SHARED)


def make(train_args: TrainArgs) -> TrainerBackend:
    """The backend of a strategy: of a process that is alone always `Single`, of one of several ranks by default `Ddp`.

    Raises:
        PreflightError: If PyTorch has none of that name, or it is "single" in a process that is one of several.
    """
    name, several = train_args.strategy or "default", process_group.world_size() > 1
    if name not in _NAMES:
        expected = f"one of {', '.join(_NAMES)}, which are those of TorchTrainer"
        raise PreflightError([Problem("train_args.strategy", repr(name), expected)])
    if name == "single" and several:
        got = f"'single' in a process that is rank {process_group.rank()} of {process_group.world_size()}"
        raise PreflightError([Problem("train_args.strategy", got, "ddp or fsdp, or one process")])
    return _SHARED.get(name, Ddp)(train_args) if several else Single(train_args)


def resolve(given: Any, train_args: TrainArgs) -> TrainerBackend:
    """The backend that a trainer was given, or that of `TrainArgs`.

    Args:
        given: A backend; a class or function that makes one of TrainArgs; or None.
        train_args: Of the run.

    Raises:
        PreflightError: If it is none, or was made for another rank.
    """
    if given is None:
        return make(train_args)
    backend = given(train_args) if _is_factory(given) else given
    missing = [name for name in _MEMBERS if not hasattr(backend, name)]
    if missing:
        got = f"a {type(backend).__name__} without {', '.join(missing)}"
        raise PreflightError([Problem("backend", got, "a TrainerBackend, e.g. a subclass of Single or Ddp")])
    own, ranks = (backend.rank, backend.world_size), (process_group.rank(), process_group.world_size())
    if own != ranks:
        got = f"one of rank {own[0]} of {own[1]}, in rank {ranks[0]} of {ranks[1]}"
        raise PreflightError([Problem("backend", got, "one that is made in its rank", _AS_CLASS)])
    return backend  # type: ignore[no-any-return]


def check_is_for_ranks(given: Any) -> None:
    """Whether each of several ranks can have a backend of its own.

    Raises:
        PreflightError: If it is an object that was made before there were ranks.
    """
    if given is not None and not _is_factory(given):
        got = f"a {type(given).__name__} that was made before the ranks are"
        raise PreflightError([Problem("backend", got, "a class, or a function of TrainArgs", _AS_CLASS)])


_MEMBERS = sorted(
    {*TrainerBackend.__annotations__, *(name for name in vars(TrainerBackend) if not name.startswith("_"))}
)
_AS_CLASS = "Give the class itself, backend=MyBackend, or a function: each rank then makes its own."


def _is_factory(given: Any) -> bool:
    return isinstance(given, type) or not hasattr(given, "wrap")


def _device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", process_group.local_rank() % torch.cuda.device_count())
    return torch.device("cpu")


def _whole(**options: Any) -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True, **options)
