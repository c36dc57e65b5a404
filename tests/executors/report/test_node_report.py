"""report.html of a Trainer node, whatever has trained in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.line

MODULES = {
    "keras": """
        import tensorflow as tf
        from polytrainer import KerasTrainer

        class Mine(KerasTrainer):
            def model_fn(self):
                inputs = {"x": tf.keras.Input((2,), name="x")}
                model = tf.keras.Model(inputs, tf.keras.layers.Dense(3, "softmax")(inputs["x"]))
                model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
                return model

        run_fn = Mine("label").run_fn
    """,
    "estimator": """
        import tensorflow as tf
        from polytrainer import EstimatorTrainer

        class Mine(EstimatorTrainer):
            def model_fn(self):
                return tf.estimator.DNNClassifier([8], [tf.feature_column.numeric_column("x", (2,))], n_classes=3)

        run_fn = Mine("label").run_fn
    """,
    "torch": """
        from torch import nn
        from polytrainer import TorchTrainer

        class Linear(nn.Linear):
            def forward(self, x):
                return super().forward(x)

        class Mine(TorchTrainer):
            def model_fn(self):
                return Linear(2, 3)

        run_fn = Mine("label", metrics=["accuracy"]).run_fn
    """,
}


def report(node):
    return Path(node.model_run.uri, "report.html")


@pytest.mark.parametrize("backend", MODULES)
def test_a_trainer_class_leaves_a_page(tested_node, module_file, backend):
    stopping = {"metric": "accuracy", "patience": 5}
    tested_node.exec_properties["train_args"] = json.dumps(
        {"num_epochs": 3, "batch_size": 8, "seed": 1, "early_stopping": stopping}
    )
    tested_node.run(module_file=module_file(MODULES[backend], f"reported_{backend}"))
    html = report(tested_node).read_text()
    assert "could not be made" not in html
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "What ran", "Metrics", "Learning curves", "Test results: test", "Timing", "Configuration", "Where things are",
    ]  # fmt: skip
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert captions[0] == "loss"
    assert "accuracy" in captions
    assert {"Calibration", "ROC curve, each class against the rest (area)"} <= set(captions)
    assert "best step, " in html
    assert "23 rows." in html
    assert tested_node.examples_uri.as_posix() in html
    state = json.loads(Path(tested_node.model_run.uri, "trainer_state.json").read_text())
    assert state["label_key"] == "label"
    phases = {"training", "evaluation", "test", "export"}
    assert phases <= set(state["timings"]) <= phases | {"checkpoints"}
    assert all(seconds > 0 for seconds in state["timings"].values())
    assert sum(state["timings"].values()) <= state["seconds"] + 0.1


@pytest.mark.parametrize("said_in", ["result", "state"])
def test_a_plain_module_gets_a_smaller_page_with_the_results_it_wrote(tested_node, module_file, saves_a_model, said_in):
    source = (
        Path(saves_a_model).read_text()
        + f"""
import json, os, polytrainer
save = run_fn
def run_fn(fn_args):
    save(fn_args)
    with polytrainer.write_test_results(fn_args, "test") as write:
        for number in range(20):
            write({{"x": 1.0}}, prediction=[0.2, 0.5, 0.3], label=number % 3, predicted_class=1)
    if {said_in!r} == "result":
        return polytrainer.TrainResult({{"accuracy": 0.5}}, label_key="label")
    with open(os.path.join(fn_args.model_run_dir, "trainer_state.json"), "w") as file:
        json.dump({{"label_key": "label"}}, file)
    return {{"accuracy": 0.5}}
"""
    )
    tested_node.run(module_file=module_file(source, f"plain_by_{said_in}"))
    html = report(tested_node).read_text()
    assert "Confusion matrix" in html
    assert "Learning curves" not in html


def test_a_page_that_cannot_be_drawn_fails_no_training(node, saves_a_model, monkeypatch, caplog):
    from polytrainer.executors.report import node as node_lib

    monkeypatch.setattr(node_lib, "write_report", lambda run: 1 / 0)
    node.run(module_file=saves_a_model)
    assert "could not be written" in caplog.text
    assert not report(node).exists()
    assert Path(node.model.uri, "Format-Serving").is_dir()


def test_only_the_chief_writes_a_page(node, saves_a_model, monkeypatch):
    from polytrainer.executors.distributed import ranks

    cluster = {"chief": ["a:1"], "worker": ["b:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    with ranks.job():
        node.run(module_file=saves_a_model)
    assert not report(node).exists()


def test_pipeline_run_and_node_are_named():
    from polytrainer.executors.names import names_of

    told = SimpleNamespace(
        pipeline_node=SimpleNamespace(node_info=SimpleNamespace(id="Trainer.keras")),
        pipeline_info=SimpleNamespace(id="penguins"),
        pipeline_run_id="2026-11-20",
    )
    assert names_of(told) == {"pipeline": "penguins", "run": "2026-11-20", "node": "Trainer.keras"}
    assert names_of(None) == {}
