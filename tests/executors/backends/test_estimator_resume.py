"""EstimatorTrainer: a training that dies in any phase ends, when started again, as the one that never died."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.newest

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""

MODULE = """
    import os, signal
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    PLACE, _, SIGNAL = os.environ.get("DIE", "").partition(":")

    def die(phase):
        if phase == PLACE and SIGNAL == "FAIL":
            raise OSError("no room left")
        if phase == PLACE:
            os.kill(os.getpid(), getattr(signal, SIGNAL))

    class Mine(EstimatorTrainer):
        def model_fn(self):
            adam = tf.keras.optimizers.legacy.Adam(0.1)
            if os.environ.get("OPTIMIZER"):
                adam = tf.keras.optimizers.legacy.SGD(0.1)
            hidden = [int(os.environ.get("HIDDEN", 4))]
            return tf.estimator.DNNClassifier(hidden, [tf.feature_column.numeric_column("x")], optimizer=adam)

        def input_fn(self, files, *, training, first_step=0):
            batches = super().input_fn(files, training=training, first_step=first_step)
            phase = "step" if training else self.evaluation_of(files)
            def pass_on(number, x):
                if phase != "step" or first_step + number == 2:
                    die(phase)
                return x
            def watched(number, batch):
                x = tf.numpy_function(pass_on, [number, batch[0]["x"]], tf.float32)
                return {"x": tf.ensure_shape(x, [None, 1])}, batch[1]
            return batches.enumerate().map(watched)

        def evaluation_of(self, files):
            if "Split-test" in files[0]:
                return "test"
            newest = tf.train.latest_checkpoint(os.path.join(self.fn_args.checkpoint_dir, "estimator")) or "-0"
            return "evaluation" if int(newest.rpartition("-")[2]) < 9 else "last evaluation"

        def save(self, estimator):
            parity = super().save(estimator)
            die("export")
            return parity

    run_fn = Mine(label_key="label").run_fn
"""
STEPS = 9  # 3 epochs of 3
PHASES = ("step", "evaluation", "last evaluation", "test", "export", "verify", "report")


@pytest.fixture(scope="session")
def server():
    """The process that forks nodes."""
    script = str(Path(__file__).parents[2] / "support" / "forked_nodes.py")
    process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.communicate()


class Training:
    """One training in a folder of its own, and its tries."""

    def __init__(self, server, folder, properties):
        self.folder, self.output = folder, ""
        self._server, self._properties, self._count = server, properties, 0

    def run(self, die="", resume=None, **env):
        """Runs a try; returns its exit status."""
        self._count += 1
        log = self.folder.parent / f"{self.folder.name}-{self._count}.log"
        told = {
            "folder": str(self.folder),
            "number": str(self._count),
            "properties": {**self._properties, **({} if resume is None else {"resume": resume})},
            "env": {"DIE": die, **env},
            "log": str(log),
        }
        self._server.stdin.write(json.dumps(told) + "\n")
        self._server.stdin.flush()
        status = int(self._server.stdout.readline())
        self.output = log.read_text()
        return status

    def finish(self, resume=None, **env):
        """Runs a try that succeeds; returns its trainer_state.json."""
        assert self.run(resume=resume, **env) == 0, self.output[-3000:]
        return json.loads((self.folder / "model_run" / str(self._count) / "trainer_state.json").read_text())

    def weights(self):
        """All of the published model of the last try."""
        import tensorflow as tf

        path = self.folder / "model" / str(self._count) / "Format-Serving" / "variables" / "variables"
        reader = tf.train.load_checkpoint(str(path))
        return {name: reader.get_tensor(name).tolist() for name in reader.get_variable_to_shape_map()}


@pytest.fixture
def training(node, module_file, server, tmp_path):
    """`training(name, **train_args)` is one training."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    module = module_file(MODULE, "dying_module")

    def make(name, **train_args):
        stopping = {"metric": "loss", "patience": 10}
        args = {"num_epochs": 3, "batch_size": 3, "seed": 1, "checkpoint_every_n_steps": 2, "early_stopping": stopping}
        properties = {
            "module_file": module,
            "train_args": json.dumps({**args, **train_args}),
            "eval_args": json.dumps({"test_splits": ["test"]}),
        }
        # examples and schema are beside the folder
        return Training(server, tmp_path / name, properties)

    return make


@pytest.mark.parametrize("signal", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.exhaustive)])
def test_killed_in_every_phase_it_ends_as_one_that_was_not(training, signal):
    whole, killed = training("whole"), training("killed")
    expected = whole.finish()
    for phase in PHASES:
        status = killed.run(die=f"{phase}:{signal}")
        if signal == "SIGKILL":
            assert status == -9, killed.output[-3000:]
        else:
            assert status == 1, killed.output[-3000:]
            assert "SIGTERM; it is saved at step" in killed.output
    state = killed.finish()
    assert state["resumed_from"] == STEPS
    assert state["history"] == expected["history"]
    assert [row["step"] for row in state["history"]] == [3, 6, 9]
    assert state["metrics"] == expected["metrics"]
    assert killed.weights() == whole.weights()
    assert not list(killed.folder.glob(".checkpoints/*"))


def test_a_failing_export_is_made_again_and_nothing_is_trained_again(training):
    failing = training("failing", num_steps=STEPS, num_epochs=0)
    assert failing.run(die="export:FAIL") == 1
    assert "no room left" in failing.output
    state = failing.finish(die="step:SIGKILL")  # at a training step
    assert state["resumed_from"] == state["step"] == STEPS


def test_a_checkpoint_of_another_model_is_refused_with_the_remedy(training):
    edited = training("edited")
    assert edited.run(die="last evaluation:SIGKILL") == -9
    for changed, difference in (
        ({"HIDDEN": "8"}, "dnn/hiddenlayer_0/kernel [1, 4] → [1, 8]"),
        ({"OPTIMIZER": "SGD"}, "training/Adam/beta_1 [] → none"),
    ):
        assert edited.run(**changed) == 1
        assert "PreflightError: Nothing was trained: the checkpoint of step 9" in edited.output
        assert difference in edited.output
        assert "Trainer(resume=False) starts afresh" in edited.output
    assert edited.finish(resume=0, HIDDEN="8")["resumed_from"] is None
