"""A Trainer node that dies after its training publishes the same model when it runs again, and trains nothing."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import node_process
import pytest

from polytrainer.executors.errors import TrainingError

MODULE = """
    from torch import nn
    from polytrainer import Features, TorchTrainer

    class Mine(TorchTrainer):
        def model_fn(self):
            features = Features.from_schema(self.schema, exclude=["label"])
            return nn.Sequential(features, nn.Linear(features.out_features, 2))

        def train_step(self, model, batch):
            print("trained a step", flush=True)
            return super().train_step(model, batch)

    run_fn = Mine("label", metrics=["accuracy"]).run_fn
"""
SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.fixture
def torch_node(node, module_file, tmp_path):
    """A node as TFX runs it: each try has output folders of its own, in the folder of the node."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 3, "batch_size": 3, "seed": 1})
    node.exec_properties["eval_args"] = json.dumps({"test_splits": ["test"]})
    node.exec_properties["module_file"] = module_file(MODULE, "dying_module")
    node.folder = tmp_path / "Trainer"

    def begin_try(number):
        for key, [artifact] in node.output_dict.items():
            artifact.uri = str(node.folder / key / str(number))
            Path(artifact.uri).mkdir(parents=True)

    node.begin_try = begin_try
    return node


def published(node):
    """Weights, metrics and curves."""
    from safetensors.numpy import load_file

    weights = load_file(Path(node.model.uri, "Format-Torch/model.safetensors"))
    properties = node.model.mlmd_artifact.custom_properties
    metrics = {name: properties[name].string_value for name in properties if name.startswith("metric.")}
    rows = Path(node.model_run.uri, "logs/metrics.csv").read_text()
    return {name: value.tolist() for name, value in weights.items()}, metrics, rows


def assert_made_up_for(node, capfd):
    """That the next try publishes what a node publishes that nobody killed, and leaves no checkpoint and no lock."""
    node.begin_try(2)
    capfd.readouterr()
    node.run()
    assert "trained a step" not in capfd.readouterr().out
    assert Path(node.model_run.uri, "report.html").exists()
    assert not list(node.folder.glob(".checkpoints/*"))
    after = published(node)
    node.begin_try(3)
    node.run()
    assert "trained a step" in capfd.readouterr().out
    assert after == published(node)


@pytest.mark.parametrize("phase", node_process.PHASES)
def test_sigterm(torch_node, monkeypatch, capfd, phase):
    torch_node.begin_try(1)
    with monkeypatch.context() as context:
        node_process.dies_at(phase, signal.SIGTERM, context.setattr)
        with pytest.raises(TrainingError, match="got SIGTERM; it is saved at step 9"):
            torch_node.run()
    assert_made_up_for(torch_node, capfd)


@pytest.mark.parametrize("phase", node_process.PHASES)
def test_sigkill(torch_node, tmp_path, capfd, phase):
    torch_node.begin_try(1)
    stored = tmp_path / "node.pickle"
    stored.write_bytes(pickle.dumps((torch_node.input_dict, torch_node.output_dict, torch_node.exec_properties)))
    died = subprocess.run([sys.executable, node_process.__file__, str(stored), phase], check=False)
    assert died.returncode == -signal.SIGKILL
    assert_made_up_for(torch_node, capfd)
