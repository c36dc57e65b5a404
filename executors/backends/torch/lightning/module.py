"""What a LightningModule is, to us who import neither of the packages it may come from before it is there."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytrainer.executors.backends.torch.lightning.errors import misconfiguration
from polytrainer.executors.backends.torch.modes import evaluating
from polytrainer.executors.distributed import process_group
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.monitors import ModelSelection
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer

_PACKAGES = {"lightning": "lightning.pytorch", "pytorch_lightning": "pytorch_lightning"}
_OLDEST = (2, 6)  # from which `fit` can be told to load nothing but data
_STEPS = ("training_step", "validation_step", "test_step")
# what is a plain model's, and where a LightningModule has it
_INSTEAD = {
    "loss_fn": "training_step",
    "train_step": "training_step",
    "eval_step": "validation_step",
    "metrics_fn": "validation_step, by self.log",
    "optimizer_fn": "configure_optimizers",
    "scheduler_fn": "configure_optimizers",
    "callbacks": "trainer_config={'callbacks': […]}",
}
_OPTIONS_INSTEAD = {
    "loss": "training_step",
    "learning_rate": "configure_optimizers",
    "metrics": "validation_step, by self.log",
    "backend": "trainer_config={'strategy': …}",
    "checkpointer": "trainer_config={'callbacks': […]}, for checkpoints beside those that it is resumed from",
}


def is_one(model: Any) -> bool:
    """Whether a model is a LightningModule."""
    return _package_name(model) is not None


def is_complete(model: Any) -> bool:
    """Whether a model can be called already, and is not to be made yet in a hook of Lightning's."""
    if not is_one(model):
        return True
    empty = package_of(model).LightningModule
    return all(getattr(type(model), hook) is getattr(empty, hook) for hook in ("setup", "configure_model"))


def package_of(model: Any) -> ModuleType:
    """The package that it is of.

    Raises:
        PreflightError: If it is not installed, or too old.
    """
    name = _PACKAGES[_package_name(model) or "lightning"]
    expected, remedy = f"version {_OLDEST[0]}.{_OLDEST[1]} or newer", "pip install 'polytrainer[lightning]'"
    try:
        package = importlib.import_module(name)
    except ImportError as error:
        raise PreflightError([Problem(name, f"what cannot be imported ({error})", expected, remedy)]) from error
    version = str(package.__version__)
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise PreflightError([Problem(name, f"version {version}", expected, remedy)])
    return package


def steps_of(model: Any, package: ModuleType) -> set[str]:
    """Which of its steps it has written."""
    empty = package.LightningModule
    return {name for name in _STEPS if getattr(type(model), name, None) is not getattr(empty, name)}


def check_monitors(selection: ModelSelection, steps: Collection[str], splits: Collection[str]) -> None:
    """Looks whether there is anything to monitor.

    Raises:
        PreflightError: If not.
    """
    if (selection.stopping or selection.selecting) and not (splits and "validation_step" in steps):
        got = "a LightningModule without it" if splits else "no split to evaluate on"
        remedy = "early_stopping and keep_checkpoints choose by what it logs."
        raise PreflightError([Problem("validation_step", got, "one that logs metrics", remedy)])


def check_logged(selection: ModelSelection, names: Collection[str]) -> None:
    """Looks whether what is monitored is among what an evaluation has logged.

    Raises:
        PreflightError: If it is not.
    """
    if names:
        problems = selection.problems(names, evaluates=True)
    elif selection.stopping or selection.selecting:
        got = "no metric, while early_stopping or keep_checkpoints choose by one"
        problems = [Problem("validation_step", got, "one that logs it: self.log('val_loss', …)")]
    else:
        problems = []
    if problems:
        raise PreflightError(problems)


def check(trainer: TorchTrainer, model: Any) -> None:
    """Looks whether all that a trainer was told is of use for its model.

    Raises:
        PreflightError: If some of it is for a LightningModule and it is none, or the other way round.
    """
    if not is_one(model):
        if trainer.trainer_config:
            got = f"arguments of lightning.Trainer for a {type(model).__name__}"
            raise PreflightError([Problem("trainer_config", got, "a LightningModule from model_fn")])
        return
    from polytrainer.executors.backends.torch.trainer import TorchTrainer

    kind = type(trainer)
    given = {name: place for name, place in _INSTEAD.items() if getattr(kind, name) is not getattr(TorchTrainer, name)}
    given.update({name: place for name, place in _OPTIONS_INSTEAD.items() if getattr(trainer, name)})
    if given:
        got = "what Lightning does itself"
        raise PreflightError([Problem(name, got, f"that of the LightningModule: {given[name]}") for name in given])


def look_at(trainer: TorchTrainer, model: nn.Module) -> None:
    """Calls it once, so that what does not fit shows now; makes the parameters of lazy modules.

    Raises:
        PreflightError: If its forward does not take the features.
    """
    if not is_complete(model):
        return
    try:
        with torch.no_grad(), evaluating(model):
            trainer.predict_fn(model, trainer.features_and_label(trainer.sample)[0])
    except ValueError as error:
        remedy = "predict_fn may be overridden, for a forward that takes something else."
        raise PreflightError([Problem("the model", str(error), "one that fits the data", remedy)]) from error


def trainer_of(package: ModuleType, config: Mapping[str, Any], events: Any) -> Any:
    """The `lightning.Trainer`, which calls ours before the user's callbacks.

    Raises:
        PreflightError: If it takes the arguments for wrong, or would train with other ranks than there are.
    """
    from lightning_utilities.core.rank_zero import rank_zero_only

    # Lightning takes it from RANK on import, which another job may have left: its loggers then write nothing
    rank_zero_only.rank = process_group.rank()  # type: ignore[attr-defined]
    callbacks = config.get("callbacks") or []
    callbacks = [events, *(callbacks if isinstance(callbacks, (list, tuple)) else [callbacks])]
    try:
        lightning = package.Trainer(**{**config, "callbacks": callbacks})
    except (TypeError, ValueError, RuntimeError, misconfiguration(package)) as error:
        raise PreflightError([Problem("trainer_config", str(error), "what lightning.Trainer takes")]) from error
    ranks = process_group.world_size()
    if (lightning.world_size, lightning.global_rank) != (ranks, process_group.rank()):
        got = f"devices for {lightning.world_size} ranks, of which this is {lightning.global_rank}"
        remedy = "TrainArgs(strategy='ddp', num_processes=…) starts ranks, each with its share of the data."
        expected = f"{ranks}, of which this is {process_group.rank()}"
        raise PreflightError([Problem("trainer_config['devices']", got, expected, remedy)])
    return lightning


def _package_name(model: Any) -> str | None:
    """By the classes it inherits from: to look at them imports nothing."""
    names = (kind.__module__.partition(".")[0] for kind in type(model).__mro__ if kind.__name__ == "LightningModule")
    return next((name for name in names if name in _PACKAGES), None)
