"""Which weights are kept: the newest and the best, and those that a checkpoint may still speak of."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.newest


def watch(**changes):
    from polytrainer.executors.backends.torch.kept_weights import Watch
    from polytrainer.proto.trainer_pb2 import TrainArgs

    return Watch.of(TrainArgs(**changes))


@pytest.mark.parametrize(
    ("train_args", "metric", "sign", "best", "patience"),
    [
        ({}, "loss", 1, 0, None),
        ({"early_stopping": {"metric": "accuracy"}}, "accuracy", -1, 1, 3),
        ({"early_stopping": {"patience": 7}}, "loss", 1, 1, 7),
        ({"keep_checkpoints": {"best": 2, "metric": "f1"}}, "f1", -1, 2, None),
        ({"keep_checkpoints": {"best": 2}, "early_stopping": {"metric": "auroc"}}, "auroc", -1, 2, 3),
        ({"keep_checkpoints": {"last": 3}}, "loss", 1, 0, None),
    ],
)
def test_what_is_watched(train_args, metric, sign, best, patience):
    found = watch(**train_args)
    assert (found.metric, found.sign, found.best, found.patience) == (metric, sign, best, patience)
    assert found.is_on == (best > 0)


def test_patience_counts_evaluations_without_getting_better():
    from polytrainer.executors.backends.torch.state import TrainState

    watched, state = watch(early_stopping={"patience": 2, "min_delta": 0.1}), TrainState()
    stopped = []
    for step, value in enumerate([1.0, 0.95, 0.8, 0.75, 0.72], 1):
        state.step = step
        watched.take_note(state, value)
        stopped.append(state.stopped)
    assert stopped == [False, False, False, False, True]
    assert (state.best, state.best_step) == (0.8, 3)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.integers(0, 20), min_size=1, max_size=15),
    best=st.integers(0, 3),
    last=st.integers(0, 3),
)
def test_the_newest_and_the_best_are_there_whatever_their_order(tmp_path_factory, values, best, last):
    import torch
    from safetensors.torch import load_file

    from polytrainer.executors.backends.torch.kept_weights import KeptWeights
    from polytrainer.executors.backends.torch.state import TrainState

    folder = tmp_path_factory.mktemp("kept")
    watched, state = watch(keep_checkpoints={"best": best, "last": last}), TrainState()
    kept = KeptWeights(folder, watched)
    for step, value in enumerate(values, 1):
        state.step = step
        if watched.is_on:
            watched.take_note(state, value)
        kept.offer(state, float(value), lambda step=step: {"w": torch.tensor([float(step)])})
        kept.checkpointed(state)
    ordered = sorted(range(1, len(values) + 1), key=lambda step: (values[step - 1], step))
    newest = list(range(1, len(values) + 1))[::-1][:last]
    assert set(state.kept) == {*ordered[:best], *newest}
    for step in state.kept:
        assert load_file(kept.path(step))["w"].item() == step
    kept.publish(state, str(folder / "published"))
    assert {path.name for path in (folder / "published").glob("*")} == {kept.path(step).name for step in state.kept}


def test_weights_that_an_older_checkpoint_speaks_of_are_still_there(tmp_path):
    import torch

    from polytrainer.executors.backends.torch.kept_weights import KeptWeights
    from polytrainer.executors.backends.torch.state import TrainState

    watched, state = watch(keep_checkpoints={"best": 1}), TrainState()
    kept = KeptWeights(tmp_path, watched)
    there = []
    for step in range(1, 7):
        state.step = step
        watched.take_note(state, 1.0 / step)
        kept.offer(state, 1.0 / step, lambda: {"w": torch.ones(1)})
        kept.checkpointed(state)
        there.append(sorted(kept._present()))
    # a resumed training may begin at one of the last two checkpoints, or at the one before, if the last was not written
    assert there == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]
