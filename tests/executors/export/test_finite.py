"""Weights and predictions that are not numbers are not published."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.unit
NAN, INF = np.nan, np.inf


def test_weights_that_are_not_finite_are_counted_and_named():
    from polytrainer.executors.errors import TrainingError
    from polytrainer.executors.export.finite import check_weights

    check_weights([("kernel", np.ones(3)), ("ids", np.ones(2, int))], [("mask", np.array([-INF, 0.0]))])
    with pytest.raises(
        TrainingError, match=r"Nothing is published: .*got 3 weights .*: 2 of kernel, 1 of mean; expected"
    ):
        check_weights([("kernel", np.array([NAN, INF, 1.0])), ("bias", np.ones(2))], [("mean", np.array([NAN]))])


def test_predictions_of_usable_examples_are_finite():
    from polytrainer.executors.errors import TrainingError
    from polytrainer.executors.export.finite import check_predictions

    outputs = {"p": np.array([[0.0, 1.0], [NAN, 1.0], [INF, NAN]]), "class": np.array([b"a", b"b", b"c"])}
    check_predictions("model", outputs, [True, False, False])
    with pytest.raises(TrainingError, match=r"model: got predictions 'p' that are not finite, for 1 of 3 examples"):
        check_predictions("model", outputs, [True, True, False])
    check_predictions("model", {"scalar": np.array(NAN)}, [True, False])
    with pytest.raises(TrainingError, match=r"predictions 'scalar'"):
        check_predictions("model", {"scalar": np.array(NAN)}, [True, True])


def test_examples_with_nan_in_their_own_values_are_not_usable():
    from polytrainer.executors.export.finite import usable_rows

    arrays = {"x": np.array([[1.0], [NAN]]), "ids": np.array([1, 2]), "of_no_example": np.array([NAN])}
    assert usable_rows(arrays, 2) == [True, False]
