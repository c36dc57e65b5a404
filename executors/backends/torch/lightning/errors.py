"""Lightning's and PyTorch's errors of a training whose text does not say what to do, as errors of ours."""

from __future__ import annotations

import importlib
import traceback
from types import ModuleType
from typing import Any

from polytrainer.executors.backends.torch import step_errors
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.proto.problems import Problem

_WITH_WEIGHT = 3  # parts of a batch
_STEPS = ("training_step", "validation_step", "test_step")
_OPTIMIZERS = (
    "an optimizer; a list of them; ([optimizers], [schedulers]); or {'optimizer': …, 'lr_scheduler': …}, a "
    "ReduceLROnPlateau with the 'monitor' that it follows"
)
_OPTIMIZER_CODE = "pytorch/core/optimizer.py"  # of Lightning, which reads what configure_optimizers returned
_LOADING = "Error(s) in loading state_dict"
_GROUPS = "loaded state dict"


def misconfiguration(package: ModuleType) -> type[Exception]:
    """What Lightning raises where it is told something that it cannot do."""
    return importlib.import_module(f"{package.__name__}.utilities.exceptions").MisconfigurationException  # type: ignore[no-any-return]


def explained(
    error: Exception, package: ModuleType, batch: Any, rows: int, resumed_from: int | None
) -> Exception | None:
    """An error of ours for one of a fit; None for any other, which is the user's own.

    Args:
        error: What was raised.
        package: Lightning's.
        batch: The batch of the step that it was raised in; None before the first.
        rows: Examples of a batch, over all ranks.
        resumed_from: The step of the checkpoint that the training goes on from; None if it began at 0.
    """
    text = " ".join(str(error).split())
    if isinstance(error, misconfiguration(package)):
        return _misconfigured(text)
    if traceback.extract_tb(error.__traceback__)[-1].filename.replace("\\", "/").endswith(_OPTIMIZER_CODE):
        return _misconfigured(f"what Lightning cannot read as optimizers ({type(error).__name__}: {text})")
    if isinstance(error, ValueError) and "to unpack" in text and (step := _step_of(error)):
        return _not_unpacked(step, text, batch)
    if resumed_from is not None and (text.startswith(_LOADING) or _GROUPS in text):
        got = f"a checkpoint of another model or optimizer, of step {resumed_from}: {text}"
        remedy = "Was the code edited since? Undo that, or start afresh with resume=False, in Trainer(…) or fit(…)."
        return PreflightError([Problem("the model", got, "the same weights by name and shape", remedy)])
    return step_errors.explained(error, rows)


def _misconfigured(text: str) -> PreflightError | TrainingError:
    lowered = text.lower()
    if "plateau" in lowered and "available metrics" in lowered:
        return TrainingError(Problem("configure_optimizers", text, "a monitor that is logged when it is looked at"))
    is_missing = "method defined" in lowered or "is not implemented" in lowered
    if not is_missing and ("optimizer" in lowered or "scheduler" in lowered):
        return PreflightError([Problem("configure_optimizers", text, _OPTIMIZERS)])
    return PreflightError([Problem("the LightningModule", text, "what lightning.Trainer can train")])


def _not_unpacked(step: str, text: str, batch: Any) -> TrainingError:
    parts = len(batch) if isinstance(batch, (tuple, list)) else None
    got = f"a batch of {parts} parts ({text})" if parts else f"a batch that is a {type(batch).__name__} ({text})"
    expected = {2: "features, label = batch", 3: "features, label, weight = batch"}.get(
        parts or 0, "the batch as it is"
    )
    remedy = (
        "With weight_key each batch is (features, label, weight); with class_weights those of training are."
        if parts == _WITH_WEIGHT
        else "A batch is what input_fn yields: (features, label) by default, without a label_key the features alone."
    )
    return TrainingError(Problem(step, got, expected, remedy))


def _step_of(error: Exception) -> str | None:
    """The step of the module's in whose own lines an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.name for frame in frames[-2:] if frame.name in _STEPS), None)
