"""What Lightning tells a training of ours while it trains, and how its loops go on where a run that died was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch.lightning.checkpoints import OURS

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.lightning.run import LightningRun


class Events:
    """Methods of a `lightning.Callback`, the first that is called: what is ours happens before what is the user's.

    Lightning's own class is mixed in where it is needed, so that this module does not import it.

    Args:
        run: Which listens.
    """

    def __init__(self, run: LightningRun):
        self._run = run
        self._before_validation: dict[str, Any] = {}

    # ---- a training

    def on_train_start(self, lightning: Any, module: Any) -> None:
        """Before the first step of this process, after a checkpoint was restored."""
        self._run.begin()
        if self._run.resumed_from is not None:
            _go_on(lightning, in_epoch=self._run.state.batches > 0)

    def on_train_epoch_start(self, lightning: Any, module: Any) -> None:
        """Before the first batch of an epoch; not called where a training goes on in the middle of one."""
        self._run.state.epoch, self._run.state.batches = lightning.current_epoch, 0
        self._run.between_steps()

    def on_train_batch_start(self, lightning: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Before a step."""
        # A restart is over once the first batch is there. Lightning itself takes the fit loop for restarting up to the
        # end of the epoch, and would leave out a step of the schedulers that watch a metric.
        lightning.fit_loop.on_iteration_done()
        self._count(lightning, batch)

    def on_train_batch_end(self, lightning: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a step, or, where gradients are accumulated, after a part of one."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        self._run.after_part(loss, batch_lib.num_rows(batch), ends_step=(batch_idx + 1) % self._run.parts == 0)

    def on_train_end(self, lightning: Any, module: Any) -> None:
        """After the last step."""
        self._run.end()

    def on_exception(self, lightning: Any, module: Any, exception: BaseException) -> None:
        """Where training ends by an error."""
        self._run.stop_listening()

    # ---- an evaluation

    def on_validation_start(self, lightning: Any, module: Any) -> None:
        """Before an evaluation."""
        self._before_validation = dict(lightning.callback_metrics)

    def on_validation_end(self, lightning: Any, module: Any) -> None:
        """After an evaluation: what it has logged is what was not there before."""
        if lightning.state.fn != "fit" or lightning.sanity_checking:
            return
        before, now = self._before_validation, lightning.callback_metrics
        self._run.evaluated({name: value for name, value in now.items() if value is not before.get(name)})

    def on_validation_batch_start(self, lightning: Any, module: Any, batch: Any, *numbers: int) -> None:
        """Before a batch of an evaluation."""
        self._count(lightning, batch)

    def on_test_batch_start(self, lightning: Any, module: Any, batch: Any, *numbers: int) -> None:
        """Before a batch of a test."""
        self._count(lightning, batch)

    # ---- a checkpoint

    def on_save_checkpoint(self, lightning: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Adds what is ours to what Lightning saves."""
        checkpoint[OURS] = self._run.state_dict()

    def on_load_checkpoint(self, lightning: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Takes it over."""
        self._run.load_state_dict(checkpoint[OURS])
        if self._run.trainer.fn_args.train_args.reset_optimizer:
            checkpoint["optimizer_states"], checkpoint["lr_schedulers"] = [], []

    @staticmethod
    def _count(lightning: Any, batch: Any) -> None:
        """Says how many examples a mean over a batch is of: Lightning would take the length of any tensor in it."""
        lightning._results.batch_size = batch_lib.num_rows(batch)


def _go_on(lightning: Any, *, in_epoch: bool) -> None:
    """Lets Lightning's loops go on from a checkpoint that was written between two steps.

    Lightning expects one that a callback wrote in the middle of a step, and works out from its counters what of the
    step is still to be done: an evaluation it would do again, or leave out, and an epoch that is over it would begin
    again without batches. Here everything is done, so the loops are told so.
    """
    fit, epoch = lightning.fit_loop, lightning.fit_loop.epoch_loop
    if in_epoch:
        epoch.reset_restart_stage()
        epoch._batches_that_stepped -= 1  # which the restart of such a checkpoint counts once more
        return
    for loop in (fit, epoch, epoch.val_loop):
        loop.on_iteration_done()  # it does not restart: it begins with the next epoch
    for counts in (fit.epoch_progress.total, fit.epoch_progress.current):
        counts.reset_on_restart()
