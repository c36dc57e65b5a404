"""A comparison of what Trainers of two frameworks have really left."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

from results import TORCH

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


def test_keras_and_torch_on_the_same_rows(comparing, tested_node, module_file, tmp_path):
    told = {}
    for name, source in (("keras", KERAS), ("torch", TORCH)):
        tested_node.run(module_file=module_file(source, f"in_{name}"))
        told[name] = tested_node.told()
        for key, artifact in (("test_results", tested_node.test_results), ("model", tested_node.model)):
            kept = copy.deepcopy(artifact)
            kept.uri = str(tmp_path / f"kept_{name}_{key}")
            shutil.move(artifact.uri, kept.uri)
            Path(artifact.uri).mkdir()
            comparing.inputs[f"{key}_{name}"] = [kept]
    found = comparing.run(task="MULTICLASS", metrics=["accuracy", "log_loss"], slices=[{"features": ["city"]}])
    assert found["rows"] == 23
    assert found["class_names"] == {str(number): word for number, word in enumerate(("low", "mid", "high"))}
    for name, rows in told.items():
        right = [row["predicted_class"] == row["label"] for row in rows]
        assert found["candidates"][name]["metrics"]["accuracy"]["trained"] == sum(right) / len(right)
        assert sum(part["rows"] for part in found["candidates"][name]["slices"]) == 23
    assert (Path(comparing.best_model.uri) / "Format-Serving").is_dir()
    framework = {"keras": "keras", "torch": "pytorch"}[found["best"]]
    assert comparing.best_model.get_string_custom_property("framework") == framework
