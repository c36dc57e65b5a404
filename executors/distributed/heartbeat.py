"""What each rank says of itself every second: that it lives, and since when it has been where it is."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

INTERVAL_SECONDS = 1.0
STACK_SIGNAL = signal.SIGUSR2
_FOLDER = "heartbeats"


@dataclass(frozen=True)
class Heartbeat:
    """One of a rank's.

    Attributes:
        rank: Among all ranks, from 0.
        pid: Of its process, on this machine.
        time: When it was written, in seconds since the epoch: a process that is stopped writes none.
        phase: What it is doing, a name of `timings`.
        step: Optimizer steps taken.
        since: Since when phase and step are what they are.
    """

    rank: int
    pid: int
    time: float
    phase: str
    step: int
    since: float


@contextmanager
def beating(shared: Path, rank: int, position: Callable[[], tuple[str, int]]) -> Iterator[None]:
    """Writes a heartbeat every second, in a thread of its own; by `STACK_SIGNAL` the process writes its Python stacks.

    Args:
        shared: A folder that the ranks of this machine and their launcher share.
        rank: Of this process.
        position: Returns phase and step.
    """
    folder = shared / _FOLDER
    folder.mkdir(exist_ok=True)
    ended = threading.Event()
    with stack_path(shared, rank).open("w") as stacks:
        faulthandler.register(STACK_SIGNAL, stacks, all_threads=True)
        thread = threading.Thread(target=_beat, args=(folder, rank, position, ended), daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            faulthandler.unregister(STACK_SIGNAL)
            (folder / f"{rank}.json").unlink(missing_ok=True)  # a rank that has ended is not one that stalls


def heartbeats(shared: Path) -> list[Heartbeat]:
    """The newest of each rank of this machine that is not at its end."""
    return [Heartbeat(**json.loads(path.read_text())) for path in sorted((shared / _FOLDER).glob("*.json"))]


def stack_path(shared: Path, rank: int) -> Path:
    """The file that a rank writes its Python stacks to."""
    return shared / f"stacks-{rank}.txt"


def _beat(folder: Path, rank: int, position: Callable[[], tuple[str, int]], ended: threading.Event) -> None:
    last, since = position(), time.time()
    while True:
        now = time.time()
        if (current := position()) != last:
            last, since = current, now
        partial = folder / f"{rank}.partial"
        partial.write_text(json.dumps(asdict(Heartbeat(rank, os.getpid(), now, *last, since))))
        partial.rename(folder / f"{rank}.json")
        if ended.wait(INTERVAL_SECONDS):
            return
