"""PyTorch trainings in processes of their own, which take no time to start."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# no dropout: its random numbers are of a rank's own; no batch norm, whose batch is a rank's share
SAME = {"dropout": 0.0, "norm": False, "num_epochs": 2}


class ForkedTraining:
    """A PyTorch training in a process of its own, which took no time to start; `nursery.py` has the model."""

    def __init__(self, nursery: subprocess.Popen[str], log: Path, told: Mapping[str, Any]):
        self._nursery, self._log, self._code = nursery, log, -1
        self.pid = self._ask({"log": str(log), "env": {}, **told})

    def send(self, how: signal.Signals) -> None:
        """Sends it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, how)

    def ended(self) -> bool:
        """Waits for its end; whether it ended well."""
        if self._code < 0:
            self._code = self._ask({"wait": self.pid})
        return self._code == 0

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text() if self._log.exists() else ""

    def _ask(self, line: Mapping[str, Any]) -> int:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(line) + "\n")
        return int(self._nursery.stdout.readline())


@pytest.fixture(scope="session")
def nursery() -> Iterator[subprocess.Popen[str]]:
    """The process that forks trainings."""
    yield from _running("nursery.py")


@pytest.fixture(scope="session")
def lightning_nursery() -> Iterator[subprocess.Popen[str]]:
    """The process that forks trainings of a LightningModule."""
    yield from _running("lightning_nursery.py")


def _running(program: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name(program))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.communicate()


@pytest.fixture
def forked(nursery: subprocess.Popen[str], small: SimpleNamespace, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a training of `small`: `forked(name, **options)`; the same name is the same one, in `tmp_path/name`."""
    yield from _starter(nursery, small, tmp_path)


@pytest.fixture
def forked_lightning(
    lightning_nursery: subprocess.Popen[str], small: SimpleNamespace, tmp_path: Path
) -> Iterator[Callable[..., Any]]:
    """Likewise, of a LightningModule."""
    yield from _starter(lightning_nursery, small, tmp_path)


def _starter(
    nursery: subprocess.Popen[str], small: SimpleNamespace, tmp_path: Path
) -> Iterator[Callable[..., ForkedTraining]]:
    told = {"train_files": small.train, "eval_files": small.eval, "schema": small.schema, "batch_size": 8, "seed": 3}
    started = []

    def start(name: str, log: str | None = None, **options: Any) -> ForkedTraining:
        output = {"output_dir": str(tmp_path / name)}
        training = ForkedTraining(nursery, tmp_path / f"{log or name}.log", {**told, **output, **options})
        started.append(training)
        return training

    yield start
    for training in started:
        training.send(signal.SIGKILL)
        training.ended()


def all_well(trainings: list[ForkedTraining]) -> None:
    """Waits for all of them to end well."""
    for training in trainings:
        assert training.ended(), training.said[-3000:]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def ranks(forked: Callable[..., Any]) -> Callable[..., list[ForkedTraining]]:
    """Starts the ranks of a training, as torchrun does: `ranks(count, name, **options)`."""
    tries = itertools.count()

    def start(count: int, name: str, **options: Any) -> list[ForkedTraining]:
        port, number = free_port(), next(tries)
        environments = [
            {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "localhost"}
            | {"TORCHELASTIC_RUN_ID": "1"}
            for rank in range(count)
        ]
        return [
            forked(
                name, log=f"{name}-{number}-{env['RANK']}", env={**env, "MASTER_PORT": str(port)}, **{**SAME, **options}
            )
            for env in environments
        ]

    return start
