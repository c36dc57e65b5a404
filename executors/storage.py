"""Places that a run writes to: whether they can be written to is seen before training, and a full disk is named."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.proto.problems import Problem

_FULL, _READ_ONLY = (errno.ENOSPC, errno.EDQUOT), (errno.EROFS, errno.EACCES, errno.EPERM)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")  # in errors of libraries that have no errno
_ALMOST_FULL = 1 << 20  # bytes
_KILO = 1024
TEMPORARY = "the folder for temporary files (TMPDIR)"


def check_writable(places: Mapping[str, str | None]) -> None:
    """Makes the folders that are not there yet, and writes and removes a small file in each.

    Args:
        places: Folders by what they are for; those that are None or on a remote file system are passed over.

    Raises:
        PreflightError: With each folder that cannot be written to.
    """
    problems = [problem for where, folder in _local(places).items() if (problem := _written(where, folder))]
    if problems:
        raise PreflightError(problems)


def check_room(places: Mapping[str, str | None], num_bytes: int, what: str) -> None:
    """Looks whether there is room for what a training is going to write.

    Args:
        places: As in `check_writable`.
        num_bytes: That each of them has to have free.
        what: What they are for, as a message says it.

    Raises:
        PreflightError: With each folder that has not.
    """
    problems = [
        Problem(where, f"{_readable(free)} free in {folder}", f"{_readable(num_bytes)} for {what}", "Make room there.")
        for where, folder in _local(places).items()
        if (free := _free(folder)) is not None and free < num_bytes
    ]
    if problems:
        raise PreflightError(problems)


@contextmanager
def errors_explained(places: Mapping[str, str | None]) -> Iterator[None]:
    """Turns the error of a full or read-only disk, within the context, into one that names the place and the remedy.

    Args:
        places: As in `check_writable`.

    Raises:
        TrainingError: For such an error. Any other goes on as it is.
    """
    try:
        yield
    except (PreflightError, TrainingError):
        raise
    except Exception as error:
        if problem := _problem(error, _local(places)):
            raise TrainingError(problem) from error
        raise


def _problem(error: Exception, places: Mapping[str, Path]) -> Problem | None:
    said = f"{type(error).__name__}: {error}"
    if getattr(error, "errno", None) in _FULL or any(text in said for text in _FULL_TEXTS):
        free = {folder: _free(folder) for folder in places.values()}
        full = sorted({f"{folder} ({_readable(size or 0)} free)" for folder, size in free.items() if _is_full(size)})
        remedy = "Make room; the same pipeline goes on from its last checkpoint."
        return Problem(", ".join(full) or "a disk", f"no room ({said})", "room for what is written", remedy)
    path = getattr(error, "filename", None)
    if getattr(error, "errno", None) in _READ_ONLY and path:
        inside = [where for where, folder in places.items() if folder in (Path(path), *Path(path).parents)]
        if inside:
            remedy = "Give this user the right to write there; the same pipeline goes on from its last checkpoint."
            return Problem(f"{inside[0]}, {path}", said, "a place that can be written to", remedy)
    return None


def _is_full(size: int | None) -> bool:
    return size is not None and size < _ALMOST_FULL


def _local(places: Mapping[str, str | None]) -> dict[str, Path]:
    told = {**places, TEMPORARY: tempfile.gettempdir()}
    return {where: Path(folder) for where, folder in told.items() if folder and "://" not in folder}


def _written(where: str, folder: Path) -> Problem | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".polytrainer-") as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        got = f"{folder}, where nothing can be written ({type(error).__name__}: {error})"
        remedy = (
            "Make room there." if error.errno in _FULL else f"May user {os.getuid()} write there, and is it mounted so?"
        )
        return Problem(where, got, "a folder that can be written to", remedy)
    return None


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    except (OSError, StopIteration):
        return None


def _readable(num_bytes: int) -> str:
    size = float(num_bytes)
    for unit in ("bytes", "KB", "MB"):
        if size < _KILO:
            return f"{size:.0f} {unit}"
        size /= _KILO
    return f"{size:.1f} GB"
