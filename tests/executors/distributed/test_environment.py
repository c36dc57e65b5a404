"""Variables that another job has left in the environment: a node of one process trains and publishes all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.line
CLUSTER = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 1}}
LEFT = {"RANK": "1", "WORLD_SIZE": "2", "PET_NODE_RANK": "1", "TF_CONFIG": json.dumps(CLUSTER)}
BROKEN = {"RANK": "", "WORLD_SIZE": "two", "PET_NODE_RANK": "-", "TF_CONFIG": "{no json"}
SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
MODULES = {
    "keras": """
        import tensorflow as tf
        from polytrainer import KerasTrainer

        class Mine(KerasTrainer):
            def model_fn(self):
                inputs = {"x": tf.keras.Input((1,), name="x")}
                model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid", name="out")(inputs["x"]))
                model.compile(tf.keras.optimizers.SGD(0.1), "binary_crossentropy")
                return model

        run_fn = Mine(label_key="label").run_fn
    """,
    "torch": """
        import torch
        from polytrainer import TorchTrainer

        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(1, 2)

            def forward(self, x):
                return self.layer(x)

        class Mine(TorchTrainer):
            def model_fn(self):
                return Network()

        run_fn = Mine(label_key="label", loss="cross_entropy").run_fn
    """,
    "estimator": """
        import tensorflow as tf
        from polytrainer import EstimatorTrainer

        class Mine(EstimatorTrainer):
            def model_fn(self):
                return tf.estimator.LinearClassifier([tf.feature_column.numeric_column("x")])

        run_fn = Mine(label_key="label").run_fn
    """,
    "plain": """
        def run_fn(fn_args):
            import tensorflow as tf

            module = tf.Module()
            module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None], tf.float32)])
            tf.saved_model.save(module, fn_args.serving_model_dir)
    """,
    "empty": "def run_fn(fn_args): ...",
}


@pytest.fixture
def context(tmp_path):
    """Of an executor that a runner has started: what it writes is published."""
    from tfx.dsl.components.base.base_executor import BaseExecutor

    return BaseExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")


@pytest.fixture
def start(node, module_file, context, monkeypatch):
    """Runs a node of a module in an environment: `start("keras", LEFT)`."""

    def run(kind, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
        node.run(context, module_file=module_file(MODULES[kind], f"left_{kind}"))
        return node

    return run


@pytest.mark.parametrize(
    "variables", [pytest.param(LEFT, id="left"), pytest.param(BROKEN, id="broken", marks=pytest.mark.exhaustive)]
)
@pytest.mark.parametrize("kind", ["keras", "torch", "estimator", "plain"])
def test_one_process_trains_and_publishes(start, kind, variables, caplog):
    node = start(kind, variables)
    assert any(Path(node.model.uri, "Format-Serving").iterdir())
    assert Path(node.model_run.uri, "report.html").exists()
    if kind != "plain":
        assert json.loads(Path(node.model_run.uri, "trainer_state.json").read_text())["step"] == 3
        assert "is ignored: " in caplog.text


def test_a_node_that_writes_nothing_fails(start):
    from polytrainer.executors.errors import TrainingError

    with pytest.raises(TrainingError, match="no model at"):
        start("empty", LEFT)


def test_ranks_that_were_asked_for_and_cannot_be_are_refused_at_once(node, module_file, context, monkeypatch):
    from polytrainer.executors.errors import PreflightError

    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    with pytest.raises(PreflightError, match=r"MASTER_ADDR: got nothing; .*\n?.*Unset it if this process is alone"):
        node.run(
            context,
            module_file=module_file(MODULES["torch"], "left_ranks"),
            train_args=json.dumps({"num_steps": 3, "strategy": "ddp"}),
        )
