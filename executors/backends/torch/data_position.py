"""Where in an epoch a training is, for data that cannot say so themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from absl import logging

from polytrainer.executors.backends.torch import rng
from polytrainer.executors.backends.torch.batch_checksum import checksum, rows_of
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

# labels tell the order of the examples if no more than one of so many orders of them has the same sequence of labels
_ORDERS = 1e6


class ReplayedData:
    """The batches of an iterable without a position, e.g. a `DataLoader(shuffle=True)`, resumed by replaying its epoch.

    An epoch's order follows from the random numbers at its beginning: of Python, NumPy and PyTorch, and of the
    generators that a DataLoader and its sampler were given. They are saved with a checkpoint; a resumed training begins
    the epoch with them once more and passes over what was seen. Checksums of labels and features tell whether it really
    was the same: what shuffles by random numbers of its own is refused instead of being passed over wrongly.

    Features alone may differ, as random augmentation in the dataset draws other numbers while it is passed over: where
    the labels tell the order, they do.

    Args:
        batches: What `input_fn` returned; can be iterated over once an epoch.
        parts_of: Returns features and label of a batch; the label is None where it has none.
    """

    def __init__(self, batches: Iterable[Any], parts_of: Callable[[Any], tuple[Any, Any]]):
        self._batches, self._parts_of = batches, parts_of
        self._epoch_start: dict[str, Any] | None = None
        self._labels = self._features = 0  # checksums of what was seen of the epoch

    def remaining(self, epoch: int, taken: int) -> Iterator[Any]:
        """The batches of an epoch that are left.

        Args:
            epoch: Its number, from 0; a sampler with `set_epoch` is told it.
            taken: Batches of it that were taken before.

        Raises:
            TrainingError: If those are not the same ones this time.
        """
        for owner in self._owners():
            if hasattr(owner, "set_epoch"):
                owner.set_epoch(epoch)
        if not taken:
            self._epoch_start, self._labels, self._features = self._random_state(), 0, 0
            yield from self._counted(iter(self._batches))
            return
        now = rng.state_dict()
        if self._epoch_start is not None:
            self._set_random_state(self._epoch_start)
        batches = iter(self._batches)
        self._pass_over(batches, epoch, taken)
        rng.load_state_dict(now)
        yield from self._counted(batches)

    def state_dict(self) -> dict[str, Any]:
        """How the epoch began, what was seen of it, and where the data's own generators are."""
        return {
            "epoch_start": self._epoch_start,
            "labels": self._labels,
            "features": self._features,
            "generators": [each.get_state() for each in self._generators()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self._epoch_start = state.get("epoch_start")
        self._labels, self._features = state.get("labels", 0), state.get("features", 0)
        for generator, saved in zip(self._generators(), state.get("generators", ()), strict=False):
            generator.set_state(saved)

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._take(batch)
            yield batch

    def _take(self, batch: Any) -> Any:
        features, label = self._parts_of(batch)
        self._labels, self._features = checksum(label, self._labels), checksum(features, self._features)
        return label

    def _pass_over(self, batches: Iterator[Any], epoch: int, taken: int) -> None:
        """Takes batches that were seen before, and compares them with those."""
        labels, features = self._labels, self._features
        self._labels = self._features = 0
        passed, counts = 0, Counter[Any]()
        for batch in islice(batches, taken):
            counts.update(rows_of(self._take(batch)))
            passed += 1
        if self._epoch_start is None:
            logging.warning("The checkpoint does not tell which %d batches were seen; they are not compared.", taken)
            return
        is_same = self._labels == labels and (self._features == features or _tell_order(counts))
        if passed < taken or not is_same:
            got = f"other batches than before, of the first {taken} of epoch {epoch + 1}"
            remedy = (
                "Give what input_fn returns state_dict and load_state_dict (torchdata's StatefulDataLoader has them), "
                "or shuffle with torch's, NumPy's or Python's global generator. resume=False starts afresh."
            )
            raise TrainingError(Problem("input_fn", got, "the same ones in a training that is resumed", remedy))

    def _random_state(self) -> dict[str, Any]:
        return {"rng": rng.state_dict(), "generators": [each.get_state() for each in self._generators()]}

    def _set_random_state(self, state: dict[str, Any]) -> None:
        rng.load_state_dict(state["rng"])
        for generator, saved in zip(self._generators(), state["generators"], strict=False):
            generator.set_state(saved)

    def _owners(self) -> list[Any]:
        """A DataLoader, and what of it decides on the order."""
        batch_sampler = getattr(self._batches, "batch_sampler", None)
        sampler = getattr(self._batches, "sampler", None)
        inner, dataset = getattr(batch_sampler, "sampler", None), getattr(self._batches, "dataset", None)
        owners = {id(each): each for each in (self._batches, sampler, batch_sampler, inner, dataset)}
        return list(owners.values())

    def _generators(self) -> list[torch.Generator]:
        """Those that they have, each once."""
        found = [getattr(owner, "generator", None) for owner in self._owners()]
        return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())


def _tell_order(labels: Counter[Any]) -> bool:
    """Whether another order of the examples would have shown in their labels; it does not if most have the same one."""
    orders = math.lgamma(labels.total() + 1) - sum(math.lgamma(count + 1) for count in labels.values())
    return orders > math.log(_ORDERS)
