"""Models of sequences: recurrent ones and transformers; and what tensors are otherwise sliced and sorted by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize(("kind", "batch_first"), [("LSTM", True), ("GRU", False), ("RNN", True)])
def test_recurrent_networks(check: Callable[..., Any], kind: str, batch_first: bool) -> None:
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            more = {"proj_size": 3} if kind == "LSTM" else {}
            self.first = getattr(nn, kind)(4, 5, batch_first=batch_first)
            self.deep = getattr(nn, kind)(
                5, 6, num_layers=2, bidirectional=True, batch_first=batch_first, bias=batch_first, dropout=0.3, **more
            )

        def forward(self, x: Any) -> Any:
            x = x if batch_first else x.transpose(0, 1)
            return self.deep(self.first(x)[0])

    check(Model(), lambda batch: (torch.randn(batch, 7, 4),))


def test_a_transformer_encoder_with_masks_and_any_length(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu", norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
            self.embedding = nn.Embedding(30, 8)

        def forward(self, tokens: Any) -> Any:
            hidden = tokens == 0
            causal = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
            return self.encoder(self.embedding(tokens), mask=causal, src_key_padding_mask=hidden, is_causal=True)

    def tokens(batch: int) -> Any:
        result = torch.randint(1, 30, (batch, 4 + batch))
        result[0, -2:] = 0
        return (result,)

    check(Encoder(), tokens, dynamic={"tokens": [1]})


def test_multihead_attention(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.MultiheadAttention(8, 2, batch_first=True)
            self.cross = nn.MultiheadAttention(8, 4, kdim=6, vdim=6, batch_first=True, add_bias_kv=True)

        def forward(self, x: Any, memory: Any, hidden: Any) -> Any:
            mixed, weights = self.own(x, x, x, key_padding_mask=hidden)
            return self.cross(mixed, memory, memory, need_weights=False)[0], weights

    def inputs(batch: int) -> Any:
        hidden = torch.zeros(batch, 5, dtype=torch.bool)
        hidden[:, -1] = True
        return torch.randn(batch, 5, 8), torch.randn(batch, 3, 6), hidden

    check(Model(), inputs)


@pytest.mark.parametrize("style", ["bert", "roberta", "distilbert"])
def test_language_models_in_the_manner_of_bert(check: Callable[..., Any], style: str) -> None:
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(12, 12) for _ in range(4))
            self.norms = nn.ModuleList(nn.LayerNorm(12, eps=1e-12) for _ in range(2))
            self.feed = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))

        def forward(self, x: Any, mask: Any) -> Any:
            q, k, v = (p(x).view(*x.shape[:-1], 3, 4).transpose(1, 2) for p in (self.q, self.k, self.v))
            if style == "distilbert":
                scores = torch.matmul(q / 2.0, k.transpose(2, 3)).masked_fill(mask == 0, torch.finfo(x.dtype).min)
                mixed = torch.matmul(scores.softmax(-1), v)
            else:
                bias = (1.0 - mask.to(x.dtype)) * torch.finfo(x.dtype).min
                mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            mixed = mixed.transpose(1, 2).contiguous().view(x.shape)
            x = self.norms[0](x + self.out(mixed))
            return self.norms[1](x + self.feed(x))

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.kinds = (
                nn.Embedding(40, 12, padding_idx=1),
                nn.Embedding(20, 12),
                nn.Embedding(2, 12),
            )
            self.layers = nn.ModuleList(Layer() for _ in range(2))
            self.register_buffer("ids", torch.arange(20).expand(1, -1), persistent=False)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            length = input_ids.shape[1]
            if style == "roberta":
                present = input_ids.ne(1).int()
                place = (torch.cumsum(present, dim=1).type_as(present) * present).long() + 1
            else:
                place = self.ids[:, :length]
            x = self.words(input_ids) + self.places(place) + self.kinds(torch.zeros_like(input_ids))
            mask = attention_mask[:, None, None, :]
            for layer in self.layers:
                x = layer(x, mask)
            return {"last_hidden_state": x, "pooled": x[:, 0].tanh()}

    def inputs(batch: int) -> Any:
        mask = torch.ones(batch, 6 + batch, dtype=torch.long)
        mask[0, -2:] = 0
        return {"input_ids": torch.randint(2, 40, mask.shape) * mask + (1 - mask), "attention_mask": mask}

    check(Bert(), inputs, dynamic={"input_ids": [1], "attention_mask": [1]})


def test_indexing_sorting_and_einsum(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Everything(nn.Module):
        def forward(self, x: Any, index: Any) -> Any:
            values, order = x.topk(3, dim=1)
            rows = torch.arange(x.shape[0])
            return {
                "topk": values,
                "order": order,
                "sorted": x.sort(dim=1, descending=True).values,
                "argsort": x.argsort(dim=-1),
                "running": x.cumsum(1),
                "gathered": x.gather(1, index[:, :, None].expand(-1, -1, 4)),
                "scattered": torch.zeros_like(x).scatter(1, index[:, :, None].expand(-1, -1, 4), x[:, :2]),
                "added": torch.zeros_like(x).scatter_add(1, index[:, :, None].expand(-1, -1, 4), x[:, :2]),
                "picked": x[rows, index[:, 0]],
                "columns": x[:, [0, 2]][..., None, 1:],
                "inner": x[:, index[0], 1:3],
                "put": x.index_put((rows, index[:, 1]), torch.zeros(4)),
                "where": torch.where(x > 0, x, -1.0),
                "masked": x.masked_fill(x < 0, 0.0).amax(dim=(1, 2)),
                "einsum": torch.einsum("bij,bkj->bik", x, x),
                "outer": torch.einsum("bi,bj->bij", x[:, 0], x[:, 1]),
                "flipped": x.flip(1).roll(1, dims=2),
                "spread": x.var(dim=1) + x.std(dim=1, unbiased=False),
                "bilinear": nn.functional.normalize(x, dim=-1).norm(dim=1),
                "fourier": torch.fft.rfft(x, dim=1).abs(),
                "one_hot": nn.functional.one_hot(index, 5),
                "buckets": torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])),
                "distance": torch.cdist(x, x),
            }

    def inputs(batch: int) -> Any:
        return torch.randn(batch, 5, 4), torch.stack([torch.randperm(5)[:2] for _ in range(batch)])

    check(Everything(), inputs)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_networks_of_any_length(check: Callable[..., Any], kind: str) -> None:
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = getattr(nn, kind)(4, 5, num_layers=2, bidirectional=True, batch_first=True)
            self.head = nn.Linear(10, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.network(x)[0][:, -1])

    check(Model(), lambda batch: (torch.randn(batch, 4 + batch, 4),), dynamic={"x": [1]})
