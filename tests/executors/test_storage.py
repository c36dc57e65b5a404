"""A disk that is full or cannot be written to: seen before training where it can be, and named where it cannot."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from polytrainer.executors import storage
from polytrainer.executors.errors import PreflightError, TrainingError

MODULE = """
    import contextlib
    import os

    import torch
    from polytrainer import TorchTrainer

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 2)
            self.large = torch.nn.Parameter(torch.zeros({num_parameters}))

        def forward(self, x):
            return self.layer(x) + self.large.sum()

    class Mine(TorchTrainer):
        def model_fn(self):
            return Network()

        def train_step(self, model, batch):
            print("trained step", self.engine.state.step + 1)
            return super().train_step(model, batch)

        def save(self, model=None):
            if filler := os.environ.get("FILLED_BEFORE_EXPORT"):
                with open(filler, "wb") as file, contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(4096))
                        file.flush()
            return super().save(model)

    run_fn = Mine("label", loss="cross_entropy", optimizer="sgd").run_fn
"""
SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.fixture
def disk(tmp_path):
    """Mounts a disk of 60 MB: `disk("rw")`, `disk("ro")`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid():
        pytest.skip("only root may mount")

    def mount(how):
        command = ["mount", "-t", "tmpfs", "-o", f"size=60m,{how}", "tmpfs", str(folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("this container may not mount")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@pytest.fixture
def train(node, module_file):
    """Runs the node of a model with so many parameters."""

    def run(num_parameters=1):
        node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
        node.run(module_file=module_file(MODULE.replace("{num_parameters}", str(num_parameters)), "of_some_size"))

    return run


def test_a_place_that_can_be_written_to_is_left_as_it_was(tmp_path):
    storage.check_writable({"the model": str(tmp_path / "new"), "nowhere": None, "far": "gs://bucket/model"})
    assert list((tmp_path / "new").iterdir()) == []


def test_a_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match=r"the model: got .*file/model, where nothing can be written \(NotADirect"):
        storage.check_writable({"the model": str(tmp_path / "file" / "model")})


def test_room_that_is_not_there_is_named(tmp_path):
    storage.check_room({"the model": str(tmp_path)}, 1, "a byte")
    with pytest.raises(PreflightError, match=r"the model: got .* free in .*; expected 1024.0 GB for 2 checkpoints"):
        storage.check_room({"the model": str(tmp_path / "not" / "there")}, 1 << 40, "2 checkpoints")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_whoever_says_so(error, tmp_path):
    explained = pytest.raises(TrainingError, match=r"no room .*goes on from its last checkpoint")
    with explained, storage.errors_explained({"the model": str(tmp_path)}):
        raise error


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (PermissionError(errno.EACCES, "no", "/elsewhere"), ValueError("wrong"), OSError(errno.EIO, "broken")):
        with pytest.raises(type(error)) as raised, storage.errors_explained({"the model": str(tmp_path)}):
            raise error
        assert raised.value is error
    explained = pytest.raises(TrainingError, match=r"the model, .*weights: got PermissionError")
    with explained, storage.errors_explained({"the model": str(tmp_path)}):
        raise PermissionError(errno.EACCES, "no", str(tmp_path / "model" / "weights"))


@pytest.mark.parametrize("output", ["model", "model_run"])
def test_an_output_that_cannot_be_written_is_refused_before_training(output, disk, node, train):
    getattr(node, output).uri = str(disk("ro") / "output")
    with pytest.raises(PreflightError, match=rf"the output '{output}': got .*Read-only file system"):
        train()


def test_checkpoints_that_cannot_be_written_are_refused_before_training(disk, train, monkeypatch):
    from polytrainer.executors.fn_args import CHECKPOINT_ROOT

    monkeypatch.setenv(CHECKPOINT_ROOT, str(disk("ro") / "checkpoints"))
    with pytest.raises(PreflightError, match=r"the checkpoints: got .*Read-only file system"):
        train()


def test_a_disk_without_room_for_the_model_is_refused_before_training(disk, node, train):
    node.model.uri = str(disk("rw") / "model")
    Path(node.model.uri).mkdir()
    with pytest.raises(PreflightError, match=r"the model: got 60 MB free in .*; expected 153 MB for"):
        train(num_parameters=20_000_000)


def test_a_disk_that_becomes_full_is_named_and_the_next_run_only_exports(disk, node, train, monkeypatch, capsys):
    folder = disk("rw")
    node.model.uri = str(folder / "model")
    Path(node.model.uri).mkdir()
    monkeypatch.setenv("FILLED_BEFORE_EXPORT", str(folder / "filler"))
    with pytest.raises(TrainingError, match=r"disk.* free\): got no room .*Make room; the same pipeline goes on"):
        train(num_parameters=500_000)
    assert "trained step 3" in capsys.readouterr().out
    monkeypatch.delenv("FILLED_BEFORE_EXPORT")
    (folder / "filler").unlink()
    train(num_parameters=500_000)
    assert "trained step" not in capsys.readouterr().out
    assert Path(node.model.uri, "Format-Serving", "saved_model.pb").exists()
