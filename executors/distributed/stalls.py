"""A rank that stalls (stopped, hung, its network gone) is found and ended, so that the others do not wait for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from polytrainer.executors.distributed.heartbeat import STACK_SIGNAL, Heartbeat, heartbeats, stack_path
from polytrainer.proto.problems import Problem

# longer than any evaluation, decoding or export should take, in which a rank takes no step
DEFAULT_TIMEOUT_SECONDS = 6 * 3600
_POLL_SECONDS, _STACK_SECONDS = 1.0, 1.0


@dataclass
class Stall:
    """What was found; `problem` is None while nothing was."""

    problem: Problem | None = None


@contextmanager
def watched(shared: Path, timeout_seconds: float) -> Iterator[Stall]:
    """Watches the ranks of this machine within the context, and kills the one that stalls.

    Args:
        shared: The folder of their heartbeats.
        timeout_seconds: For how long a rank may be without a heartbeat, or without a step or another phase.

    Yields:
        What has stalled, to be looked at when the ranks have ended.
    """
    stall, ended = Stall(), threading.Event()
    thread = threading.Thread(target=_watch, args=(shared, timeout_seconds, stall, ended), daemon=True, name="stalls")
    thread.start()
    try:
        yield stall
    finally:
        ended.set()
        thread.join()


def _watch(shared: Path, timeout_seconds: float, stall: Stall, ended: threading.Event) -> None:
    while not ended.wait(_POLL_SECONDS):
        with suppress(OSError):  # the folder goes when the training ends
            if found := _stalled(heartbeats(shared), timeout_seconds):
                stall.problem = _problem(found, shared, timeout_seconds)
                logging.error("%s", stall.problem)
                for rank in found:
                    _signal(rank.pid, signal.SIGKILL)
                return


def _stalled(ranks: list[Heartbeat], timeout_seconds: float) -> list[Heartbeat]:
    """The ranks that the others may be waiting for: those that are stopped; else, where none advances, the last ones.

    Which of several in the same step and phase computes and which waits for it, only their stacks can say.
    """
    now = time.time()
    if stopped := [each for each in ranks if now - each.time > timeout_seconds]:
        return stopped
    # before its first phase a rank imports, decodes and joins the others, which has a timeout of its own
    if not ranks or any(not each.phase or now - each.since <= timeout_seconds for each in ranks):
        return []
    least = min(each.step for each in ranks)
    return [each for each in ranks if each.step == least]


def _problem(ranks: list[Heartbeat], shared: Path, timeout_seconds: float) -> Problem:
    now, rank = time.time(), ranks[0]
    is_stopped = now - rank.time > timeout_seconds
    since = rank.time if is_stopped else rank.since
    what = "no sign of life" if is_stopped else "no step and no other phase"
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
    got = f"{what} for {now - since:.0f} s, since {clock}, in the phase {rank.phase or 'start'!r}, at step {rank.step}"
    expected = f"one within train_args.stall_timeout_seconds, {timeout_seconds:.0f} s"
    stacks = "" if is_stopped else "\n".join(f"Stacks of rank {each.rank}:\n{_stacks(each, shared)}" for each in ranks)
    remedy = "Was the process stopped, is its network gone? The same pipeline goes on from its last checkpoint."
    where = f"rank {rank.rank}" if len(ranks) == 1 else f"ranks {', '.join(str(each.rank) for each in ranks)}"
    return Problem(where, got, expected, f"{remedy}\n{stacks}" if stacks else remedy)


def _stacks(rank: Heartbeat, shared: Path) -> str:
    """Where the Python code of a process that lives is: it writes so itself, by a signal."""
    _signal(rank.pid, STACK_SIGNAL)
    time.sleep(_STACK_SECONDS)
    with suppress(OSError):
        return stack_path(shared, rank.rank).read_text().strip()
    return ""


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
