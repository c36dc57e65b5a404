"""Where in Lightning's loops a training is, and how they go on from a checkpoint of ours."""

from __future__ import annotations

import signal
import sys
import threading
from types import ModuleType
from typing import Any

# At which point of a training a checkpoint was written
BETWEEN_STEPS = "between steps"
IN_EVALUATION = "in an evaluation"  # whose step, and all before it, is done, and of which nothing is
TRAINED = "trained"  # the weights are those that Lightning leaves behind


def is_last_step(lightning: Any) -> bool:
    """Whether training ends after the step that it is at, whatever an evaluation will say of it."""
    fit = lightning.fit_loop
    if lightning.max_steps != -1 and lightning.global_step >= lightning.max_steps:
        return True
    is_epoch_end = fit.epoch_loop._num_ready_batches_reached()
    epochs = fit.epoch_progress.current.processed + is_epoch_end
    if lightning.max_epochs not in (None, -1) and is_epoch_end and epochs >= lightning.max_epochs:
        return True
    return bool(lightning.should_stop and fit._can_stop_early)


def statistics_epoch(lightning: Any, package: ModuleType) -> int | None:
    """The epoch after the last, in which `StochasticWeightAveraging` takes BatchNorm's statistics and no step."""
    averaging = [each for each in lightning.callbacks if isinstance(each, package.callbacks.StochasticWeightAveraging)]
    epochs = [each.swa_end + 1 for each in averaging if each._model_contains_batch_norm and each._max_epochs != -1]
    return int(epochs[0]) if epochs else None


def open_for_evaluation(lightning: Any) -> None:
    """Lets a fit loop begin, though no step is left, for the evaluation that its checkpoint was written in."""
    kind = type(lightning.fit_loop)
    done = property(lambda loop: not loop.epoch_loop.restarting and kind.done.fget(loop))
    lightning.fit_loop.__class__ = type(kind.__name__, (kind,), {"done": done})


def go_on(lightning: Any, phase: str, *, in_epoch: bool) -> None:
    """Lets Lightning's loops go on from a checkpoint, at the start of training.

    Lightning expects one that a callback wrote in the middle of a step, and works out from its counters what of the
    step is still to be done: an evaluation it would do again, or leave out, and an epoch that is over it would begin
    again without batches. Ours are written where everything of a step is done, or all but its evaluation, so the loops
    are told so.
    """
    fit, epoch = lightning.fit_loop, lightning.fit_loop.epoch_loop
    if phase == IN_EVALUATION:
        epoch.val_loop.on_iteration_done()  # from its first batch on
        stages = sys.modules[type(epoch.val_loop).__module__].RestartStage
        epoch.val_loop._restart_stage = stages.RESTARTED_MID_EVALUATION
        return
    if in_epoch:
        epoch.reset_restart_stage()
        epoch._batches_that_stepped -= 1  # which the restart of such a checkpoint counts once more
        return
    for loop in (fit, epoch, epoch.val_loop):
        loop.on_iteration_done()  # it does not restart: it begins with the next epoch
    for counts in (fit.epoch_progress.total, fit.epoch_progress.current):
        counts.reset_on_restart()


def leave_sigterm_alone(lightning: Any) -> None:
    """Keeps Lightning from taking SIGTERM: its handler saves nothing and, of several ranks, waits for the others."""
    connector = lightning._signal_connector
    register = connector.register_signal_handlers

    def register_others() -> None:
        handler = signal.getsignal(signal.SIGTERM)
        register()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)

    connector.register_signal_handlers = register_others
