"""Decoded splits on disk: made once, whole or not at all, and never mistaken for another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest

PROCESS = """
    import sys
    import time
    from pathlib import Path

    import numpy as np

    from polytrainer.executors.data import arena, cache, columns

    def collect(folder):
        print("decodes", flush=True)
        builder = arena.Builder([columns.Column("n", "int32")])
        builder.add([np.arange(5, dtype=np.int32)[:, np.newaxis]])
        builder.spill(folder)
        print("spilled", flush=True)
        time.sleep(float(sys.argv[2]))
        return builder

    print(cache.load_or_build(Path(sys.argv[1]), "key", collect).arrays.rows.tolist(), flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process that asks for a split, and takes its time to decode it."""
    started = []

    def run(seconds=0.0):
        command = [sys.executable, "-c", dedent(PROCESS), str(tmp_path / "cache"), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


ROWS = "[[0], [1], [2], [3], [4]]"


def test_of_two_processes_that_start_at_once_one_decodes(start):
    processes = [start(1.0) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0].splitlines() for process in processes]
    assert sorted(outputs) == [[ROWS], ["decodes", "spilled", ROWS]]


def test_a_process_that_is_killed_leaves_nothing_in_the_way(start, tmp_path):
    builder = start(60.0)
    assert [builder.stdout.readline() for _ in range(2)] == ["decodes\n", "spilled\n"]
    waiting = start()
    assert not (tmp_path / "cache" / "key").exists()
    builder.kill()
    assert waiting.communicate(timeout=300)[0].splitlines() == ["decodes", "spilled", ROWS]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["key", "key.lock"]
    assert sorted(path.name for path in (tmp_path / "cache" / "key").iterdir()) == ["0.bin", "manifest.json"]


@pytest.fixture
def split(splits, tmp_path):
    """A split with a folder, of which `read` yields the numbers, and whether they had to be decoded."""
    import tensorflow as tf

    from polytrainer.executors.data import arena
    from polytrainer.executors.data.torch_batches import TorchBatches

    file = splits.write(tmp_path / "a.gz", [{"n": [k], "v": [k] * k} for k in range(5)])
    spec = {"n": tf.io.FixedLenFeature([], tf.int64), "v": tf.io.VarLenFeature(tf.int64)}

    def read(**arguments):
        folder = str(tmp_path / "cache")
        batches = TorchBatches(
            [file], spec, **{"batch_size": 9, "mode": "cached", "cache_dir": folder, "cache_mb": 0, **arguments}
        )
        decoded = []
        with pytest.MonkeyPatch.context() as patch:
            add = arena.Builder.add
            patch.setattr(arena.Builder, "add", lambda *given: (decoded.append(1), add(*given))[1])
            [batch] = batches
        assert batch["v"].row_splits.tolist() == [0, 0, 1, 3, 6, 10]
        return batch["n"].tolist(), bool(decoded)

    return read


def folder_of(tmp_path):
    [folder] = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    return folder


NUMBERS = [0, 1, 2, 3, 4]


def test_a_later_process_uses_it_again(split):
    assert split() == (NUMBERS, True)
    assert split() == (NUMBERS, False)
    assert split(shuffle=False, batch_size=8, seed=3, world_size=1) == (NUMBERS, False)


def change(manifest, **fields):
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **fields}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "0.bin").write_bytes(b"\0" * 79),
        lambda folder: (folder / "1.bin").unlink(),
        lambda folder: (folder / "2.bin").write_bytes(b""),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff"),
        lambda folder: change(folder / "manifest.json", magic="another"),
        lambda folder: change(folder / "manifest.json", version=0),
        lambda folder: change(folder / "manifest.json", key="of another split"),
        lambda folder: change(folder / "manifest.json", lengths=[5, 6]),
        lambda folder: change(folder / "manifest.json", lengths=[5, 6, "9"]),
        lambda folder: change(folder / "manifest.json", columns=[{"name": "n"}]),
    ],
)
def test_what_is_damaged_is_made_again(split, tmp_path, damage):
    split()
    damage(folder_of(tmp_path))
    assert split() == (NUMBERS, True)
    assert split() == (NUMBERS, False)


def test_what_was_left_unfinished_is_removed(split, tmp_path):
    split()
    folder = folder_of(tmp_path)
    folder.rename(folder.with_suffix(".unfinished"))
    assert split() == (NUMBERS, True)
    assert folder_of(tmp_path) == folder


def test_what_cannot_be_decoded_leaves_nothing(splits, tmp_path):
    import tensorflow as tf

    from polytrainer.executors.data.torch_batches import TorchBatches

    file = splits.write(tmp_path / "a.gz", [{"n": [1, 2]}])
    spec = {"n": tf.io.FixedLenFeature([], tf.int64)}
    with pytest.raises(ValueError, match="got 2 values"):
        TorchBatches([file], spec, batch_size=1, mode="cached", cache_dir=str(tmp_path / "cache")).prepare()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_full_disk_is_named(splits, tmp_path, monkeypatch):
    import tensorflow as tf

    from polytrainer.executors.data import arena
    from polytrainer.executors.data.torch_batches import TorchBatches

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arena.Arena, "_write", full)
    file = splits.write(tmp_path / "a.gz", [{"n": [1]}])
    batches = TorchBatches([file], {"n": tf.io.FixedLenFeature([], tf.int64)}, batch_size=1, mode="cached", cache_mb=0)
    with pytest.raises(
        ValueError, match=r"cache_dir: got .*No space left on device.*; expected room. Another cache_dir"
    ):
        batches.prepare()


class Keyed:
    """A preprocess that says what it does."""

    def __init__(self, cache_key):
        self.cache_key = cache_key

    def __call__(self, features):
        return features


def test_a_function_without_a_key_is_decoded_by_each_process(split):
    def nameless(features):
        return features

    assert [split(preprocess=nameless)[1] for _ in range(2)] == [True, True]
    assert [split(preprocess=Keyed("same"))[1] for _ in range(2)] == [True, False]


TEMPORARY = """
    import tempfile
    from pathlib import Path

    import numpy as np

    from polytrainer.executors.data import arena, cache, columns

    def collect(folder):
        builder = arena.Builder([columns.Column("n", "int32")])
        builder.spill(folder)
        builder.add([np.zeros([5, 1], np.int32)])
        return builder

    def folders():
        return len([*Path(tempfile.gettempdir()).iterdir()])

    first = cache.build(collect)
    second = cache.build(collect)
    print(len(first), folders())
    del second
    print(folders())
"""


def test_temporary_folders_go_with_their_split_and_with_their_process(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", dedent(TEMPORARY)]
    made = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert made.stdout.split() == ["5", "2", "1"]
    assert not [*tmp_path.iterdir()]
