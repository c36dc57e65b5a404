"""What Lightning tells a training of ours while it trains."""

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

    def on_fit_start(self, lightning: Any, module: Any) -> None:
        """After the optimizers were made, before a checkpoint's state is given to them."""
        self._run.check_kinds()

    def on_sanity_check_end(self, lightning: Any, module: Any) -> None:
        """After Lightning has tried the validation, before the first step."""
        results = lightning._results  # Lightning makes no metrics of them yet
        names = [name for each in results.values() for name in results._forked_name(each, on_step=False)]
        if names:  # a module may leave that alone, and log later
            self._run.check_names(dict.fromkeys(names, 0.0))

    def on_train_start(self, lightning: Any, module: Any) -> None:
        """Before the first step of this process, after a checkpoint was restored."""
        self._run.begin()

    def on_train_epoch_start(self, lightning: Any, module: Any) -> None:
        """Before the first batch of an epoch; not called where a training goes on in the middle of one."""
        self._run.state.epoch, self._run.state.batches = lightning.current_epoch, 0
        self._run.between_steps()

    def on_train_batch_start(self, lightning: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Before a step."""
        # A restart is over once the first batch is there. Lightning itself takes the fit loop for restarting up to the
        # end of the epoch, and would leave out a step of the schedulers that watch a metric.
        lightning.fit_loop.on_iteration_done()
        self._run.before_part(batch)
        self._count(lightning, batch)

    def on_before_backward(self, lightning: Any, module: Any, loss: Any) -> None:
        """Before the gradients of a part."""
        self._run.before_backward(loss)

    def on_train_batch_end(self, lightning: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a step, or, where gradients are accumulated, after a part of one."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        ends_batch = (batch_idx + 1) % self._run.parts == 0
        self._run.after_part(loss, batch_lib.num_rows(batch), ends_batch=ends_batch)

    def on_train_end(self, lightning: Any, module: Any) -> None:
        """After the last step."""
        self._run.end()

    # ---- an evaluation

    def on_validation_start(self, lightning: Any, module: Any) -> None:
        """Before an evaluation."""
        self._run.before_eval_batches()
        if not self._is_of_training(lightning):
            return
        lightning.fit_loop.on_iteration_done()  # of a training that is taken up in an evaluation
        self._before_validation = dict(lightning.callback_metrics)
        self._run.before_evaluation(self._before_validation)

    def on_validation_epoch_end(self, lightning: Any, module: Any) -> None:
        """After the last batch of an evaluation, while the weights are still those that were evaluated."""
        self._run.after_eval_batches()
        if self._is_of_training(lightning):
            self._run.keep_evaluated_weights()

    def on_validation_end(self, lightning: Any, module: Any) -> None:
        """After an evaluation: what it has logged is what was not there before."""
        self._run.after_eval_batches()
        if not self._is_of_training(lightning):
            return
        before, now = self._before_validation, lightning.callback_metrics
        self._run.evaluated({name: value for name, value in now.items() if value is not before.get(name)})

    def on_validation_batch_start(
        self, lightning: Any, module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before a batch of an evaluation."""
        self._run.before_eval_batch(batch, is_first=batch_idx == dataloader_idx == 0)
        self._count(lightning, batch)

    def on_test_start(self, lightning: Any, module: Any) -> None:
        """Before a test."""
        self._run.before_eval_batches()

    def on_test_batch_start(
        self, lightning: Any, module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before a batch of a test."""
        self._run.before_eval_batch(batch, is_first=batch_idx == dataloader_idx == 0)
        self._count(lightning, batch)

    def on_test_epoch_end(self, lightning: Any, module: Any) -> None:
        """After the last batch of a test."""
        self._run.after_eval_batches()

    def on_test_end(self, lightning: Any, module: Any) -> None:
        """After a test."""
        self._run.after_eval_batches()

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
    def _is_of_training(lightning: Any) -> bool:
        return bool(lightning.state.fn == "fit" and not lightning.sanity_checking)

    @staticmethod
    def _count(lightning: Any, batch: Any) -> None:
        """Says how many examples a mean over a batch is of: Lightning would take the length of any tensor in it."""
        lightning._results.batch_size = batch_lib.num_rows(batch)
