"""Which weights are kept: the newest and the best, and those that a checkpoint may still speak of."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.newest


def checkpoints(folder, **keeping):
    from polytrainer.executors.backends.torch.top_k_checkpoints import TopKCheckpoints
    from polytrainer.executors.monitors import ModelSelection
    from polytrainer.proto.trainer_pb2 import TrainArgs

    train_args = TrainArgs(keep_checkpoints=keeping)
    selection = ModelSelection.from_args(train_args)
    return selection, TopKCheckpoints(folder, selection, train_args.keep_checkpoints)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.integers(0, 20), min_size=1, max_size=15),
    best=st.integers(0, 3),
    last=st.integers(0, 3),
)
def test_the_newest_and_the_best_are_there_whatever_their_order(tmp_path_factory, values, best, last):
    import torch
    from safetensors.torch import load_file

    from polytrainer.executors.backends.torch.state import TrainState

    folder = tmp_path_factory.mktemp("kept")
    (selection, kept), state = checkpoints(folder, best=best, last=last), TrainState()
    for step, loss in enumerate(values, 1):
        state.step = step
        value = selection.update(state, {"loss": float(loss)})
        kept.maybe_save(state, value, lambda step=step: {"w": torch.tensor([float(step)])})
        kept.checkpointed(state)
    ordered = sorted(range(1, len(values) + 1), key=lambda step: (values[step - 1], step))
    newest = list(range(1, len(values) + 1))[::-1][:last]
    assert set(state.kept) == {*ordered[:best], *newest}
    for step in state.kept:
        assert load_file(kept.path(step))["w"].item() == step
    kept.publish(state, str(folder / "published"))
    assert {path.name for path in (folder / "published").glob("*")} == {kept.path(step).name for step in state.kept}


def test_weights_that_an_older_checkpoint_refers_to_are_still_there(tmp_path):
    import torch

    from polytrainer.executors.backends.torch.state import TrainState

    (selection, kept), state = checkpoints(tmp_path, best=1), TrainState()
    there = []
    for step in range(1, 7):
        state.step = step
        kept.maybe_save(state, selection.update(state, {"loss": 1.0 / step}), lambda: {"w": torch.ones(1)})
        kept.checkpointed(state)
        there.append(sorted(kept._present()))
    # a resumed training may begin at one of the last two checkpoints, or at the one before, if the last was not written
    assert there == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]


def test_weights_of_an_evaluation_that_is_not_finite_are_not_kept_in_place_of_finite_ones(tmp_path):
    import math

    import torch

    from polytrainer.executors.backends.torch.state import TrainState

    (selection, kept), state = checkpoints(tmp_path, best=2), TrainState()
    for step, loss in enumerate([math.nan, 0.5, 0.4, math.nan, 0.6], 1):
        state.step = step
        kept.maybe_save(state, selection.update(state, {"loss": loss}), lambda: {"w": torch.ones(1)})
    assert sorted(state.kept) == [2, 3]


def test_a_resumed_training_goes_on_without_weights_that_are_gone_or_damaged(tmp_path, caplog):
    import torch

    from polytrainer.executors.backends.torch.state import TrainState

    (selection, kept), state = checkpoints(tmp_path, best=3), TrainState()
    for step, loss in enumerate([0.3, 0.1, 0.2], 1):
        state.step = step
        kept.maybe_save(state, selection.update(state, {"loss": loss}), lambda: {"w": torch.ones(100)})
    kept.path(1).unlink()
    kept.path(2).write_bytes(kept.path(2).read_bytes()[:-7])
    kept.forget_missing(state)
    assert "kept weights of the steps [1, 2] are gone" in caplog.text
    assert state.kept == {3: 0.2}
    assert (state.best, state.best_step) == (0.2, 3)
    kept.path(3).write_bytes(b"")
    kept.forget_missing(state)
    assert (state.kept, state.best) == ({}, None)
