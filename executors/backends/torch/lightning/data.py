"""Our batches as Lightning takes them: something to iterate over once an epoch, which knows its length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.data.torch_batches import TorchBatches


class TrainLoader:
    """The batches of an epoch, each in equal parts: those that Lightning accumulates gradients over.

    A last batch that is too small to give each rank something in each part is left out: Lightning averages parts and
    ranks whatever their size, and an empty one has no mean.

    Args:
        batches: As `input_fn` made them.
        state: How far the training has come; in the middle of an epoch, the loader begins there.
        batch_size: Examples in a batch, over all ranks.
        parts: Of a batch.
        world_size: Number of ranks, which share each batch.
        between: Called before each part, when all that came before is finished.
    """

    def __init__(
        self,
        batches: Any,
        state: TrainState,
        *,
        batch_size: int,
        parts: int,
        world_size: int,
        between: Callable[[], None],
    ):
        self._batches, self._state, self._between = batches, state, between
        self._batch_size, self._parts, self._world_size = batch_size, parts, world_size
        self._least = parts * world_size
        self._position: dict[str, Any] | None = None

    def __len__(self) -> int:
        if not isinstance(self._batches, TorchBatches):
            return len(self._batches) * self._parts
        steps = self._batches.steps_per_epoch
        last = self._batches.num_examples - (steps - 1) * self._batch_size
        return (steps - (last < self._least)) * self._parts

    def __iter__(self) -> Iterator[Any]:
        self._between()
        for batch in self._rest_of_epoch():
            rows = batch_lib.num_rows(batch)
            if self.global_size(rows) < self._least:
                continue
            for number in range(self._parts):
                yield batch_lib.rows(batch, number * rows // self._parts, (number + 1) * rows // self._parts)
                self._between()

    def global_size(self, rows: int) -> int:
        """Examples, over all ranks, in the batch of which this rank has some."""
        size = getattr(self._batches, "global_size", None)
        return size if size is not None else rows * self._world_size

    def state_dict(self) -> dict[str, Any]:
        """The position in the data, where they have one."""
        return {"data": self._batches.state_dict() if _has_position(self._batches) else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned, for the next epoch that is iterated over."""
        self._position = state["data"]

    def _rest_of_epoch(self) -> Iterable[Any]:
        state, (position, self._position) = self._state, (self._position, None)
        if not _has_position(self._batches):
            return islice(self._batches, state.batches, None)
        if position is not None and state.batches:
            self._batches.load_state_dict(position)
        elif isinstance(self._batches, TorchBatches):  # the epoch before may have been left early
            position = position or self._batches.state_dict()
            self._batches.load_state_dict({**position, "epoch": state.epoch, "offset": 0})
        return self._batches  # type: ignore[no-any-return]


class EvalLoader:
    """A split from its first batch on, each time; without the batches of which this rank has no example.

    Args:
        batches: As `input_fn` made them.
    """

    def __init__(self, batches: Any):
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._batches, TorchBatches):
            self._batches.load_state_dict({**self._batches.state_dict(), "epoch": 0, "offset": 0})
        return (batch for batch in self._batches if batch_lib.num_rows(batch))


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
