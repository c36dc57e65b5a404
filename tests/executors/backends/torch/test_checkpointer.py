"""Checkpoints of a PyTorch training: whole or not there, and safe to read."""

from __future__ import annotations

import resource
import time

import pytest

pytestmark = pytest.mark.newest


@pytest.fixture
def checkpointer(tmp_path):
    from polytrainer.executors.backends.torch.checkpointer import FileCheckpointer

    return FileCheckpointer(tmp_path / "checkpoints")


def a_state(number=0.0, **more):
    import torch

    return {"model": {"weight": torch.full((100,), number)}, "optimizers": [{"lr": 0.1, "steps": [1, 2]}], **more}


def names(checkpointer):
    return sorted(path.name for path in checkpointer._checkpoints.folder.iterdir())


def test_what_was_saved_is_loaded(checkpointer):
    import torch

    state = a_state(3.0, rng=torch.arange(4), nothing=None, pair=(1, "two"), text="ä")
    checkpointer.save(7, state)
    checkpointer.wait()
    step, loaded = checkpointer.load()
    assert step == 7
    assert loaded.keys() == state.keys()
    assert torch.equal(loaded["model"]["weight"], state["model"]["weight"])
    assert torch.equal(loaded["rng"], state["rng"])
    assert (loaded["nothing"], loaded["pair"], loaded["text"]) == (None, (1, "two"), "ä")
    assert loaded["optimizers"] == [{"lr": 0.1, "steps": [1, 2]}]


def test_without_a_checkpoint_there_is_nothing_to_load(checkpointer):
    assert checkpointer.load() is None


def test_what_changes_after_it_was_saved_is_not_saved(checkpointer):
    state = a_state(1.0)
    checkpointer.save(1, state)
    state["model"]["weight"].fill_(9.0)
    checkpointer.wait()
    assert checkpointer.load()[1]["model"]["weight"].tolist() == [1.0] * 100


def test_the_newest_two_are_kept(checkpointer):
    for step in (1, 2, 3):
        checkpointer.save(step, a_state(step))
    checkpointer.wait()
    assert names(checkpointer) == ["step-00000002", "step-00000003"]
    assert checkpointer.load(2)[1]["model"]["weight"][0] == 2


def test_weights_that_share_memory_are_saved_each(checkpointer):
    import torch

    tied = torch.ones(3)
    checkpointer.save(1, {"model": {"one": tied, "other": tied, "view": tied[1:], "version": 4}})
    checkpointer.wait()
    model = checkpointer.load()[1]["model"]
    assert {name: value.tolist() if name != "version" else value for name, value in model.items()} == {
        "one": [1, 1, 1],
        "other": [1, 1, 1],
        "view": [1, 1],
        "version": 4,
    }


def test_what_could_run_code_when_it_is_read_is_refused_at_once(checkpointer):
    from polytrainer.executors.errors import TrainingError

    class Unsafe:
        pass

    with pytest.raises(TrainingError, match=r"state\['callbacks'\]\[0\]\['mine'\]: got a .*Unsafe; expected tensors"):
        checkpointer.save(1, a_state(callbacks=[{"mine": Unsafe()}]))


def test_where_there_is_no_room_the_last_good_one_stays_and_the_error_says_so(checkpointer):
    from polytrainer.executors.errors import TrainingError

    checkpointer.save(1, a_state(1.0))
    checkpointer.wait()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))  # a file that would be larger fails to be written
    try:
        checkpointer.save(2, a_state(2.0))
        with pytest.raises(TrainingError, match=r"could not be written .*The one of step 1 is whole; once"):
            checkpointer.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpointer.load()[0] == 1
    checkpointer.save(3, a_state(3.0))  # and it goes on once there is
    checkpointer.wait()
    assert names(checkpointer) == ["step-00000001", "step-00000003"]


@pytest.mark.parametrize("file", ["model.safetensors", "training.pt", "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "changed"])
def test_a_damaged_one_is_passed_over(checkpointer, file, how):
    for step in (1, 2):
        checkpointer.save(step, a_state(step))
    checkpointer.wait()
    path = checkpointer._checkpoints.path(2) / file
    content = path.read_bytes()
    half = len(content) // 2
    changed = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": content[:-1], "changed": changed}[how])
    assert checkpointer.load()[0] == 1


def test_training_does_not_wait_for_the_disk(checkpointer, monkeypatch):
    import threading

    from polytrainer.executors.backends.torch import checkpointer as module

    go_on = threading.Event()
    write = module._write
    monkeypatch.setattr(module, "_write", lambda *args: go_on.wait(10) and write(*args))
    started = time.monotonic()
    checkpointer.save(1, a_state())
    assert time.monotonic() - started < 5
    assert not checkpointer._checkpoints.steps()
    go_on.set()
    checkpointer.wait()
    assert checkpointer._checkpoints.steps() == [1]
