"""Where in an epoch a training is, for data that cannot say so themselves."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import rng
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem


class ReplayedData:
    """The batches of an iterable without a position, e.g. a `DataLoader(shuffle=True)`, resumed by replaying its epoch.

    An epoch's order follows from the random numbers at its beginning: of Python, NumPy and PyTorch, and of the
    generators that a DataLoader and its sampler were given. They are saved with a checkpoint; a resumed training begins
    the epoch with them once more and passes over what was seen. A checksum of the labels tells whether it really was
    the
    same: what shuffles by random numbers of its own is refused instead of being passed over wrongly.

    Args:
        batches: What `input_fn` returned; can be iterated over once an epoch.
        label_of: Returns the label of a batch; None where it has none.
    """

    def __init__(self, batches: Iterable[Any], label_of: Any):
        self._batches, self._label_of = batches, label_of
        self._epoch_start: dict[str, Any] | None = None
        self._checksum = 0

    def remaining(self, epoch: int, taken: int) -> Iterator[Any]:
        """The batches of an epoch that are left.

        Args:
            epoch: Its number, from 0; a sampler with `set_epoch` is told it.
            taken: Batches of it that were taken before.

        Raises:
            TrainingError: If those are not the same ones this time.
        """
        sampler = getattr(self._batches, "sampler", None)
        if sampler is not None and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        if not taken:
            self._epoch_start, self._checksum = self._random_state(), 0
            yield from self._counted(iter(self._batches))
            return
        now, expected = rng.state_dict(), self._checksum
        if self._epoch_start is not None:
            self._set_random_state(self._epoch_start)
        self._checksum = 0
        batches = self._counted(iter(self._batches))
        passed = sum(1 for _ in islice(batches, taken))
        if passed < taken or self._checksum != expected:
            got = f"other batches than before, of the first {taken} of epoch {epoch + 1}"
            remedy = (
                "Give what input_fn returns state_dict and load_state_dict (torchdata's StatefulDataLoader has them), "
                "or shuffle with torch's, NumPy's or Python's global generator. resume=False starts afresh."
            )
            raise TrainingError(Problem("input_fn", got, "the same ones in a training that is resumed", remedy))
        rng.load_state_dict(now)
        yield from batches

    def state_dict(self) -> dict[str, Any]:
        """How the epoch began, what was seen of it, and with which random numbers the next one would begin."""
        generators = [each.get_state() for each in self._generators()]
        return {"epoch_start": self._epoch_start, "checksum": self._checksum, "generators": generators}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self._epoch_start, self._checksum = state["epoch_start"], state["checksum"]
        self._set_generators(state.get("generators", []))

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._checksum = _checksum(self._label_of(batch), self._checksum)
            yield batch

    def _random_state(self) -> dict[str, Any]:
        return {"rng": rng.state_dict(), "generators": [each.get_state() for each in self._generators()]}

    def _set_random_state(self, state: dict[str, Any]) -> None:
        rng.load_state_dict(state["rng"])
        self._set_generators(state["generators"])

    def _set_generators(self, states: Sequence[torch.Tensor]) -> None:
        for generator, state in zip(self._generators(), states, strict=False):
            generator.set_state(state)

    def _generators(self) -> list[torch.Generator]:
        """Those of a DataLoader and of its sampler, each once."""
        sampler = getattr(self._batches, "sampler", None)
        owners = (self._batches, sampler, getattr(self._batches, "batch_sampler", None))
        found = [getattr(owner, "generator", None) for owner in owners]
        return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())


def _checksum(label: Any, start: int) -> int:
    leaf = batch_lib.first_tensor(label)
    if not isinstance(leaf, torch.Tensor) or leaf.dtype == torch.bfloat16:
        return start
    return zlib.crc32(leaf.detach().cpu().contiguous().numpy().tobytes(), start)
