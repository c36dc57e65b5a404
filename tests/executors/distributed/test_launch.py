"""A node that starts its ranks itself: their result comes home, and so does their failure, in seconds."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

DDP = {"strategy": "ddp", "num_processes": 2, "num_epochs": 2}


def ranks_of(training):
    """Numbers of the processes that a training has started, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            environment = dict(
                each.split("=", 1) for each in (path / "environ").read_text().split("\0") if each.startswith("RANK=")
            )
        except (OSError, ValueError):
            continue
        if parent == training.pid and environment:
            found[int(environment["RANK"])] = int(path.name)
    return found


def wait_for(condition, training, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, training.said[-3000:]
        time.sleep(0.02)


def test_ranks_are_started_and_their_result_comes_home(forked, tmp_path):
    training = forked("two", **DDP)
    assert training.ended(), training.said[-3000:]
    assert "cpu, 2 ranks (Ddp)" in training.said
    state = json.loads((tmp_path / "two" / "model_run" / "trainer_state.json").read_text())
    assert state["step"] == 26
    assert (tmp_path / "two" / "model" / "Format-Serving" / "model.pt2").exists()
    assert not list((tmp_path / "two").glob(".checkpoints/*/step-*"))


def test_a_rank_that_fails_ends_the_training_with_its_traceback(forked, tmp_path):
    started = time.monotonic()
    training = forked("failing", fail_at=[1, 3], **DDP)
    assert not training.ended()
    assert time.monotonic() - started < 60
    said = training.said
    assert "rank 1: got ArithmeticError: this rank does not count any further" in said
    assert "in train_step" in said
    assert not (tmp_path / "failing" / "model").exists()


def test_a_rank_that_is_killed_ends_the_training_in_seconds_and_it_goes_on_from_there(forked, tmp_path):
    training = forked("killed", slow=0.1, checkpoint_every_n_steps=2, **DDP)
    wait_for(lambda: list((tmp_path / "killed").glob(".checkpoints/*/step-*")), training)
    killed = time.monotonic()
    os.kill(ranks_of(training)[1], signal.SIGKILL)
    assert not training.ended()
    assert time.monotonic() - killed < 30
    assert "rank 1: got death by SIGKILL" in training.said
    again = forked("killed", log="again", checkpoint_every_n_steps=2, **DDP)
    assert again.ended(), again.said[-3000:]
    assert "resumed        from step" in again.said


def test_ranks_die_with_the_node_that_started_them(forked, tmp_path):
    training = forked("orphaned", slow=0.1, checkpoint_every_n_steps=2, **DDP)
    wait_for(lambda: list((tmp_path / "orphaned").glob(".checkpoints/*/step-*")), training)
    ranks = ranks_of(training).values()
    assert len(ranks) == 2
    training.send(signal.SIGKILL)
    assert not training.ended()
    wait_for(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks), training, seconds=10)


def test_sigterm_is_passed_on_and_all_is_saved_first(forked, tmp_path):
    training = forked("asked", slow=0.1, checkpoint_every_n_steps=1000, **DDP)
    wait_for(lambda: "2 ranks" in training.said, training)
    time.sleep(1)
    training.send(signal.SIGTERM)
    assert not training.ended()
    [saved] = (tmp_path / "asked").glob(".checkpoints/*/step-*")
    assert f"SIGTERM; it is saved at step {int(saved.name[5:])}" in training.said


def test_nodes_that_torchruns_variables_name_train_together(forked, tmp_path):
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    common = {
        "PET_NNODES": "2",
        "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": "localhost",
        "PET_MASTER_PORT": str(port),
    }
    nodes = [
        forked(
            "nodes", log=f"node-{number}", env={**common, "PET_NODE_RANK": str(number)}, strategy="ddp", num_epochs=1
        )
        for number in range(2)
    ]
    for node in nodes:
        assert node.ended(), node.said[-3000:]
    assert "2 ranks" in nodes[0].said
    assert "2 ranks" not in nodes[1].said
    assert json.loads((tmp_path / "nodes" / "model_run" / "trainer_state.json").read_text())["step"] == 13


def failure_of(tmp_path, told, **exit_codes):
    """The error of ranks that ended with some exit codes, of which some told an error."""
    from polytrainer.executors.distributed.launch import _failure

    (tmp_path / "errors").mkdir()
    for rank, (seconds, error) in told.items():
        said = {"time": seconds, "error": error, "traceback": f"traceback of {rank}"}
        (tmp_path / "errors" / f"{rank}.json").write_text(json.dumps(said))
    failures = {int(name[1:]): SimpleNamespace(exitcode=code) for name, code in exit_codes.items()}
    return str(_failure(failures, tmp_path))


def test_a_rank_that_the_launcher_ends_is_not_the_one_that_failed(tmp_path):
    assert "rank 0: got ValueError: mine" in failure_of(tmp_path, {0: (2.0, "ValueError: mine")}, r0=1, r1=-15)


def test_a_rank_that_was_killed_is_before_those_that_fail_for_want_of_it(tmp_path):
    told = {0: (1.0, "RuntimeError: connection closed by peer")}
    assert "rank 1: got death by SIGKILL" in failure_of(tmp_path, told, r0=1, r1=-9)


def test_a_rank_that_was_ended_from_outside_is_named(tmp_path):
    assert "rank 1: got death by SIGTERM" in failure_of(tmp_path, {}, r1=-15)


def test_a_rank_that_is_stopped_is_found_and_named(forked, tmp_path):
    training = forked("stopped", slow=0.1, checkpoint_every_n_steps=2, stall_timeout_seconds=10, **DDP)
    wait_for(lambda: list((tmp_path / "stopped").glob(".checkpoints/*/step-*")), training)
    stopped = time.monotonic()
    os.kill(ranks_of(training)[1], signal.SIGSTOP)
    assert not training.ended()
    assert time.monotonic() - stopped < 60
    assert re.search(
        r"rank 1: got no sign of life for \d+ s, since \d{4}-.*, in the phase 'training', at step \d+; "
        r"expected one within train_args.stall_timeout_seconds, 10 s",
        training.said,
    )


@pytest.mark.exhaustive
def test_ranks_that_do_not_advance_are_named_with_their_stacks(forked):
    training = forked("hanging", slow=600, stall_timeout_seconds=8, **DDP)
    assert not training.ended()
    assert "ranks 0, 1: got no step and no other phase for" in training.said
    assert "Stacks of rank 1:" in training.said
    assert "in train_step" in training.said
