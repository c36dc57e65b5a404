"""Checkpoint folders: whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytrainer.executors.checkpoints import Checkpoints, fingerprint, remove_checkpoints

pytestmark = pytest.mark.unit


def write(text: str):
    def into(folder: Path) -> None:
        (folder / "file").write_text(text)

    return into


def read(folder: Path) -> str:
    return (folder / "file").read_text()


def test_the_newest_is_restored(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    for step in (1, 20, 3):
        checkpoints.save(step, write(str(step)))
    assert checkpoints.restore(read) == "20"


def test_nothing_there_is_none(tmp_path):
    assert Checkpoints(tmp_path / "nowhere").restore(read) is None


def test_only_the_newest_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in range(5):
        checkpoints.save(step, write("x"))
    assert checkpoints.steps() == [3, 4]


def test_one_that_cannot_be_read_is_passed_over_and_reported(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, write("good"))
    checkpoints.save(2, lambda folder: None)
    assert checkpoints.restore(read) == "good"
    assert "step-00000002 cannot be read (FileNotFoundError" in caplog.text


def test_if_none_can_be_read_there_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, lambda folder: None)
    assert checkpoints.restore(read) is None


def test_a_writer_that_fails_leaves_the_others_alone(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, write("good"))

    def fail(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(2, fail)
    assert checkpoints.restore(read) == "good"
    assert checkpoints.steps() == [1]


def test_what_was_being_written_when_the_process_died_is_swept_away(tmp_path, caplog):
    (tmp_path / "partial-7").mkdir()
    assert Checkpoints(tmp_path).restore(read) is None
    assert not (tmp_path / "partial-7").exists()
    assert "partial-7 was not finished" in caplog.text


def test_the_same_step_may_be_saved_again(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, write("first"))
    checkpoints.save(1, write("second"))
    assert checkpoints.restore(read) == "second"


def test_a_process_that_dies_while_it_replaces_a_step_leaves_that_step(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, write("before"))
    checkpoints.save(2, write("first"))
    rename = Path.rename

    def dies(path, target):
        if path.name.startswith("partial-"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2, write("second"))
    monkeypatch.undo()
    assert Checkpoints(tmp_path).restore(read) == "first"
    checkpoints.save(2, write("third"))
    assert Checkpoints(tmp_path).restore(read) == "third"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


def test_a_fingerprint_follows_the_parts_and_not_their_order():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_removing_what_is_not_there_is_fine(tmp_path):
    remove_checkpoints(None)
    remove_checkpoints(str(tmp_path / "nowhere"))
