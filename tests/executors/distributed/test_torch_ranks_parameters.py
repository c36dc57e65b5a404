"""Parameters under DDP: those that no step uses are found, those beside the model are trained as by one process."""

from __future__ import annotations

import re

import pytest
from trainings import all_well

OPTIONS = {"module": "trainings_beside"}


def values_beside(training):
    return [float(value) for value in re.findall(r"beside \[(.*)\]", training.said)]


def test_gradients_of_parameters_beside_the_model_are_averaged(ranks, forked):
    # 104 - 1 = 103 examples in batches of 8: shares are equal in all batches but the last, which these steps leave out
    options = {**OPTIONS, "num_epochs": 0, "num_steps": 12}
    together, alone = ranks(2, "together", **options), forked("alone", **options)
    all_well([*together, alone])
    one, other = map(values_beside, together)
    assert one == other
    assert len(one) == 12
    assert one == pytest.approx(values_beside(alone), abs=1e-5)


def test_unused_parameters_are_found_with_the_first_examples(ranks):
    all_well(ranks(2, "unused", unused=True, beside=False, **OPTIONS))


def test_unused_parameters_that_were_said_not_to_be_there_are_explained(ranks):
    trainings = ranks(2, "unused", unused=True, beside=False, find_unused_parameters=False, **OPTIONS)
    assert sum(training.ended() for training in trainings) == 0
    expected = (
        "the strategy 'ddp': got parameters that got no gradient in the step before; expected a gradient for each"
    )
    assert any(expected in training.said for training in trainings)
    assert any("TrainArgs(find_unused_parameters=True)" in training.said for training in trainings)


def test_each_rank_makes_a_backend_of_ones_own(ranks):
    trainings = ranks(2, "own", own=True, beside=False, **OPTIONS)
    all_well(trainings)
    assert "backend Own" in trainings[1].said
