"""Decoded splits in folders: made once, by one process of many, and used again only if they are whole and the same."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from absl import logging

from polytrainer.executors.data.arena import Builder
from polytrainer.executors.data.columns import Column
from polytrainer.executors.data.errors import refuse
from polytrainer.executors.data.fingerprint import VERSION
from polytrainer.executors.data.packed import Packed, as_stored, parts_of

MAGIC = "polytrainer decoded split"
MANIFEST = "manifest.json"
TEMPORARY = "temporary"  # the key of what nobody looks for

Collect = Callable[[Path], Builder]  # decodes a split; the folder is where to spill, and is not there yet


def load(folder: Path, key: str) -> Packed | None:
    """The split in a folder, mapped into memory; None if it is not there, not whole, or another one."""
    import numpy as np

    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if (manifest["magic"], manifest["version"], manifest["key"]) != (MAGIC, VERSION, key):
            raise ValueError("it is another one")
        columns = [
            Column(**{**column, "shape": tuple(column["shape"]), "size": tuple(column["size"])})
            for column in manifest["columns"]
        ]
        parts, lengths = parts_of(columns), manifest["lengths"]
        if len(lengths) != len(parts):
            raise ValueError("its manifest contradicts itself")
        arrays = []
        for number, (part, length) in enumerate(zip(parts, lengths, strict=True)):
            dtype, shape = np.dtype(part.stored), (length, *part.shape)
            path = folder / f"{number}.bin"
            if path.stat().st_size != dtype.itemsize * int(np.prod(shape)):
                raise ValueError(f"{path.name} has {path.stat().st_size} bytes")
            # an array without elements cannot be mapped
            arrays.append(np.memmap(path, dtype, "r", shape=shape) if np.prod(shape) else np.empty(shape, dtype))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        logging.warning("%s is no decoded split that can be used (%s); it is made again.", folder, error)
        return None
    return Packed(columns, arrays, (folder, key))


def save(builder: Builder, folder: Path, key: str) -> None:
    """Writes what makes a folder with a builder's files in it a decoded split."""
    manifest = {
        "magic": MAGIC,
        "version": VERSION,
        "key": key,
        "columns": [asdict(column) for column in builder.columns],
        "lengths": builder.close(),
    }
    with (folder / MANIFEST).open("w") as file:
        json.dump(manifest, file)
        file.flush()
        os.fsync(file.fileno())


def load_or_build(cache_dir: Path, key: str, collect: Collect) -> Packed:
    """The split from a folder of this name if there is one; else from `collect`, by one process at a time.

    The lock is the operating system's and dies with its process; a folder appears under its name only when it is whole.
    What `collect` leaves in memory is not written.
    """
    folder, unfinished = cache_dir / key, cache_dir / f"{key}.unfinished"
    if packed := load(folder, key):
        return packed
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _locked(cache_dir / f"{key}.lock"):
        if packed := load(folder, key):  # another process made it in the meantime
            return packed
        shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
        try:
            builder = collect(unfinished)
            if not builder.spilled:
                return builder.in_memory()
            save(builder, unfinished, key)
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or it would have been loaded
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return _loaded(folder, key)


def build(collect: Collect) -> Packed:
    """The split from `collect`; what does not stay in memory goes to a temporary folder, which ends with the split."""
    folder = Path(tempfile.mkdtemp(prefix="polytrainer-"))
    try:
        builder = collect(folder / "split")
        if builder.spilled:
            save(builder, folder / "split", TEMPORARY)
            packed = _loaded(folder / "split", TEMPORARY)
            weakref.finalize(packed, _remove, folder, os.getpid())
            return packed
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    folder.rmdir()
    return builder.in_memory()


def on_disk(packed: Packed) -> Packed:
    """The same split, mapped from a folder, as it must be to be pickled: a temporary one, if it has none yet."""
    if packed.home:
        return packed

    def collect(folder: Path) -> Builder:
        builder = Builder(packed.columns)
        builder.spill(folder)
        tensors = [packed.arrays.rows, *(part for parts in packed.arrays.others for part in parts)]
        builder.add([as_stored(tensor) for tensor in tensors])
        return builder

    return build(collect)


def unpickled(folder: Path, key: str) -> Packed:
    """The split in a folder, in the process that gets it pickled."""
    packed = load(folder, key)
    if packed is None:
        raise refuse("TorchBatches", f"a pickle whose decoded split, {folder}, is gone", "the process that made it")
    return packed


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and no process that was forked from it
        shutil.rmtree(folder, ignore_errors=True)


def _loaded(folder: Path, key: str) -> Packed:
    packed = load(folder, key)
    if packed is None:
        raise OSError(f"{folder} was written and cannot be read")
    return packed


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("Another process decodes the split; waiting for it: %s", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
