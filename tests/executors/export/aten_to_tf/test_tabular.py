"""Models of rows: what goes in and comes out in any nesting, and the weights."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("one_thread")]

Features = namedtuple("Features", ["numbers", "codes"])


def features(batch: int) -> Any:
    import torch

    return torch.randn(batch, 3), torch.randint(0, 10, (batch,))


def test_an_mlp_with_embeddings(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 4)
            self.layers = nn.Sequential(
                nn.Linear(7, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 2), nn.Softmax(-1)
            )

        def forward(self, numbers: Any, codes: Any) -> Any:
            return self.layers(torch.cat([numbers, self.embedding(codes)], dim=-1))

    converted = check(Mlp(), features)
    assert set(converted.weights) >= {"embedding.weight", "layers.0.weight", "layers.1.running_mean"}


def test_wide_and_deep_from_a_dict_to_a_dict(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class WideAndDeep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.EmbeddingBag(50, 1, mode="sum")
            self.deep = nn.Sequential(nn.Linear(3, 8), nn.SELU(), nn.Linear(8, 1))
            self.codes = nn.Embedding(10, 1)

        def forward(self, features: Any) -> Any:
            crossed = (features["codes"] * 5 + (features["numbers"][:, 0] > 0).long()) % 50
            logits = self.wide(crossed[:, None]) + self.deep(features["numbers"]) + self.codes(features["codes"])
            return {"logits": logits, "probability": torch.sigmoid(logits), "class": (logits > 0).long()}

    check(WideAndDeep(), lambda batch: {"features": dict(zip(("numbers", "codes"), features(batch), strict=True))})


def test_a_deep_and_cross_network(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
            self.head = nn.Linear(12, 1)
            self.deep = nn.Sequential(nn.Linear(6, 6), nn.Mish(), nn.LayerNorm(6))

        def forward(self, *columns: Any) -> Any:
            x0 = x = torch.stack(columns, dim=1)
            for layer in self.layers:
                x = x0 * layer(x) + x
            return self.head(torch.cat([x, self.deep(x0)], dim=1)).squeeze(-1)

    check(Cross(), lambda batch: tuple(torch.randn(batch) for _ in range(6)))


@pytest.mark.parametrize("form", ["tuple", "list", "dict", "dataclass", "namedtuple"])
def test_results_of_any_form(check: Callable[..., Any], form: str) -> None:
    import torch
    from torch import nn

    @dataclass
    class Output:
        first: Any
        nothing: Any = None

    if form == "dataclass":
        torch.export.register_dataclass(Output, serialized_type_name="polytrainer.tests.Output")
    forms: dict[str, Any] = {
        "tuple": lambda x: (x, (x + 1, x.sum(-1))),
        "list": lambda x: [x, x + 1],
        "dict": lambda x: {"b": x, "a": {"c": x + 1}},
        "dataclass": Output,
        "namedtuple": lambda x: Features(x, x + 1),
    }

    class Model(nn.Module):
        def forward(self, x: Any) -> Any:
            return forms[form](x.tanh())

    check(Model(), lambda batch: (torch.randn(batch, 3),))


def test_arguments_of_any_form(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Model(nn.Module):
        def forward(self, features: Any, pair: Any, *, scale: Any, named: Any, skip: Any = None, power: int = 1) -> Any:
            total = features.numbers.sum(-1) + features.codes + pair[0] - pair[1][0]
            total = total if skip is None else total + skip
            return (total * scale * named["b"] - named["a"]) ** power

    def inputs(batch: int) -> Any:
        x = torch.randn(5, batch)
        return {
            "named": {"a": x[3], "b": x[4]},
            "features": Features(*features(batch)),
            "pair": (x[0], [x[1]]),
            "scale": x[2],
            "power": 2,
            "skip": None,
        }

    check(Model(), inputs)


def test_an_argument_of_another_type_is_refused() -> None:
    import torch
    from torch import nn

    from polytrainer.executors.export.aten_to_tf import ConversionError, convert, export

    converted = convert(export(nn.Linear(3, 2), (torch.randn(2, 3),)))
    with pytest.raises(ConversionError, match=r"argument \[0\]\[0\]: got int32 .*expected float32 \(None, 3\)"):
        converted([[1, 2, 3]])
    with pytest.raises(ConversionError, match="a tuple of 2; expected a tuple of 1"):
        converted([[1.0, 2.0, 3.0]], 1)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_weights_keep_their_type(check: Callable[..., Any], dtype: str) -> None:
    import torch
    from torch import nn

    kind = getattr(torch, dtype)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 2)).to(kind)
    tolerance = 1e-9 if dtype == "float64" else 2e-2
    converted = check(model, lambda batch: (torch.randn(batch, 4, dtype=kind),), tolerance=tolerance)
    assert {variable.dtype.name for variable in converted.weights.values()} == {dtype}


def test_tied_weights_are_one_variable(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(20, 4)
            self.head = nn.Linear(4, 20, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, codes: Any) -> Any:
            return self.head(self.embedding(codes)), self.embedding.weight[0] * codes[:, None]

    converted = check(Tied(), lambda batch: (torch.randint(0, 20, (batch,)),))
    assert len({id(variable) for variable in converted.weights.values()}) == 1
    assert len(converted.variables) == 1


def test_in_a_function_that_knows_less_of_the_shapes() -> None:
    import tensorflow as tf
    import torch
    from torch import nn

    from polytrainer.executors.export.aten_to_tf import convert, export

    model = nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1)).eval()
    converted = convert(export(model, (torch.randn(2, 3),)))
    serve = tf.function(
        lambda text: converted(tf.strings.to_number(tf.strings.split(text, ",").to_tensor())),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    wanted = model(torch.tensor([[1.0, 2.0, 3.0]])).detach().numpy()
    assert serve(tf.constant(["1,2,3"])).numpy() == pytest.approx(wanted, abs=1e-6)


def test_numbers_among_the_results() -> None:
    import torch
    from torch import nn

    from polytrainer.executors.export.aten_to_tf import convert, export

    class Model(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + 1, x.shape[0], 2.5

    _, batch, half = convert(export(Model(), (torch.randn(2, 3),)))(torch.zeros(4, 3).numpy())
    assert (int(batch), batch.dtype.name, float(half), half.dtype.name) == (4, "int64", 2.5, "float32")
