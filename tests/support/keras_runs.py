"""Runs of a node that trains a Keras model, in processes of their own which take no time to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# a callback of each kind whose state changes a training, in a model that draws random numbers
KERAS_MODULE = """
    import os
    import random
    import numpy as np
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Noise(tf.keras.callbacks.Callback):
        # moves weights by what it remembers, and by all the random numbers there are
        def __init__(self):
            super().__init__()
            self.random, self.seen, self.mean = np.random.RandomState(1), [], np.zeros(3)
            self._scale = 1.0

        def on_train_begin(self, logs=None):
            self.seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(batch)
            self._scale *= 0.99
            self.mean += logs["loss"]
            drawn = random.random() + np.random.rand() + self.random.rand() + float(tf.random.uniform(()))
            kernel = self.model.trainable_variables[0]
            kernel.assign(kernel + 1e-3 * self._scale * (drawn + self.mean[0] + sum(self.seen)))

    class OwnState(tf.keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.inner = (lambda: None)  # nothing that could be kept
            self.inner.count = 0

        def on_epoch_end(self, epoch, logs=None):
            self.inner.count += 1
            self.model.optimizer.learning_rate.assign(0.01 / self.inner.count)

        def get_state(self):
            return {"count": self.inner.count}

        def set_state(self, state):
            self.inner.count = state["count"]

    class Mine(KerasTrainer):
        def model_fn(self):
            config = self.fn_args.custom_config
            inputs = {"x": tf.keras.Input((1,), name="x")}
            hidden = tf.keras.layers.Dense(int(os.environ.get("WIDTH", 8)), activation="tanh")(inputs["x"])
            hidden = tf.keras.layers.BatchNormalization()(tf.keras.layers.Dropout(0.3)(hidden))
            hidden = tf.keras.layers.GaussianNoise(0.1)(hidden)
            model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid")(hidden))
            ema = {"use_ema": True, "ema_momentum": 0.9} if "ema" in config["callbacks"] else {}
            kind = getattr(tf.keras.optimizers, os.environ.get("OPTIMIZER", "Adam"))
            optimizer = kind(float(os.environ.get("RATE", 0.01)), **ema)
            loss = os.environ.get("LOSS", "binary_crossentropy")
            model.compile(optimizer, loss, metrics=["accuracy", tf.keras.metrics.AUC(name="auc")])
            return model

        def callbacks(self):
            keras = tf.keras.callbacks
            made = {
                "plateau": lambda: keras.ReduceLROnPlateau("val_loss", 0.7, patience=1, min_delta=0.01, cooldown=1),
                "plateau of loss": lambda: keras.ReduceLROnPlateau("loss", 0.7, patience=1, min_delta=0.05),
                "early": lambda: keras.EarlyStopping(
                    "val_loss", patience=2, min_delta=0.05, restore_best_weights=True
                ),
                "schedule": lambda: keras.LearningRateScheduler(lambda epoch, rate: rate * 0.8),
                "noise": Noise,
                "own state": OwnState,
                "swap ema": lambda: keras.SwapEMAWeights(),
                "swap ema each epoch": lambda: keras.SwapEMAWeights(swap_on_epoch=True),
                "csv": lambda: keras.CSVLogger(self.fn_args.model_run_dir + "/log.csv"),
                "ema": keras.Callback,
            }
            names = [*self.fn_args.custom_config["callbacks"], *os.environ.get("MORE", "").split()]
            return [made[name]() for name in names]

    run_fn = Mine(label_key="label").run_fn
"""
KERAS_SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


class KerasRuns:
    """Tries of one node after the other, each with new output folders."""

    def __init__(self, nursery: subprocess.Popen[str], folder: Path, properties: dict[str, Any]):
        self._nursery, self._properties, self._count = nursery, properties, 0
        self.folder = folder

    def run(
        self, die: tuple[str, int, str] | None = None, env: dict[str, str] | None = None, **changes: Any
    ) -> SimpleNamespace:
        """Runs the node once.

        Args:
            die: In which phase, at which time that it begins, with which signal (or "failure") it is interrupted.
            env: Environment variables, which no fingerprint knows.
            **changes: Execution properties.

        Returns:
            `status`, `log`, `state` (trainer_state.json) and `weights` by name; None where there is none.
        """
        number, self._count = self._count, self._count + 1
        self.folder.mkdir(exist_ok=True)
        log = self.folder / f"{number}.log"
        told = {
            "log": str(log),
            "node": str(self.folder),
            "number": number,
            "properties": {**self._properties, **changes},
            "die": die,
            "env": env or {},
        }
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(told) + "\n")
        status = int(self._nursery.stdout.readline())
        return SimpleNamespace(
            status=status,
            log=log.read_text(),
            state=self._state(number),
            weights=self._weights(number),
            model=self.folder / "model" / str(number),
            model_run=self.folder / "model_run" / str(number),
            test_results=self.folder / "test_results" / str(number),
        )

    def checkpoints(self) -> list[Path]:
        """Folders of its checkpoints, oldest first."""
        return sorted(self.folder.glob(".checkpoints/*/step-*"))

    def _state(self, number: int) -> Any:
        path = self.folder / "model_run" / str(number) / "trainer_state.json"
        return json.loads(path.read_text()) if path.exists() else None

    def _weights(self, number: int) -> Any:
        import numpy as np

        path = self.folder / "model" / str(number) / "Format-Keras" / "weights.npz"
        if not path.exists():
            return None
        with np.load(path) as arrays:
            return {name: arrays[name].tolist() for name in arrays.files}


@pytest.fixture(scope="session")
def keras_nursery() -> Iterator[subprocess.Popen[str]]:
    """The process that forks runs."""
    command = [sys.executable, str(Path(__file__).with_name("keras_nursery.py"))]
    # TensorFlow Transform sets it when it is imported: tf.keras is then Keras 2 in every process that is started later
    env = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.communicate()


@pytest.fixture
def keras_runs(
    keras_nursery: subprocess.Popen[str], node: Any, module_file: Callable[..., str], tmp_path: Path
) -> Callable[..., KerasRuns]:
    """Nodes that train the model above: `keras_runs("name", callbacks=[…], **properties)`, 5 epochs of 3 batches."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": KERAS_SCHEMA})
    module = module_file(KERAS_MODULE, "keras_runs_module")

    def make(name: str, callbacks: tuple[str, ...] = (), train_args: Any = None, **properties: Any) -> KerasRuns:
        trains = {"num_epochs": 5, "batch_size": 3, "seed": 1, **(train_args or {})}
        told = {
            "module_file": module,
            "train_args": json.dumps(trains),
            "eval_args": json.dumps({"test_splits": ["test"], "batch_size": 1}),
            "custom_config": json.dumps({"callbacks": callbacks}),
            **properties,
        }
        return KerasRuns(keras_nursery, tmp_path / name, told)

    return make
