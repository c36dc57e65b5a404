"""One rank of a training: `python -m polytrainer.executors.distributed.worker TRAINING RESULT`."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from polytrainer.executors.distributed.heartbeat import beating

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(training: str, result: str) -> None:
    """Trains, and leaves a result or an error beside the training."""
    _die_with_the_launcher()
    # before TensorFlow: see there
    from polytrainer.executors.backends import triton_beside_tensorflow

    triton_beside_tensorflow.install()
    try:
        with Path(training).open("rb") as file:
            sys.path[:] = pickle.load(file)
            trainer, fn_args = pickle.load(file)
        with beating(Path(training).parent, int(os.environ["RANK"]), lambda: _position(trainer)):
            told = trainer.run_fn(fn_args)
    except BaseException as error:
        folder = Path(training).parent / "errors"
        folder.mkdir(exist_ok=True)
        said = {"time": time.time(), "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        partial = folder / f"{os.environ['RANK']}.partial"
        partial.write_text(json.dumps(said))
        partial.rename(partial.with_suffix(".json"))
        # not through the interpreter's own end, where a thread of the process group may wait for ranks that are gone
        os._exit(1)
    if os.environ["RANK"] == "0":
        said = {"metrics": dict(told.metrics), "steps": told.steps, "parity": dict(told.parity)}
        Path(result).write_text(json.dumps({**said, "best_step": told.best_step, "serving_rows": told.serving_rows}))


def _position(trainer: Any) -> tuple[str, int]:
    """Phase and step of a training, as another thread sees them; before there is one, of none."""
    engine, timings = getattr(trainer, "engine", None), getattr(trainer, "timings", None)
    return ("" if timings is None else timings.phase), (0 if engine is None else engine.state.step)


def _die_with_the_launcher() -> None:
    """A rank that lives on would write into the folders of the next try."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
