"""The evaluations of an Estimator's training: known after a resume, with the best checkpoint, and cheap to keep."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest


@pytest.fixture
def checkpoint(tmp_path):
    """Writes the Estimator's checkpoint of a step, and returns its path."""
    import tensorflow as tf

    def write(step):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            global_step = tf.Variable(step, name="global_step", dtype=tf.int64)
            session.run(global_step.initializer)
            return tf.compat.v1.train.Saver([global_step]).save(session, str(tmp_path / f"model.ckpt-{step}"))

    return write


@pytest.fixture
def restored(tmp_path):
    """The history of the folder, up to a step."""
    from polytrainer.executors.backends.estimator_history import EvaluationHistory
    from polytrainer.executors.monitors import ModelSelection, Monitor

    def restore(step=0):
        stopping = Monitor("loss")
        return EvaluationHistory.restore(str(tmp_path), ModelSelection(stopping, stopping), step)

    return restore


def best_step(history):
    from polytrainer.executors.backends.estimator_checkpoints import step_of

    return step_of(history.best_checkpoint)


def test_it_is_known_after_a_resume(restored, checkpoint):
    history = restored()
    for step, loss in ((2, 1.0), (4, 1.5)):
        history.add(step, {"loss": loss}, checkpoint(step))
    resumed = restored(4)
    assert resumed.rows == [{"step": 2, "loss": 1.0}, {"step": 4, "loss": 1.5}]
    assert resumed.state == history.state
    assert (resumed.state.best_step, resumed.state.waited) == (2, 1)
    assert best_step(resumed) == 2
    assert resumed.has_evaluation(4)
    assert not resumed.has_evaluation(2)


def test_where_an_older_checkpoint_is_resumed_from_it_is_as_it_was_then(restored, checkpoint):
    history = restored()
    for step, loss in ((2, 1.0), (4, 1.5), (6, 0.5)):
        history.add(step, {"loss": loss}, checkpoint(step))
    resumed = restored(5)
    assert [row["step"] for row in resumed.rows] == [2, 4]
    assert (resumed.state.best, resumed.state.waited) == (1.0, 1)
    assert best_step(resumed) == 2
    assert [row["step"] for row in restored(6).rows] == [2, 4]  # step 6 is to be evaluated again


def test_a_line_that_was_being_written_is_left_out(restored, checkpoint, tmp_path):
    restored().add(2, {"loss": 1.0}, checkpoint(2))
    with Path(tmp_path, "evaluations.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    history = restored(4)
    assert [row["step"] for row in history.rows] == [2]
    history.add(4, {"loss": 2.0}, checkpoint(4))
    assert [row["step"] for row in restored(4).rows] == [2, 4]


def test_a_copy_of_the_best_that_was_not_finished_is_passed_over(restored, checkpoint, tmp_path):
    history = restored()
    history.add(2, {"loss": 1.0}, checkpoint(2))
    for name in ("partial-4", "step-4"):  # the process died before or after the copy was whole, and 4 was not known yet
        Path(tmp_path, "best", name).mkdir()
    resumed = restored(4)
    assert best_step(resumed) == 2
    assert sorted(path.name for path in Path(tmp_path, "best").iterdir()) == ["step-2"]
    resumed.add(4, {"loss": 0.5}, checkpoint(4))
    assert best_step(resumed) == 4


def test_a_best_checkpoint_that_is_damaged_is_forgotten_and_that_is_said(restored, checkpoint, tmp_path, caplog):
    restored().add(2, {"loss": 1.0}, checkpoint(2))
    [data] = Path(tmp_path, "best").rglob("*.data-*")
    data.write_bytes(b"")
    history = restored(2)
    assert "The best weights so far, of step 2, are lost." in caplog.text
    assert history.best_checkpoint is None
    history.add(4, {"loss": 1.5}, checkpoint(4))
    assert best_step(history) == 4


def test_nan_is_never_the_best_and_counts_as_no_improvement(restored, checkpoint):
    history = restored()
    for step, loss in ((2, math.nan), (4, 1.0), (6, -math.inf), (8, math.nan)):
        history.add(step, {"loss": loss}, checkpoint(step))
    assert (best_step(history), history.state.waited) == (4, 2)
    assert (best_step(restored(8)), restored(8).state.waited) == (4, 2)


def test_what_an_evaluation_writes_does_not_grow_with_their_number(restored, checkpoint, tmp_path):
    history, path = restored(), checkpoint(2)
    sizes = []
    for step in range(2, 400, 2):
        history.add(step, {"loss": 1.0}, path)
        sizes.append(Path(tmp_path, "evaluations.jsonl").stat().st_size)
    assert max(b - a for a, b in itertools.pairwise(sizes)) < 50
    assert json.loads(Path(tmp_path, "course.json").read_text()) == vars(history.state)
    assert Path(tmp_path, "course.json").stat().st_size < 200
