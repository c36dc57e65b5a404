"""PyTorch modules of a dict of tensors → ONNX, run on ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.newest

AXES = {"ids.values": {0: "batch", 1: "length"}}


@pytest.fixture
def features():
    import torch

    torch.manual_seed(0)
    return {
        "ids.values": torch.randint(0, 50, (4, 7)),
        "numbers": torch.randn(4, 3),
        "unused": torch.zeros(4, 1),
    }


def module(returns):
    """Embeddings of ids beside numbers; what it returns is up to a function of logits and states."""
    import torch
    from torch import nn

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.last, self.drop = nn.Embedding(50, 8), nn.Linear(8 + 3, 2), nn.Dropout(0.5)

        def forward(self, features):
            states = self.drop(self.table(features["ids.values"]))
            return returns(self.last(torch.cat([states.mean(1), features["numbers"]], 1)), states)

    return Small()


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


RETURNS = {
    "a tensor": (lambda logits, states: logits, ["outputs"]),
    "a tuple": (lambda logits, states: (logits, logits.argmax(-1)), ["outputs_0", "outputs_1"]),
    "a nested dict": (
        lambda logits, states: {"p": logits.softmax(-1), "all": [states, None]},
        ["p", "all_0"],
    ),
}


@pytest.mark.parametrize("kind", RETURNS)
def test_a_file_takes_any_batch_and_length_and_says_the_same(kind, features, tmp_path):
    import torch

    from polytrainer.executors.backends.torch.onnx_file import export_onnx
    from polytrainer.executors.export.signatures import named_outputs

    returns, outputs = RETURNS[kind]
    model = module(returns)
    export_onnx(model, features, outputs, str(tmp_path / "model.onnx"), 17, AXES)
    assert model.training
    assert model.drop.training
    ran = session(tmp_path / "model.onnx")
    assert {each.name: (each.shape, each.type) for each in ran.get_inputs()} == {
        "ids.values": (["batch", "length"], "tensor(int64)"),
        "numbers": (["batch", 3], "tensor(float)"),
    }
    assert [each.name for each in ran.get_outputs()] == outputs
    assert {each.shape[0] for each in ran.get_outputs()} == {"batch"}
    model.eval()
    for batch, length in ((1, 1), (1, 9), (6, 3)):
        given = {"ids.values": torch.randint(0, 50, (batch, length)), "numbers": torch.randn(batch, 3)}
        with torch.no_grad():
            wanted = named_outputs(model(given))
        got = ran.run(outputs, {name: value.numpy() for name, value in given.items()})
        for name, array in zip(outputs, got, strict=True):
            assert array == pytest.approx(wanted[name].numpy(), abs=1e-6)


@pytest.mark.parametrize("opset", [13, 18])
def test_a_file_has_the_operator_set_that_was_asked_for(opset, features, tmp_path):
    import onnx

    from polytrainer.executors.backends.torch.onnx_file import export_onnx

    export_onnx(module(lambda logits, _: logits), features, ["outputs"], str(tmp_path / "model.onnx"), opset)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {each.domain: each.version for each in model.opset_import}[""] == opset
    shape = session(tmp_path / "model.onnx").get_inputs()[0].shape
    assert shape == ["batch", 7]


def test_what_is_published_takes_all_features(features, tmp_path):
    from polytrainer.executors.backends.torch.onnx_file import export_onnx
    from polytrainer.executors.export.formats import onnx

    path = str(tmp_path / "model.onnx")
    export_onnx(module(lambda logits, _: logits), features, ["outputs"], path, 17, AXES)
    arrays = {name: value.numpy() for name, value in features.items()}
    onnx.finish(path, arrays)
    assert {each.name: each.shape for each in session(path).get_inputs()} == {
        "ids.values": ["batch", "length"],
        "numbers": ["batch", 3],
        "unused": ["batch", 1],
    }
    [found] = onnx.run(path, [arrays])
    assert found["outputs"].shape == (4, 2)


@pytest.mark.parametrize("name", ["Bert", "DistilBert", "Roberta"])
def test_encoders_of_the_field_take_any_length(name, tmp_path):
    import torch
    import transformers
    from torch import nn

    from polytrainer.executors.backends.torch.onnx_file import export_onnx

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            own = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
            usual = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
            config = getattr(transformers, f"{name}Config")(**own if name == "DistilBert" else usual, vocab_size=50)
            self.encoder = getattr(transformers, f"{name}ForSequenceClassification")(config)

        def forward(self, features):
            return self.encoder(input_ids=features["ids"], attention_mask=features["mask"]).logits

    def batch(count, length):
        mask = torch.ones(count, length, dtype=torch.int64)
        mask[0, length - 1 :] = 0
        return {"ids": torch.randint(3, 50, (count, length)), "mask": mask}

    torch.manual_seed(0)
    model, path = Classifier().eval(), str(tmp_path / "model.onnx")
    axes = {feature: {0: "batch", 1: "length"} for feature in ("ids", "mask")}
    export_onnx(model, batch(4, 7), ["outputs"], path, 17, axes)
    ran = session(path)
    for count, length in ((1, 3), (6, 20)):
        given = batch(count, length)
        with torch.no_grad():
            wanted = model(given).numpy()
        [got] = ran.run(["outputs"], {feature: value.numpy() for feature, value in given.items()})
        assert got == pytest.approx(wanted, abs=1e-5)
        assert np.isfinite(got).all()
