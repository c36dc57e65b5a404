"""`fit` of KerasTrainer and EstimatorTrainer: files or tables, `predict`, `base_model`, resume."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polytrainer import EstimatorTrainer, KerasTrainer
from polytrainer.executors.errors import PreflightError

pytestmark = pytest.mark.line
OPTIONS = {"seed": 1, "num_epochs": 2, "batch_size": 8}


class WithKeras(KerasTrainer):
    def model_fn(self):
        import tensorflow as tf

        inputs = {"x": tf.keras.Input((2,), name="x")}
        model = tf.keras.Model(inputs, tf.keras.layers.Dense(2, name="scores")(inputs["x"]))
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        return model


class WithEstimator(EstimatorTrainer):
    def model_fn(self):
        import tensorflow as tf

        return tf.estimator.LinearRegressor([tf.feature_column.numeric_column("x", shape=(2,))])


def table(count, seed=0):
    x = np.random.RandomState(seed).randn(count, 2)
    return {"x": x, "label": (x.sum(1) > 0).astype(int)}


@pytest.fixture(scope="module")
def keras_fit(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    result = WithKeras("label").fit(small.train, small.eval, schema=small.schema, output_dir=str(folder), **OPTIONS)
    return result, folder


def test_a_keras_model_is_trained_on_files_and_predicts_what_is_served(keras_fit, small):
    result, folder = keras_fit
    assert result.framework == "keras"
    assert set(result.metrics) == {"loss", "accuracy"}
    assert result.serving_rows == 41
    assert {path.name for path in (folder / "model").iterdir()} >= {"Format-Serving", "Format-TFMA", "Format-Keras"}
    assert (folder / "test_results").exists()
    assert not list((folder / ".checkpoints").iterdir())
    data = table(5)
    said = result.predict(data)["outputs"]
    assert said.shape == (5, 2)
    as_frame = pd.DataFrame({"x": list(data["x"])})
    np.testing.assert_array_equal(result.predict(as_frame)["outputs"], said)
    assert result.predict(small.eval)["outputs"].shape == (41, 2)


def test_a_keras_model_is_trained_on_tables_from_the_weights_of_an_earlier_fit(keras_fit, capsys):
    result = WithKeras("label").fit(
        pd.DataFrame({**table(16), "x": list(table(16)["x"])}), table(8), base_model=keras_fit[0], **OPTIONS
    )
    assert "starting from" in capsys.readouterr().out
    folder = Path(result.output_dir)
    assert len(result.predict(table(3))["outputs"]) == 3
    del result
    gc.collect()
    assert not folder.exists()


def test_data_that_a_keras_trainer_does_not_take_is_refused():
    import torch

    data = torch.utils.data.TensorDataset(torch.zeros(1))
    expected = (
        r"train_files: got a torch.utils.data.*; expected paths or patterns of files, a pandas DataFrame, or a dict"
    )
    with pytest.raises(PreflightError, match=expected):
        WithKeras("label").fit(data, data, num_steps=1)
    with pytest.raises(PreflightError, match="eval_files: got none; expected data to evaluate the model on"):
        WithKeras("label").fit(table(4), num_steps=1)


def test_an_estimator_is_trained_on_a_table_and_predicts(tmp_path):
    result = WithEstimator("label").fit(table(16), table(8), output_dir=str(tmp_path), **OPTIONS)
    assert result.framework == "estimator"
    assert {"loss", "average_loss"} <= set(result.metrics)
    assert not list((tmp_path / ".checkpoints").iterdir())
    data = table(5)
    [said] = result.predict(data).values()
    assert said.shape == (5, 1)
    again = WithEstimator("label").fit(table(16), table(8), base_model=str(tmp_path), **{**OPTIONS, "num_epochs": 1})
    assert again.steps == 2
