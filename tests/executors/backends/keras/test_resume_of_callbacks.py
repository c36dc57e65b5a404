"""A Keras training that is killed ends with the bits of one that was not, whatever its callbacks remember."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.newest

exhaustive = pytest.mark.exhaustive
CALLBACKS = [
    pytest.param((), marks=exhaustive),
    pytest.param(("plateau",), marks=exhaustive),
    pytest.param(("plateau of loss", "csv"), marks=exhaustive),
    ("early",),
    pytest.param(("schedule", "plateau"), marks=exhaustive),
    ("noise", "own state"),
    pytest.param(("ema",), marks=exhaustive),
]
ONLY_KERAS_3 = [("ema", "swap ema"), ("ema", "swap ema each epoch")]


def needs_keras_3():
    import tensorflow as tf

    if not hasattr(tf.keras.callbacks, "SwapEMAWeights"):
        pytest.skip("a callback of Keras 3")


@pytest.mark.parametrize("callbacks", [*CALLBACKS, *ONLY_KERAS_3], ids=" + ".join)
def test_killed_in_an_epoch_and_at_the_end_of_one_it_ends_bit_equal(keras_runs, callbacks):
    if callbacks in ONLY_KERAS_3:
        needs_keras_3()
    train_args = {"checkpoint_every_n_steps": 2}
    whole = keras_runs("whole", callbacks, train_args).run()
    assert whole.status == 0, whole.log[-3000:]
    runs = keras_runs("killed", callbacks, train_args)
    assert runs.run(("step", 6, "SIGKILL")).status  # in the middle of the second epoch; saved at step 4
    assert runs.run(("epoch end", 2, "SIGKILL")).status  # at the end of the third; saved at step 8
    resumed = runs.run()
    assert resumed.status == 0, resumed.log[-3000:]
    assert resumed.state["resumed_from"] == 8
    assert resumed.weights == whole.weights
    assert resumed.state["history"] == whole.state["history"]
    assert resumed.state["metrics"] == whole.state["metrics"]
