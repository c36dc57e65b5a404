"""One process at a time trains with a checkpoint folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import logging

from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

# a process that was just killed, or asked to end, may still be ending
WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.1
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_held: dict[str, int] = {}  # path → the process that holds it: itself, which its own locks do not keep out
_lock = threading.Lock()  # of _held, and between taking a lock and noting it there


@contextmanager
def locked(folder: str | None, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Keeps other processes from training with a checkpoint folder, within the context.

    The lock is one of the operating system's (POSIX record lock) on `<folder>.lock`: it ends with the process that
    holds it, however that ends, so that no lock is left behind by a killed one. The file tells who holds it.

    Args:
        folder: Of the checkpoints of one training; None: there is nothing to lock.
        wait_seconds: How long to wait for another process to end.

    Raises:
        PreflightError: If another process, or another thread of this one, still trains with it then.
    """
    if folder is None:
        yield
        return
    path = f"{Path(folder).absolute()}.lock"
    deadline = time.monotonic() + wait_seconds
    while (descriptor := _try_to_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise PreflightError([_problem(folder, path)])
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        if _held.get(path) == os.getpid():  # and not a process that was forked within the context, and leaves it
            _release(descriptor, path)


def _try_to_lock(path: str) -> int | None:
    """The descriptor of the locked file; None while another process or thread holds it; -1 if there are no locks."""
    with _lock:
        if _held.get(path) == os.getpid():
            return None
        descriptor = _lock_file(path)
        if descriptor is not None:
            _held[path] = os.getpid()
        return descriptor


def _release(descriptor: int, path: str) -> None:
    with _lock:
        with contextlib.suppress(OSError):
            Path(path).unlink()  # while it is held: whoever waits for it sees that it is another file now
        if descriptor >= 0:
            os.close(descriptor)
        del _held[path]


def _lock_file(path: str) -> int | None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_file_at(descriptor, path):  # its holder has ended, and removed it, in between
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):  # no room: the lock holds without saying who holds it
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(_owner()).encode())
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        if error.errno in _UNSUPPORTED:
            logging.warning("%s: this file system has no locks; two trainings at once are not kept apart.", path)
            return -1
        raise
    return descriptor


def _is_file_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    except FileNotFoundError:
        return False


def _owner() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %Z")}


def _problem(folder: str, path: str) -> Problem:
    owner: dict[str, Any] = _owner() if _held.get(path) == os.getpid() else {}
    if not owner:  # to open and close a file that this process has locked would unlock it
        with contextlib.suppress(OSError, ValueError):
            owner = json.loads(Path(path).read_text())
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('since', '?')}"
    remedy = "Wait for it to end, or stop it; or give this training another output folder."
    return Problem(folder, f"the same training in {who}", "one process at a time", remedy)
