"""What a training is trained on, epoch by epoch, from any position on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import rng
from polytrainer.executors.backends.torch.data_position import ReplayedData
from polytrainer.executors.data.torch_batches import TorchBatches

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.hooks import TorchHooks


class TrainData:
    """The batches of `input_fn`, and the position of the training in them.

    Args:
        trainer: With `train_batches`.
        world_size: Number of ranks.

    Attributes:
        batches: What `input_fn` returned.
        has_position: Whether they know their position themselves (`state_dict` and `load_state_dict`); others are
            replayed.
    """

    def __init__(self, trainer: TorchHooks, world_size: int):
        self._trainer, self._world_size = trainer, world_size
        self._max_batches = trainer.fn_args.train_args.max_steps_per_epoch
        self.batches = trainer.train_batches
        self.has_position = batch_lib.has_position(self.batches)
        self._replayed = None if self.has_position else ReplayedData(self.batches, self._features_and_label)
        self._next_epoch: Iterator[Any] | None = None
        self._is_resumed = False

    def remaining(self, epoch: int, taken: int) -> Iterable[Any]:
        """The batches of an epoch that were not taken yet; `TrainArgs.max_steps_per_epoch` is the most of an epoch."""
        if self._replayed is not None:
            batches = self._replayed.remaining(epoch, taken)
        else:
            batches = self._next_epoch or self._resumed_epoch()
            self._next_epoch = None
        return islice(batches, self._max_batches - taken) if self._max_batches else batches

    def begin_epoch(self, epoch: int, *, is_last: bool) -> None:
        """Goes to the beginning of an epoch, wherever in the one before the training left the data.

        Args:
            epoch: Its number, from 0.
            is_last: Whether the training is over, and it will not be iterated over.
        """
        if isinstance(self.batches, TorchBatches):
            self.batches.load_state_dict({**self.batches.state_dict(), "epoch": epoch, "offset": 0})
        elif self._replayed is None and not is_last:
            self._next_epoch = iter(self.batches)  # now, so that the position that is saved is one in the new epoch

    def num_examples_of(self, batch: Any) -> int:
        """Examples in a batch, over all ranks."""
        size = getattr(self.batches, "global_size", None)
        return size if size is not None else batch_lib.num_rows(batch) * self._world_size

    def first(self) -> Any:
        """The batch that training goes on with, without taking it."""
        return batch_lib.first(self.batches)

    def state_dict(self) -> Any:
        """The position."""
        return (self._replayed or self.batches).state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Takes over what `state_dict` returned."""
        self._is_resumed = True
        (self._replayed or self.batches).load_state_dict(state)

    def _resumed_epoch(self) -> Iterator[Any]:
        """The batches from the position on that the data are at."""
        random_numbers = rng.state_dict()
        batches: Iterator[Any] = iter(self.batches)
        if self._is_resumed:  # what is drawn at the beginning of an epoch was drawn before they were saved
            rng.load_state_dict(random_numbers)
        return batches

    def _features_and_label(self, batch: Any) -> tuple[Any, Any]:
        features, label, _ = self._trainer.batch_parts(batch)
        return features, None if self._trainer.label_key is None else label
