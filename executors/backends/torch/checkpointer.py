"""Where a training's state goes while it trains, and where it comes from when it is resumed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from polytrainer.executors.checkpoints import Checkpoints
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

MODEL = "model"
_WEIGHTS, _REST, _MANIFEST = "model.safetensors", "training.pt", "manifest.json"
_PLAIN = (type(None), bool, int, float, str, bytes, torch.Tensor)


@runtime_checkable
class Checkpointer(Protocol):
    """Keeps the state of a training. `TorchTrainer(checkpointer=…)` takes one of your own.

    A state is what `Engine.state_dict()` returns: tensors, numbers, strings, and lists, tuples and dicts of them;
    `"model"` are the weights by name. Rank 0 saves; every rank loads.
    """

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Keeps a state. May return before it is kept, but must have copied it by then."""

    def load(self, step: int | None = None) -> tuple[int, dict[str, Any]] | None:
        """The newest state that can be read, or that of a step; None if there is none."""

    def wait(self) -> None:
        """Returns when all that was to be saved is, or raises if it could not be."""


class FileCheckpointer:
    """Checkpoints in a folder, each of them whole or not there, written by a thread while the training goes on.

    The weights are in `model.safetensors`, the rest in a file that is read with `torch.load(weights_only=True)`:
    nothing in them can run code. Checksums tell a damaged one, which is passed over for the one before.

    Args:
        folder: Where they are.
        keep: How many of the newest are kept.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        self._checkpoints = Checkpoints(folder, keep)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[Any] | None = None

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Copies the state, and leaves the writing to the thread.

        Raises:
            TrainingError: If the state holds what cannot be read back safely, or the one before could not be written.
        """
        copied = _copied(state, "state")
        self.wait()
        self._pending = self._thread.submit(self._checkpoints.save, step, lambda folder: _write(folder, copied))

    def load(self, step: int | None = None) -> tuple[int, dict[str, Any]] | None:
        """The newest state whose files are whole, or that of a step."""
        if step is not None:
            return step, _read(self._checkpoints.path(step))[1]
        return self._checkpoints.restore(_read)

    def wait(self) -> None:
        """Until the thread has written.

        Raises:
            TrainingError: If it could not.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except Exception as error:
            got = f"a checkpoint that could not be written ({type(error).__name__}: {error})"
            last = self._checkpoints.steps()
            kept = f"The one of step {last[-1]} is whole" if last else "There is none before it"
            remedy = f"{kept}; once there is room, the same pipeline goes on from there."
            raise TrainingError(Problem(str(self._checkpoints.folder), got, "room to write it", remedy)) from error


def _write(folder: Path, state: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    weights = {name: value for name, value in state[MODEL].items() if isinstance(value, torch.Tensor)}
    extra = {name: value for name, value in state[MODEL].items() if name not in weights}
    save_file(weights, folder / _WEIGHTS)
    torch.save({**state, MODEL: extra}, folder / _REST)
    sums = {name: _checksum(folder / name) for name in (_WEIGHTS, _REST)}
    (folder / _MANIFEST).write_text(json.dumps(sums))


def _read(folder: Path) -> tuple[int, dict[str, Any]]:
    from safetensors.torch import load_file

    for name, wanted in json.loads((folder / _MANIFEST).read_text()).items():
        if _checksum(folder / name) != wanted:
            raise ValueError(f"{name} is not what was written")
    state = torch.load(folder / _REST, map_location="cpu", weights_only=True)
    state[MODEL].update(load_file(folder / _WEIGHTS))
    return int(folder.name.rpartition("-")[2]), state


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def _copied(value: Any, where: str) -> Any:
    """A copy on the CPU of all that can be read back without running code; refuses anything else."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, Mapping):
        return {name: _copied(each, f"{where}[{name!r}]") for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        made: Callable[[Any], Any] = list if isinstance(value, list) else tuple
        return made(_copied(each, f"{where}[{number}]") for number, each in enumerate(value))
    if isinstance(value, _PLAIN):
        return value
    expected = "tensors, numbers, strings, and lists and dicts of them"
    raise TrainingError(Problem(where, f"a {type(value).__module__}.{type(value).__qualname__}", expected))
