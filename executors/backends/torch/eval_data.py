"""What a training is evaluated on: each split from its first example on, however the evaluation before ended."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from polytrainer.executors.backends.torch.batch import has_position

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.hooks import TorchHooks


class EvalData:
    """The splits of the evaluations while training, and of the one after it.

    Args:
        trainer: With `eval_batches`, which were not iterated over yet.
    """

    def __init__(self, trainer: TorchHooks):
        self._trainer = trainer
        self._starts = {
            name: copy.deepcopy(batches.state_dict())
            for name, batches in trainer.eval_batches.items()
            if has_position(batches)
        }

    @property
    def names(self) -> list[str]:
        """Of the splits."""
        return list(self._trainer.eval_batches)

    def from_start(self) -> Mapping[str, Any]:
        """Batches by name of the split, to be iterated over once.

        What has a position is set back to its first one. What can be iterated over only once, as a generator, or has a
        `state_dict` that cannot be loaded, is made anew by `input_fn`.
        """
        return {name: self.split_from_start(name) for name in self._trainer.eval_batches}

    def split_from_start(self, name: str) -> Any:
        """The batches of one of them."""
        batches = self._trainer.eval_batches[name]
        if name in self._starts:
            batches.load_state_dict(copy.deepcopy(self._starts[name]))
            return batches
        if isinstance(batches, Iterator) or hasattr(batches, "state_dict"):
            trainer = self._trainer
            return trainer.input_fn(trainer.files(trainer.fn_args.eval_split_files[name]), training=False)
        return batches
