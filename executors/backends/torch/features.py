"""Features of a table → the one tensor that a model's first layer takes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polytrainer.executors.backends.torch.feature_inputs import Input, check_known, describe
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2


def embedding_size(vocabulary_size: int) -> int:
    """Numbers by which a word of a vocabulary is described: `min(50, round(1.6 * n ** 0.56))`.

    fastai's rule of thumb (`emb_sz_rule` in `fastai/tabular/model.py`), but with an upper bound of 50 instead of 600:
    the tables of a model that is retrained again and again stay small.
    """
    return min(50, round(1.6 * math.pow(vocabulary_size, 0.56)))


class Features(nn.Module):  # type: ignore[misc]
    """The first layer of a model of a table: embeds ids, and concatenates them with numbers.

    ```
    def model_fn(self):
        features = Features(self.feature_spec, exclude=[self.label_key], vocabulary_sizes={"city": 100})
        return nn.Sequential(features, nn.Linear(features.out_features, 64), nn.ReLU(), nn.Linear(64, 3))
    ```

    Ids that are not known (negative, as Transform gives them for a word that is not in the vocabulary, or too large)
    share a row of their own, the last of each table. A ragged feature's ids are embedded and averaged; none of them
    are all zeros.

    Attributes:
        out_features: Numbers per example that come out.
        names: The features that it takes, and the masks, in the order in which they come out.
    """

    def __init__(
        self,
        features: Mapping[str, Any] | schema_pb2.Schema,
        *,
        embedding_dim: int | Mapping[str, int] | None = None,
        exclude: Collection[str] = (),
        vocabulary_sizes: Mapping[str, int] | None = None,
        numeric: Collection[str] = (),
        masks: Collection[str] = (),
    ):
        """Makes the embeddings.

        Args:
            features: A feature spec; a schema; or, by name, how many values an example has, None for any number
                (ids only): those with a vocabulary size are ids, the others are numbers.
            embedding_dim: Numbers per id, for all features or by name. Where it does not say: `embedding_size`.
            exclude: Features that are left out, the label among them.
            vocabulary_sizes: Ids of integer features (from 0 up), by name. Where it does not say: the schema's
                int_domain, whose `min` may be other than 0.
            numeric: Integer features that are quantities, and no ids.
            masks: Features that come with a mask, `<name>_mask` of the same shape, which is added to the input: 1
                where there was a value, else 0.

        Raises:
            ValueError: If an argument names no feature, if nothing is left, or if a feature's size is not known or its
                type is none that a layer takes; lists these features.
        """
        super().__init__()
        inputs = describe(features, vocabulary_sizes or {}, exclude, numeric)
        if not inputs:
            raise ValueError(str(Problem("Features", "no features", "at least one that is not excluded")))
        names = [each.name for each in inputs]
        check_known("masks", masks, [each.name for each in inputs if each.size is not None])
        self._dims = {each.name: _dim(each, embedding_dim) for each in inputs if each.ids}
        if isinstance(embedding_dim, Mapping):
            check_known("embedding_dim", embedding_dim, self._dims)
        self._numbers = [each.name for each in inputs if each.ids is None] + [f"{name}_mask" for name in masks]
        self._words = [each for each in inputs if each.ids and each.size is not None]
        self._bags = [each for each in inputs if each.ids and each.size is None]
        sizes = {each.name: each.size or 1 for each in inputs}
        self._widths = {each.name: (each.size or 1) * self._dims.get(each.name, 1) for each in inputs}
        self._widths |= {f"{name}_mask": sizes[name] for name in masks}
        self.names = tuple(sorted([*names, *(f"{name}_mask" for name in masks)]))
        self.out_features = sum(self._widths.values())
        self.tables = nn.ModuleDict(
            {_key(each.name): _table(each, self._dims[each.name]) for each in inputs if each.ids}
        )
        columns = [each.ids for each in self._words if each.ids for _ in range(each.size or 1)]
        self.register_buffer("_first", torch.tensor([ids.first for ids in columns]), persistent=False)
        self.register_buffer("_size", torch.tensor([ids.size for ids in columns]), persistent=False)

    @classmethod
    def from_schema(cls, schema: schema_pb2.Schema, **options: Any) -> Features:
        """Of the features of a schema (of raw examples, or of a transform graph's output); options as ever."""
        return cls(schema, **options)

    @classmethod
    def from_spec(
        cls, feature_spec: Mapping[str, Any], vocabulary_sizes: Mapping[str, int] | None = None, **options: Any
    ) -> Features:
        """Of the features of a feature spec, e.g. `{"x": tf.io.FixedLenFeature([1], tf.float32)}`; options as ever."""
        return cls(feature_spec, vocabulary_sizes=vocabulary_sizes, **options)

    def forward(self, features: Mapping[str, Any]) -> Tensor:
        """Numbers, `[B, out_features]`, those of each feature together, features in the order of their names.

        Args:
            features: By name: numbers `[B, …]` of any type; ids `[B]`, `[B, 1]` or `[B, k]`; ragged ids as a tuple with
                `values`, `[total]`, and `row_splits`, int64 `[B + 1]`. Others than those needed are ignored.

        Raises:
            ValueError: If a feature is missing, or has another number of values; names it.
        """
        missing = [name for name in self.names if name not in features]
        if missing:
            got = f"features without {', '.join(missing)}"
            raise ValueError(str(Problem("Features", got, f"all of {', '.join(self.names)}")))
        parts = {name: _numbers(self._flat(features, name)) for name in self._numbers}
        parts.update(self._embedded(features))
        rows = next(iter(parts.values())).shape[0] if parts else None  # not len(), which is a constant to torch.export
        for each in self._bags:
            parts[each.name] = _pooled(each, features[each.name], self.tables[_key(each.name)], rows)
        return torch.cat([parts[name] for name in self.names], 1)

    def _embedded(self, features: Mapping[str, Any]) -> dict[str, Tensor]:
        if not self._words:
            return {}
        ids = torch.cat([self._flat(features, each.name).long() for each in self._words], 1) - self._first
        ids = torch.where((ids >= 0) & (ids < self._size), ids, self._size)  # all columns at once
        columns = ids.split([each.size or 1 for each in self._words], 1)
        return {
            each.name: self.tables[_key(each.name)](column).flatten(1)
            for each, column in zip(self._words, columns, strict=True)
        }

    def _flat(self, features: Mapping[str, Any], name: str) -> Tensor:
        """`[B, k]`, of the k that was said."""
        value = features[name]
        expected = self._widths[name] // self._dims.get(name, 1)
        flat: Tensor = value.unsqueeze(1) if value.ndim == 1 else value.flatten(1)
        if flat.shape[1] != expected:
            got = f"{name} of shape {list(value.shape)}"
            raise ValueError(str(Problem("Features", got, f"{expected} values in each example")))
        return flat

    def extra_repr(self) -> str:
        """For `print(model)`."""
        return (
            f"{', '.join(f'{name}={width}' for name, width in self._widths.items())}, out_features={self.out_features}"
        )


def _dim(of: Input, given: int | Mapping[str, int] | None) -> int:
    assert of.ids is not None
    dim = given.get(of.name) if isinstance(given, Mapping) else given
    return embedding_size(of.ids.size) if dim is None else dim


def _key(name: str) -> str:
    """What a feature's table is called, in the state dict too: a module's name may have no dot, nor be `keys`."""
    return "of_" + name.replace(".", "%2E")


def _table(of: Input, dim: int) -> nn.Module:
    assert of.ids is not None
    rows = of.ids.size + 1
    return (
        nn.Embedding(rows, dim)
        if of.size is not None
        else nn.EmbeddingBag(rows, dim, mode="mean", include_last_offset=True)
    )


def _numbers(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def _pooled(of: Input, ragged: Any, table: nn.Module, rows: int | None) -> Tensor:
    """The mean of what the ids of each row are embedded as, `[B, dim]`; zeros for a row without any."""
    assert of.ids is not None
    splits = ragged.row_splits.long()
    if (
        rows is not None and splits.shape[0] != rows + 1
    ):  # torch.export learns of it that a batch of 1 is nothing special
        got = f"{of.name} of {splits.shape[0] - 1} examples"
        raise ValueError(str(Problem("Features", got, f"{rows}, as of the other features")))
    ids = ragged.values.long() - of.ids.first
    return table(torch.where((ids >= 0) & (ids < of.ids.size), ids, of.ids.size), splits)
