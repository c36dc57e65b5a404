"""PyTorch models as ONNX, TFLite and TensorFlow.js files: run, compared, refused in time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.line


@pytest.fixture
def trainer():
    """Of a network with ids, so that not all that is quantized are floats."""
    import torch
    from torch import nn

    from polytrainer import TorchTrainer

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.ids = nn.Embedding(3, 8)
            self.layers = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))

        def forward(self, x):
            side = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
            logits = self.layers(torch.cat([x, self.ids(side)], 1))
            return {"logits": logits, "side": side}

    class Mine(TorchTrainer):
        def model_fn(self):
            return Network()

    return Mine("label")


def fit(trainer, small, tmp_path, eval_files="eval", **export_args):
    files = None if eval_files is None else getattr(small, eval_files)
    told = {"schema": small.schema, "output_dir": str(tmp_path / "out"), "batch_size": 32, "seed": 1}
    return trainer.fit(small.train, files, export_args=export_args, num_epochs=2, **told)


def test_onnx_and_tflite_are_written_beside_the_program(trainer, small, tmp_path):
    import onnxruntime
    import torch

    result = fit(trainer, small, tmp_path, formats=["TORCH", "ONNX", "TFLITE"], onnx={"opset": 15})
    assert set(result.parity) == {"torch", "onnx", "tflite"}
    assert max(result.parity.values()) <= 1e-5
    root = tmp_path / "out" / "model"
    session = onnxruntime.InferenceSession(str(root / "Format-ONNX" / "model.onnx"))
    assert [each.name for each in session.get_inputs()] == ["x"]
    assert [each.name for each in session.get_outputs()] == ["logits", "side"]
    features, _ = trainer.sample
    wanted = torch.export.load(root / "Format-Torch" / "model.pt2").module()(features)
    logits, side = session.run(None, {"x": features["x"].numpy()})
    assert abs(logits - wanted["logits"].detach().numpy()).max() <= 1e-5
    assert side.tolist() == wanted["side"].tolist()
    assert (root / "Format-TFLite" / "model.tflite").exists()


def test_tensorflowjs_has_the_programs_names_and_no_parity(trainer, small, tmp_path):
    pytest.importorskip("tensorflowjs")
    result = fit(trainer, small, tmp_path, formats=["TORCH", "TFJS"])
    assert set(result.parity) == {"torch"}
    told = json.loads((tmp_path / "out" / "model" / "Format-TFJS" / "model.json").read_text())["signature"]
    assert list(told["inputs"]) == ["x"]
    assert {name: info["dtype"] for name, info in told["outputs"].items()} == {"logits": "DT_FLOAT", "side": "DT_INT64"}


@pytest.mark.parametrize("quantization", ["dynamic", "float16", "full_integer"])
def test_quantized_files_say_nearly_the_same(trainer, small, tmp_path, quantization):
    told = {"quantization": quantization, "calibration_examples": 20}
    result = fit(trainer, small, tmp_path, formats=["TORCH", "TFLITE"], tflite=told)
    assert 0 < result.parity["tflite"] <= 0.1


def test_without_an_eval_split_examples_are_those_of_the_training(trainer, small, tmp_path):
    result = fit(trainer, small, tmp_path, eval_files=None, formats=["ONNX"])
    assert result.parity["onnx"] <= 1e-5


def test_ragged_features_are_refused_before_training(splits, tmp_path):
    import tensorflow as tf
    from torch import nn

    from polytrainer import TorchTrainer
    from polytrainer.executors.errors import PreflightError

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.bag = nn.EmbeddingBag(5, 2, include_last_offset=True)

        def forward(self, tags):
            return self.bag(tags.values, tags.row_splits)

    class Mine(TorchTrainer):
        def model_fn(self):
            return Bag()

    spec = {"tags": tf.io.VarLenFeature(tf.int64), "label": tf.io.FixedLenFeature([1], tf.int64)}
    files = splits.write(tmp_path / "rows.gz", [{"tags": [i % 5] * (i % 3), "label": [i % 2]} for i in range(9)])
    with pytest.raises(PreflightError, match=r"the feature 'tags': got Ragged; expected a tensor, .* ONNX take"):
        Mine("label", feature_spec=spec).fit(files, export_args={"formats": ["ONNX"]}, output_dir=str(tmp_path / "out"))
    assert not Path(tmp_path / "out" / "model").exists()


def test_what_tensorflow_has_no_operator_for_is_no_tflite_model(trainer, small, tmp_path, monkeypatch):
    import torch

    from polytrainer.executors.errors import PreflightError

    forward = type(trainer).predict_fn

    def predict_fn(self, model, features):
        return torch.linalg.pinv(forward(self, model, features)["logits"].unsqueeze(1)).squeeze(2)

    monkeypatch.setattr(type(trainer), "predict_fn", predict_fn)
    with pytest.raises(PreflightError, match=r"(?s)Nothing was trained: .*TFLITE.*pinv"):
        fit(trainer, small, tmp_path, formats=["TORCH", "TFLITE"])
