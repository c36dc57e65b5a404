"""Artifacts wherever they are: in folders with characters that are special in patterns, on other file systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from results import TORCH

pytestmark = pytest.mark.line

SPECIAL = "a[1] *?{b}"
KERAS = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            inputs = {"x": tf.keras.Input((2,), name="x")}
            model = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(inputs["x"]))
            model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            return model

    run_fn = Mine(label_key="label").run_fn
"""
ESTIMATOR = """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            return tf.estimator.DNNClassifier([4], [tf.feature_column.numeric_column("x", (2,))], n_classes=3)

    run_fn = Mine(label_key="label").run_fn
"""
MODULES = {"torch": TORCH, "keras": KERAS, "estimator": ESTIMATOR}


def move(node, root):
    """Moves all artifacts of a node to another place; those to write get empty folders, as TFX makes them."""
    from tensorflow.io import gfile

    from polytrainer.executors.export.loadable import copy

    for artifacts in (node.input_dict, node.output_dict):
        for key, [artifact] in artifacts.items():
            uri = f"{root}/Trainer/{key}/1"
            copy(artifact.uri, uri)
            gfile.makedirs(uri)
            artifact.uri = uri


def names(uri):
    """Paths of the files of an artifact, as they are called inside of it."""
    from tensorflow.io import gfile

    pending, found = [""], []
    while pending:
        inside = pending.pop()
        for name in gfile.listdir(os.path.join(uri, inside)):
            path = os.path.join(inside, name.rstrip("/"))
            (pending if gfile.isdir(os.path.join(uri, path)) else found).append(path)
    return found


@pytest.mark.parametrize(
    ("place", "backend"),
    [
        (SPECIAL, "torch"),
        ("file://", "estimator"),
        ("ram://", "torch"),
        pytest.param(SPECIAL, "keras", marks=pytest.mark.exhaustive),
        pytest.param("file://", "torch", marks=pytest.mark.exhaustive),
        pytest.param("file://", "keras", marks=pytest.mark.exhaustive),
        pytest.param("ram://", "keras", marks=pytest.mark.exhaustive),
    ],
)
def test_a_trainer_writes_there_what_it_writes_elsewhere(
    tested_node, module_file, tmp_path, monkeypatch, place, backend
):
    working_dir = tmp_path / "working_dir"
    working_dir.mkdir()
    monkeypatch.chdir(working_dir)
    root = {"file://": f"file://{tmp_path}/f", "ram://": f"ram://{backend}"}.get(place, str(tmp_path / place))
    move(tested_node, root)
    tested_node.run(module_file=module_file(MODULES[backend], "moved"))
    assert tested_node.test_results.splits == ["test"]
    assert names(tested_node.test_results.path(split="test")) == ["test_results-00000-of-00001.gz"]
    assert "Format-Serving/saved_model.pb" in names(tested_node.model.uri)
    logs = names(tested_node.model_run.uri)
    assert any(name.startswith("logs/") and "events.out.tfevents" in name for name in logs)
    assert {"report.html", "trainer_state.json"} <= set(logs)
    assert not any("ckpt" in name for name in logs)
    assert list(working_dir.iterdir()) == []


def test_a_run_fn_of_ones_own_is_called_and_its_model_is_loaded_again(node, saves_a_model, tmp_path):
    move(node, str(tmp_path / SPECIAL))
    node.run(module_file=saves_a_model)
    assert node.model.get_string_custom_property("signatures") == "serving_default"


def test_files_are_those_of_the_folder_that_a_pattern_names(tmp_path):
    from polytrainer.executors.data.files import data_files

    for folder in ("a[1]", "a1"):
        (tmp_path / folder).mkdir()
        for name in ("b.gz", "a.gz", "_SUCCESS", ".a.gz.crc"):
            (tmp_path / folder / name).touch()
    special, plain = tmp_path / "a[1]", tmp_path / "a1"
    assert data_files([f"{special}/*"]) == [f"{special}/a.gz", f"{special}/b.gz"]
    assert data_files([f"{special}/b.gz"]) == [f"{special}/b.gz"]
    assert data_files([f"{tmp_path}/a?/b*"]) == [f"{plain}/b.gz"]
    assert data_files([f"{plain}/*"] * 2) == sorted([f"{plain}/a.gz", f"{plain}/b.gz"] * 2)
    assert data_files([str(Path(tmp_path, "none", "*"))]) == []
