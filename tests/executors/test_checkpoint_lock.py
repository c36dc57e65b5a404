"""One process at a time trains with a checkpoint folder; a lock never outlives its owner."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from polytrainer.executors.checkpoint_lock import locked
from polytrainer.executors.errors import PreflightError

pytestmark = pytest.mark.unit

HOLDS = """
import os, sys, time
from polytrainer.executors.checkpoint_lock import locked

with locked(sys.argv[1]):
    if "forks" in sys.argv and os.fork() == 0:  # as a DataLoader's worker that outlives its parent
        time.sleep(30)
    print("held", flush=True)
    sys.stdin.read()
print("given back", flush=True)
"""


@pytest.fixture
def owner(tmp_path):
    """Starts a process that holds the lock of `tmp_path/training` until its input ends."""
    processes = []

    def start(*arguments):
        command = [sys.executable, "-c", HOLDS, str(tmp_path / "training"), *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None or "forks" in process.args else None
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "training")


def test_a_second_process_waits_and_is_refused_with_host_and_process(owner, folder):
    first, started = owner(), time.monotonic()
    who = re.escape(f"got the same training in process {first.pid} on {socket.gethostname()}, since ")
    expected = f"{who}.*expected one process at a time. Wait for it to end"
    with pytest.raises(PreflightError, match=expected), locked(folder, wait_seconds=0.5):
        pytest.fail("both have it")
    assert 0.5 <= time.monotonic() - started < 5


def test_by_default_it_waits_for_ten_seconds_at_most():
    from polytrainer.executors import checkpoint_lock

    assert checkpoint_lock.WAIT_SECONDS <= 10


def test_a_waiting_process_goes_on_when_the_owner_ends_well(owner, folder, tmp_path):
    first = owner()
    threading.Timer(0.3, first.stdin.close).start()
    with locked(folder):
        assert first.wait(5) == 0
        assert (tmp_path / "training.lock").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_killed_owner_the_next_goes_on_at_once(owner, folder, tmp_path, how):
    first = owner()
    first.send_signal(how)
    first.wait()
    with locked(folder, wait_seconds=0):
        pass
    assert not list(tmp_path.iterdir())


def test_a_child_of_a_killed_owner_holds_nothing(owner, folder):
    first = owner("forks")
    first.kill()
    first.wait()
    with locked(folder, wait_seconds=0):
        pass


def test_no_lock_is_left_behind_by_an_exception(folder, tmp_path):
    with pytest.raises(ArithmeticError), locked(folder):
        raise ArithmeticError
    with locked(folder, wait_seconds=0):
        pass
    assert not list(tmp_path.iterdir())


def test_two_threads_do_not_share_it(folder):
    entered, refused, together = [], [], threading.Barrier(8)

    def train():
        together.wait()
        try:
            with locked(folder, wait_seconds=0):
                entered.append(threading.get_ident())
                time.sleep(0.5)
        except PreflightError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=train) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 1
    assert len(refused) == 7
    assert all(f"process {os.getpid()}" in message for message in refused)


def test_what_is_asked_in_the_same_process_does_not_give_it_back(folder):
    # to close any descriptor of a file gives back what a process has locked of it
    with locked(folder):
        with pytest.raises(PreflightError, match="one process at a time"), locked(folder, wait_seconds=0):
            pass
        command = [sys.executable, "-c", HOLDS.replace("locked(sys.argv[1])", "locked(sys.argv[1], 0)"), folder]
        other = subprocess.run(command, capture_output=True, text=True, input="", check=False)
        assert "PreflightError" in other.stderr


def test_a_forked_process_that_leaves_the_context_does_not_give_it_back(folder):
    forks = """
import os, sys
from pathlib import Path
from polytrainer.executors.checkpoint_lock import locked
from polytrainer.executors.errors import PreflightError

with locked(sys.argv[1]):
    child = os.fork()
    if child == 0:
        try:
            with locked(sys.argv[1], 0):
                os._exit(1)
        except PreflightError:
            sys.exit()  # through the context that it was forked in
    print("has it too" if os.waitpid(child, 0)[1] else "has it not", Path(f"{sys.argv[1]}.lock").exists())
"""
    ran = subprocess.run([sys.executable, "-c", forks, folder], capture_output=True, text=True, check=True)
    assert ran.stdout == "has it not True\n"


def test_without_a_folder_there_is_nothing_to_lock():
    with locked(None), locked(None):
        pass


def test_other_trainings_go_on_beside_it(folder):
    with locked(folder), locked(f"{folder}-2", wait_seconds=0):
        pass
