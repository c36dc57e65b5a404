"""A training that is killed and started again ends where it would have ended."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.newest

MODULE = """
    import os, time
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            inputs = {"x": tf.keras.Input((1,), name="x")}
            hidden = tf.keras.layers.Dense(4, activation="tanh")(inputs["x"])
            model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid")(hidden))
            model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
            return model

        def callbacks(self):
            class Slow(tf.keras.callbacks.Callback):
                def on_train_batch_end(self, batch, logs=None):
                    time.sleep(float(os.environ.get("SLOW", 0)))
            return [Slow()]

    run_fn = Mine(label_key="label").run_fn
"""

ESTIMATOR = """
    import os, time
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            return tf.estimator.DNNClassifier([4], [tf.feature_column.numeric_column("x")])

        def input_fn(self, files, *, training, first_step=0):
            batches = super().input_fn(files, training=training, first_step=first_step)
            def slow(x):
                time.sleep(float(os.environ.get("SLOW", 0)) if training else 0)
                return x
            def slowed(features, label):
                x = tf.numpy_function(slow, [features["x"]], tf.float32)
                return {"x": tf.ensure_shape(x, [None, 1])}, label
            return batches.map(slowed)

    run_fn = Mine(label_key="label").run_fn
"""

# what a runner does, in a process of its own: new output folders in the same node, at every try
RUN = """
import json, sys
from pathlib import Path
from tfx.types import standard_artifacts
from polytrainer.executors.generic_executor import GenericExecutor

node, number, properties = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
examples.uri, schema.uri = str(node.parent / "examples"), str(node.parent / "schema")
examples.split_names = '["train", "eval"]'
model, model_run = standard_artifacts.Model(), standard_artifacts.ModelRun()
for key, artifact in (("model", model), ("model_run", model_run)):
    artifact.uri = str(node / key / number)
    Path(artifact.uri).mkdir(parents=True)
print("ready", flush=True)
inputs = {"examples": [examples], "schema": [schema]}
GenericExecutor().Do(inputs, {"model": [model], "model_run": [model_run]}, properties)
"""

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.fixture
def training(node, module_file, tmp_path):
    """Starts tries of one training: `training(number, slow=…, **properties)` returns the running process."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    train_args = {"num_epochs": 30, "batch_size": 3, "seed": 1, "checkpoint_every_n_steps": 2}
    properties = {
        "module_file": module_file(MODULE, "resumed_module"),
        "train_args": json.dumps(train_args),
        "eval_args": "{}",
    }

    def start(number, slow=0.0, **changes):
        command = [
            sys.executable,
            "-c",
            RUN,
            str(tmp_path / "Trainer"),
            str(number),
            json.dumps({**properties, **changes}),
        ]
        environment = {**os.environ, "SLOW": str(slow)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    start.folder = tmp_path / "Trainer"
    return start


def finished(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]
    return output


def checkpoints(training):
    return sorted(training.folder.glob(".checkpoints/*/step-*"))


def estimator_checkpoints(training):
    return sorted(training.folder.glob(".checkpoints/*/estimator/model.ckpt-*.index"))


def wait_for_checkpoint(training, process, found=checkpoints, at_least=1):
    """Until there are some; leaves the process running."""
    deadline = time.monotonic() + 300
    while len(found(training)) < at_least:
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def weights(training, number):
    import numpy as np

    with np.load(training.folder / "model" / str(number) / "Format-Keras" / "weights.npz") as arrays:
        return {name: arrays[name].tolist() for name in arrays.files}


def state(training, number):
    return json.loads((training.folder / "model_run" / str(number) / "trainer_state.json").read_text())


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.exhaustive
def test_killed_at_random_moments_it_ends_with_the_weights_of_one_that_was_not(training):
    assert "resumed" not in finished(training(0))
    number = 1
    for _ in range(3):
        process = training(number, slow=0.03)
        wait_for_checkpoint(training, process)
        time.sleep(random.uniform(0, 0.6))
        kill(process)
        assert not (training.folder / "model" / str(number) / "Format-Serving").exists()
        number += 1
    assert "from step" in finished(training(number))
    assert state(training, number)["step"] == state(training, 0)["step"] == 90
    assert weights(training, number) == weights(training, 0)
    steps = [row["step"] for row in state(training, number)["history"]]
    assert steps == list(range(3, 91, 3))
    assert state(training, number)["history"][-1] == pytest.approx(state(training, 0)["history"][-1])
    assert not (training.folder / ".checkpoints").exists() or not checkpoints(training)


@pytest.mark.exhaustive
def test_sigterm_saves_first(training):
    process = training(0, slow=0.05)
    wait_for_checkpoint(training, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    saved = int(output.partition("it is saved at step ")[2].split(";")[0])
    assert checkpoints(training)[-1].name == f"step-{saved:08}"
    assert f"from step {saved}" in finished(training(1))


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(training):
    process = training(0, slow=0.05)
    wait_for_checkpoint(training, process, at_least=2)
    kill(process)
    older, newer = checkpoints(training)[-2:]
    for file in newer.glob("variables.data*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    (newer.parent / "partial-99").mkdir()
    output = finished(training(1))
    assert "cannot be read" in output
    assert "partial-99 was not finished" in output
    assert f"from step {int(older.name.removeprefix('step-'))}" in output
    finished(training(2))
    assert weights(training, 1) == weights(training, 2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_estimator_too_goes_on_where_it_was(training, module_file, how):
    module = module_file(ESTIMATOR, "resumed_estimator")
    finished(training(0, module_file=module))
    process = training(1, slow=0.05, module_file=module)
    wait_for_checkpoint(training, process, estimator_checkpoints, at_least=3)  # the first is that of step 0
    process.send_signal(how)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    if how == signal.SIGTERM:
        saved = int(output.partition("it is saved at step ")[2].split(";")[0])
        assert any(f"model.ckpt-{saved}." in path.name for path in estimator_checkpoints(training))
    assert "from step" in finished(training(2, module_file=module))
    assert state(training, 2)["step"] == state(training, 0)["step"] == 90
    assert state(training, 2)["metrics"] == pytest.approx(state(training, 0)["metrics"], rel=1e-4)


@pytest.mark.exhaustive
def test_asked_to_it_starts_afresh(training):
    process = training(0, slow=0.05)
    wait_for_checkpoint(training, process)
    kill(process)
    assert "from step" not in finished(training(1, resume=0))
