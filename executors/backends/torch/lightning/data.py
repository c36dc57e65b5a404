"""Our batches as Lightning takes them: something to iterate over once an epoch, which knows its length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch.class_weights import weights_of_labels
from polytrainer.executors.backends.torch.data_position import ReplayedData
from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.data.torch_batches import TorchBatches
from polytrainer.executors.distributed import process_group
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer

_POSITIONS = 3  # that are remembered


class TrainLoader:
    """The batches of an epoch, each in parts: those that Lightning accumulates gradients over.

    A last batch that is too small to give each rank something in each part is left out: an empty part has no mean.

    Args:
        trainer: Whose `train_batches` they are; with the weights of classes, where it has some.
        state: How far the training has come; in the middle of an epoch, the loader begins there.
        parts: Of a batch.
        world_size: Number of ranks, which share each batch.
        between: Called before each part, when all that came before is finished.

    Attributes:
        shares: Of the parts that were yielded and not trained on yet, how much the mean loss of each counts in that of
            the batch: 1 where all parts, of all ranks, have the same number of examples.
    """

    def __init__(
        self, trainer: TorchTrainer, state: TrainState, *, parts: int, world_size: int, between: Callable[[], None]
    ):
        self._trainer, self._batches, self._state = trainer, trainer.train_batches, state
        self._parts, self._world_size, self._between = parts, world_size, between
        self._least = parts * world_size
        self._replayed = None if _has_position(self._batches) else ReplayedData(self._batches, self._checked_parts)
        self._position: Any = None
        self._positions: dict[int, Any] = {}  # of replayed data, by the number of batches that were taken
        self.shares: deque[float] = deque()

    def __len__(self) -> int:
        if not isinstance(self._batches, TorchBatches):
            return len(self._batches) * self._parts
        batch_size, steps = self._trainer.batch_size, self._batches.steps_per_epoch
        last = self._batches.num_examples - (steps - 1) * batch_size
        return (steps - (last < self._least)) * self._parts

    def __iter__(self) -> Iterator[Any]:
        self._between()
        self.shares.clear()
        for whole in self._remaining_batches():
            rows = batch_lib.num_rows(whole)
            if self.global_size(rows) < self._least:
                continue
            batch = self._weighted(whole)
            for number in range(self._parts):
                start, stop = (each * rows // self._parts for each in (number, number + 1))
                self.shares.append((stop - start) * self._least / self.global_size(rows))
                yield batch_lib.rows(batch, start, stop)
                self._between()

    def global_size(self, rows: int) -> int:
        """Examples, over all ranks, in the batch of which this rank has some."""
        size = getattr(self._batches, "global_size", None)
        return size if size is not None else rows * self._world_size

    def state_dict(self) -> dict[str, Any]:
        """The position in the data."""
        if self._replayed is None:
            return {"data": self._batches.state_dict()}
        # of data without a length Lightning has taken a batch more than it has trained on
        return {"data": self._positions.get(self._state.batches) or self._replayed.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned, for the next epoch that is iterated over."""
        self._position = state["data"]

    def _remaining_batches(self) -> Iterable[Any]:
        state, (position, self._position) = self._state, (self._position, None)
        if self._replayed is not None:
            if position is not None:
                self._replayed.load_state_dict(position)
            return self._replayed_batches(self._replayed)
        if position is not None and state.batches:
            self._batches.load_state_dict(position)
        elif isinstance(self._batches, TorchBatches):  # the epoch before may have been left early
            position = position or self._batches.state_dict()
            self._batches.load_state_dict({**position, "epoch": state.epoch, "offset": 0})
        return self._batches  # type: ignore[no-any-return]

    def _replayed_batches(self, replayed: ReplayedData) -> Iterator[Any]:
        self._positions = {}
        for number, batch in enumerate(
            replayed.remaining(self._state.epoch, self._state.batches), self._state.batches + 1
        ):
            self._positions[number] = replayed.state_dict()
            self._positions.pop(number - _POSITIONS, None)
            yield batch
        self._positions = {}

    def _weighted(self, batch: Any) -> Any:
        """A batch with the weights of its classes, where they have some."""
        trainer = self._trainer
        if trainer.class_weights is None:
            return batch
        features, label, weight = trainer.batch_parts(batch)
        return features, label, weights_of_labels(label, trainer._weight_by_class, weight)

    def _checked_parts(self, batch: Any) -> tuple[Any, Any]:
        features, label, _ = self._trainer.batch_parts(batch)
        return features, None if self._trainer.label_key is None else label


class EvalLoader:
    """A split from its first batch on, each time; without the batches of which this rank has no example.

    Args:
        from_start: Returns the batches, from the first one on.
        batches: Some such, for their number; they are not iterated over.

    Raises:
        PreflightError: If there are more ranks than examples.
    """

    def __init__(self, from_start: Callable[[], Any], batches: Any):
        self._from_start, self._batches = from_start, batches
        ranks = process_group.world_size()
        if ranks > 1 and isinstance(batches, TorchBatches) and batches.num_examples < ranks:
            got = f"a split of {batches.num_examples} examples for {ranks} ranks"
            raise PreflightError([Problem("eval_args.splits", got, "at least one example for each rank")])

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return (batch for batch in self._from_start() if batch_lib.num_rows(batch))


def by_split(logged: Mapping[str, Any], splits: Iterable[str], prefix: str) -> dict[str, float]:
    """Metrics by our names: `val_loss` is `loss`, and `val_loss/dataloader_idx_1` is `<second split>.loss`.

    Args:
        logged: By the names that Lightning has for them.
        splits: In the order of the loaders.
        prefix: Of the stage, "val" or "test".
    """
    names, found = list(splits), dict[str, float]()
    for key, value in logged.items():
        name, _, number = key.partition("/dataloader_idx_")
        if name.endswith("_epoch") and key.replace(name, name.removesuffix("_epoch")) in logged:
            continue  # what was logged by step and by epoch has both names
        if name.endswith("_step") and key.replace(name, name.removesuffix("_step")) in logged:
            continue
        name = name.removeprefix(f"{prefix}_").removeprefix(f"{prefix}/")
        found[f"{names[int(number)]}.{name}" if number else name] = float(value)
    return found


def _has_position(batches: Any) -> bool:
    return hasattr(batches, "load_state_dict") and hasattr(batches, "__len__")
