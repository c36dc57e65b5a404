"""Two processes on this machine that train one model, and only the chief writes it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from results import read

pytestmark = pytest.mark.line

MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            inputs = {"x": tf.keras.Input((1,), name="x")}
            out = tf.keras.layers.Dense(1, activation="sigmoid", name="out")(inputs["x"])
            model = tf.keras.Model(inputs, out)
            model.compile(tf.keras.optimizers.SGD(0.1), "binary_crossentropy")
            return model

    run_fn = Mine(label_key="label").run_fn
"""

RUN = """
import json, sys
from pathlib import Path
from tfx.types import standard_artifacts

from polytrainer import TestResults
from polytrainer.executors.generic_executor import GenericExecutor

root, output, properties = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
examples.uri, schema.uri = str(root / "examples"), str(root / "schema")
examples.split_names = '["train", "eval"]'
model, model_run = standard_artifacts.Model(), standard_artifacts.ModelRun()
model.uri, model_run.uri = str(output / "model" / "1"), str(output / "model_run" / "1")
results = TestResults()
results.uri = str(output / "test_results")
inputs = {"examples": [examples], "schema": [schema]}
outputs = {"model": [model], "model_run": [model_run], "test_results": [results]}
GenericExecutor().Do(inputs, outputs, properties)
"""

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(root, output, properties, tf_config=None):
    environment = {**os.environ, "TF_CONFIG": json.dumps(tf_config or {})}
    command = [sys.executable, "-c", RUN, str(root), str(output), json.dumps(properties)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def weights(output):
    import numpy as np

    with np.load(output / "model" / "1" / "Format-Keras" / "weights.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_two_workers_train_what_one_process_trains(node, module_file, tmp_path):
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    train_args = {"num_epochs": 3, "batch_size": 8, "seed": 1}
    properties = {"module_file": module_file(MODULE, "distributed_module"), "eval_args": "{}"}
    alone = start(tmp_path, tmp_path / "alone", {**properties, "train_args": json.dumps(train_args)})
    output, _ = alone.communicate(timeout=300)
    assert alone.returncode == 0, output[-3000:]

    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    properties["train_args"] = json.dumps({**train_args, "strategy": "multi_worker_mirrored"})
    workers = [
        start(
            tmp_path,
            tmp_path / f"worker{index}",
            properties,
            {"cluster": cluster, "task": {"type": "worker", "index": index}},
        )
        for index in range(2)
    ]
    for worker in workers:
        output, _ = worker.communicate(timeout=300)
        assert worker.returncode == 0, output[-4000:]
    assert (tmp_path / "worker0" / "model" / "1" / "Format-Serving" / "saved_model.pb").exists()
    assert [path for path in (tmp_path / "worker1").rglob("*") if path.is_file()] == []  # only the chief writes
    together, by_itself = weights(tmp_path / "worker0"), weights(tmp_path / "alone")
    assert all(abs(together[name] - by_itself[name]).max() < 1e-5 for name in by_itself)

    # of the test results, too, the chief writes all
    told, expected = (list(read(tmp_path / each / "test_results/Split-eval/*")) for each in ("worker0", "alone"))
    assert [(row["x"], row["label"]) for row in told] == [(row["x"], row["label"]) for row in expected]
    assert [row["prediction"][0] for row in told] == pytest.approx([row["prediction"][0] for row in expected], abs=1e-5)
    assert len(told) == 4
