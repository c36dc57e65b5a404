"""What trainers tell of a split, batch by batch, joined with the examples as they lie on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data import examples
from polytrainer.executors.data.order import share
from polytrainer.executors.errors import TrainingError
from polytrainer.executors.test_results import keys
from polytrainer.executors.test_results.records import record
from polytrainer.executors.test_results.shards import Ranks, shard
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from polytrainer.executors.backends.base import BaseTrainer


class Results:
    """Takes what a model says of the batches of a split, in their order.

    Attributes:
        has_stored: Whether examples are joined with their records on disk; else with the features of the batches.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        files: Sequence[str] | None,
        ranks: Ranks,
        kept: tuple[str, str] | None = None,
    ):
        """Begins a split.

        Args:
            write: Takes a record.
            files: The split's, which the batches were read from in their order; None if that is not known.
            ranks: Those that share out each batch, as `TorchBatches` does.
            kept: Name of the label, and the name under which it is kept as it was read.
        """
        self.has_stored = files is not None
        self._write, self._ranks, self._kept = write, ranks, kept
        self._files = list(files or ())
        self._stored = examples.all_examples(self._files)

    def add(
        self,
        told: Mapping[str, Any],
        features: Mapping[str, Any] | None = None,
        global_size: int | None = None,
        count: int | None = None,
    ) -> None:
        """Takes a batch, or this rank's share of it.

        Args:
            told: What is added to the examples, by name, each with a row for each example; rows may differ in length.
                Empty, where this rank has no example of the batch.
            features: Likewise, those of the batch; needed without `has_stored`.
            global_size: Examples in the batch, over all ranks; None for one rank.
            count: Examples in this rank's share; None: as many as there are rows in `told`.

        Raises:
            TrainingError: If there are more examples than the files have, or one has a feature of a name added to it.
        """
        if count is None:
            count = len(next(iter(told.values()))) if told else 0
        if self.has_stored:
            start, stop = share(count if global_size is None else global_size, self._ranks.rank, self._ranks.size)
            found: list[Any] = list(islice(self._stored, start, stop))
            rest = 0 if global_size is None else global_size - stop
            skipped = sum(1 for _ in islice(self._stored, rest))
            if len(found) != count or skipped != rest:
                raise self._misfit("other examples than input_fn gave")
        else:
            found = [{name: rows[row] for name, rows in (features or {}).items()} for row in range(count)]
        for row, example in enumerate(found):
            self._write(record(example, {name: rows[row] for name, rows in told.items()}, kept=self._kept))

    def end(self) -> None:
        """After the last batch.

        Raises:
            TrainingError: If examples of the files are left.
        """
        if self.has_stored and next(self._stored, None) is not None:
            raise self._misfit("more examples than input_fn gave")

    def _misfit(self, got: str) -> TrainingError:
        remedy = "Did a file change while the training ran?"
        return TrainingError(Problem("the test results", f"{got} in {self._files}", "the same ones", remedy))


@contextmanager
def opened(
    trainer: BaseTrainer, folder: str, split: str, files: Sequence[str], ranks: Ranks, *, in_file_order: bool
) -> Iterator[Results]:
    """The test results of a split, to be told; they are published when the context ends well.

    Args:
        trainer: Whose label it is.
        folder: Of the test results.
        split: Name of the split.
        files: Of the split.
        ranks: Those that write.
        in_file_order: Whether its batches are the files' examples in their order, as the default `input_fn` has them.
    """
    label = trainer.label_key
    kept = (label, keys.stored_label(label)) if label is not None and learns_another_label(trainer) else None
    with shard(folder, split, ranks) as write:
        results = Results(write, files if in_file_order else None, ranks, kept)
        yield results
        results.end()


def learns_another_label(trainer: BaseTrainer) -> bool:
    """Whether the label that is learned is made of the one on disk: by Transform, or by an encoder of words."""
    is_encoded = trainer.label_key in getattr(trainer, "encoders", {}) or trainer.label_words is not None
    return trainer._is_raw or is_encoded
