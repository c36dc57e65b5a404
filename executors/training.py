"""Calls the user's code, and makes sense of how it ends."""

from __future__ import annotations

from polytrainer.executors.data import records
from polytrainer.executors.data.files import data_files
from polytrainer.executors.errors import TrainingError
from polytrainer.executors.fn_args import FnArgs
from polytrainer.executors.result import TrainResult
from polytrainer.executors.user_code import UserCode
from polytrainer.proto import keys
from polytrainer.proto.problems import Problem


def train(user_code: UserCode, fn_args: FnArgs) -> TrainResult:
    """Runs the training.

    Raises:
        TrainingError: If the user's code ends the process instead of returning, or if it fails on data that turns out
            to be damaged (preflight does not read large splits to their ends). Any other exception of the user's code
            goes on as it is.
    """
    try:
        if user_code.kind == keys.TRAINER_FN:
            from polytrainer.executors.backends import estimator

            return estimator.train(user_code.function, fn_args)
        return TrainResult.of(user_code.function(fn_args)).completed(fn_args.exported)
    except SystemExit as error:
        got = f"a call of exit({error.code!r}) while training"
        raise TrainingError(Problem(user_code.location.shown, got, "a run_fn that returns, or raises")) from error
    except Exception as error:
        if damaged := _damaged_files(error, fn_args):
            raise TrainingError(*damaged) from error
        raise


def _damaged_files(error: Exception, fn_args: FnArgs) -> list[Problem]:
    """The files that cannot be read to their ends, if the error says that there may be some."""
    if type(error).__name__ != "DataLossError":
        return []
    patterns = [*fn_args.train_files, *fn_args.eval_files, *(p for each in fn_args.test_files.values() for p in each)]
    return [seen for file in sorted(set(data_files(patterns))) if isinstance(seen := records.diagnose(file), Problem)]
