"""What may be returned from a run_fn."""

from __future__ import annotations

import pytest

from polytrainer.executors.errors import TrainingError
from polytrainer.executors.result import TrainResult

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("returned", [None, "a model", object(), 3.0, [1.0]])
def test_whatever_tfx_would_ignore_is_ignored(returned):
    assert TrainResult.of(returned) == TrainResult()


def test_a_dict_holds_metrics():
    assert TrainResult.of({"accuracy": 0.5, "rows": 3}).metrics == {"accuracy": 0.5, "rows": 3.0}


def test_what_is_no_number_in_a_dict_is_no_metric():
    assert TrainResult.of({"accuracy": 0.5, "model": object(), "done": True}).metrics == {"accuracy": 0.5}


def test_numpy_scalars_are_numbers():
    numpy = pytest.importorskip("numpy")
    assert TrainResult.of({"a": numpy.float32(0.5), "b": numpy.int64(2)}).metrics == {"a": 0.5, "b": 2.0}


def test_a_train_result_is_taken_as_it_is():
    result = TrainResult({"loss": 1.0}, steps=5, framework="pytorch")
    assert TrainResult.of(result) is result


def test_a_metric_that_is_no_number_in_a_train_result_is_an_error():
    with pytest.raises(TrainingError, match=r"TrainResult\.metrics: got \{'loss': 'low'\}; expected a number"):
        TrainResult.of(TrainResult({"loss": "low"}))  # type: ignore[dict-item]
