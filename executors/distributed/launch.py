"""Several ranks from within one node: started by torch's elastic launcher, their errors brought home."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from polytrainer.executors.checkpoints import Checkpoints
from polytrainer.executors.distributed import process_group, ranks, stalls
from polytrainer.executors.errors import TrainingError
from polytrainer.executors.result import TrainResult
from polytrainer.executors.run_args import RunArgs
from polytrainer.executors.termination import Termination
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import TrainArgs

_WORKER = "polytrainer.executors.distributed.worker"
_PAYLOAD, _RESULT = "training.pickle", "result.json"
_NODES, _PROCESSES = "PET_NNODES", "PET_NPROC_PER_NODE"  # torchrun's own variables, which Kubeflow sets


class Trainer(Protocol):
    """What can be launched."""

    seed: int

    def run_fn(self, fn_args: Any) -> TrainResult:
        """Trains as one rank, where the environment says that it is one."""


def is_wanted(train_args: TrainArgs) -> bool:
    """Whether this process is to start ranks, and not to be one."""
    if train_args.strategy not in ranks.RANKED or ranks.is_ranked(train_args.strategy):
        return False
    return _num_processes(train_args) != "1" or (os.environ.get(_NODES) or "1") != "1"


def run(trainer: Trainer, fn_args: Any) -> TrainResult:
    """Trains with several ranks, processes of their own; returns what rank 0 returned.

    On this machine alone, or, where torchrun's `PET_*` variables name other nodes, together with them.

    Args:
        trainer: Pickled to each rank, by reference where its class can be imported there.
        fn_args: Of the run; the ranks get them without TFX's `data_accessor`.

    Raises:
        TrainingError: With the traceback of the rank that failed first; or once all is saved after a SIGTERM.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    with tempfile.TemporaryDirectory(prefix="polytrainer-ranks-") as folder, ExitStack() as stack:
        stack.enter_context(_environment(fn_args.train_args, folder))
        stack.enter_context(_signals_restored())
        shared = Path(folder)
        (shared / _PAYLOAD).write_bytes(_pickled(trainer, fn_args))
        config, command, arguments = _launched(fn_args.train_args, shared)
        timeout = fn_args.train_args.stall_timeout_seconds or stalls.DEFAULT_TIMEOUT_SECONDS
        try:
            with stalls.watched(shared, timeout) as stall:
                elastic_launch(config, command)(*arguments)
        except ChildFailedError as error:
            if stall.problem:
                raise TrainingError(stall.problem) from None
            raise _failure(error.failures, shared) from None
        except SignalException as error:
            steps = Checkpoints(fn_args.checkpoint_dir).steps() if fn_args.checkpoint_dir else []
            raise Termination.error(steps[-1] if steps else 0) from error
        result = shared / _RESULT  # written by rank 0, which may be on another node
        told = json.loads(result.read_text()) if result.exists() else {}
    return TrainResult(framework="pytorch", **told)


def _num_processes(train_args: TrainArgs) -> str:
    """Ranks of this node: as asked for, as the environment says, or one for each GPU."""
    import torch

    if train_args.num_processes:
        return str(train_args.num_processes)
    return os.environ.get(_PROCESSES) or str(max(torch.cuda.device_count(), 1))


def _launched(train_args: TrainArgs, shared: Path) -> tuple[Any, Any, list[str]]:
    """What torchrun would make of its command line and environment."""
    from torch.distributed import run

    several = (os.environ.get(_NODES) or "1") != "1"
    alone = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", f"--rdzv-id={shared.name}", "--local-addr=localhost"]
    alone += ["--nnodes=1", "--node-rank=0"]  # or torchrun takes them from variables
    here = [] if several else alone
    processes = f"--nproc-per-node={_num_processes(train_args)}"
    worker = ["-m", _WORKER, str(shared / _PAYLOAD), str(shared / _RESULT)]
    return run.config_from_args(run.parse_args([*here, processes, "--max-restarts=0", *worker]))  # type: ignore[no-any-return]


def _pickled(trainer: Trainer, fn_args: Any) -> bytes:
    import cloudpickle

    told = RunArgs.of(fn_args)
    told.train_args.seed = trainer.seed
    try:
        # the path first: it is by it that the rest can be unpickled
        return pickle.dumps(sys.path) + cloudpickle.dumps((trainer, told))  # type: ignore[no-any-return]
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        remedy = "Make what cannot be pickled (an open file, a lock, a TensorFlow object) in model_fn or another hook."
        got = f"a {type(trainer).__name__} that cannot be pickled ({error})"
        raise TrainingError(
            Problem("train_args.strategy", got, "one that can go to other processes", remedy)
        ) from error


@contextmanager
def _environment(train_args: TrainArgs, shared: str) -> Iterator[None]:
    """What the ranks inherit: where they may share files, and a fair share of the cores."""
    told = {process_group.SHARED_FOLDER: shared}
    if "OMP_NUM_THREADS" not in os.environ:
        told["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // int(_num_processes(train_args)), 1))
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _signals_restored() -> Iterator[None]:
    """The launcher takes signals for itself, and keeps them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failure(failures: Mapping[int, Any], shared: Path) -> TrainingError:
    """The error of the rank that failed first; the others fail because it did."""
    told = {int(path.stem): json.loads(path.read_text()) for path in (shared / "errors").glob("*.json")}
    # when a rank has failed, the launcher ends the others by SIGTERM
    ended = -signal.SIGTERM if told else 0
    killed = {rank: each for rank, each in failures.items() if each.exitcode < 0 and each.exitcode != ended}
    if killed:
        rank, failure = min(killed.items())
        got = f"death by {signal.Signals(-failure.exitcode).name}"
        remedy = "Out of memory, or stopped from outside? The system's log tells. The same pipeline goes on from there."
    elif told:
        rank = min(told, key=lambda each: told[each]["time"])
        got, remedy = told[rank]["error"], f"Its traceback:\n{told[rank]['traceback']}"
    else:
        rank, failure = min(failures.items())
        got, remedy = f"exit code {failure.exitcode}, without a word", "Its output above may say more."
    return TrainingError(Problem(f"rank {rank}", got, "all ranks to train to the end", remedy))
