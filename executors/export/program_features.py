"""Examples → what an exported PyTorch program takes, by TensorFlow operations: the reader's own, so that they serve."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from polytrainer.executors.data.encoders import Encoder
from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.executors.data.flatten import named_parts, part_names
from polytrainer.executors.data.parsing import Features, Parser, mask_name
from polytrainer.executors.export.signatures import Interface

if TYPE_CHECKING:
    import tensorflow as tf


class ProgramFeatures:
    """From an example to the arguments of a program, as `TorchBatches` makes them.

    Attributes:
        between: What stands between a raw example and the features, as `signatures` takes it.
        resources: What a `tf.Module` that serves these operations is to track.
    """

    def __init__(
        self,
        between: Interface,
        stored_spec: FeatureSpec,
        not_taken: Collection[str],
        encoders: Mapping[str, Encoder],
        *,
        is_raw: bool,
    ):
        """Makes the operations.

        Args:
            between: Of the trainer.
            stored_spec: How the examples that were trained on are parsed, label and weight included.
            not_taken: Names of those that the model is not given: the label, the weight of the examples, and the like.
            encoders: For features of words, by name.
            is_raw: Whether those examples were still to be transformed.

        Raises:
            DataError: If encoders or masks do not fit the features.
        """
        own = {name: encoder for name, encoder in encoders.items() if name not in not_taken}
        if is_raw:
            self._parser = Parser(stored_spec, own, between.transform)
        else:
            spec = {name: feature for name, feature in stored_spec.items() if name not in not_taken}
            self._parser = Parser(spec, own, None)
        self._is_raw, self._not_taken = is_raw, frozenset(not_taken)
        between = replace(between, defaults={})  # the parser fills them in, and makes masks of them
        if between.transform is None:
            # as the reader parses: what is missing has to be seen to be missing
            parsed = self._parser.parse_spec
            between = replace(
                between, raw_spec={**between.raw_spec, **parsed}, feature_spec={**between.feature_spec, **parsed}
            )
        self.between = between
        self.resources = self._parser.resources

    def serve_only(self, arguments: Collection[str]) -> None:
        """Narrows what is served to the features that some of the program's arguments are made of."""
        masked = {mask_name(name): name for name in self._parser.filled_names}
        read = {
            masked.get(column.name, column.name)
            for column in self._parser.columns
            if not set(part_names(column)).isdisjoint(arguments)
        }
        self.between = self.between.of_reading(read)

    def of_stored(self, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized examples as the training read them, `[n]` → the program's arguments."""
        return self._flat(self._parser.features(serialized))

    def of_raw(self, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized raw examples, `[n]` → the same."""
        return self.of_served(self.between.features_of(serialized))

    def of_served(self, features: Features) -> dict[str, tf.Tensor]:
        """Features by name, as Transform made them or, without Transform, as they were parsed → the same."""
        return self._flat(self._parser.encoded(features) if self._is_raw else self._parser.finish_made(features))

    def _flat(self, features: Features) -> dict[str, tf.Tensor]:
        columns = [column for column in self._parser.columns if column.name not in self._not_taken]
        return dict(part for column in columns for part in named_parts(column, features[column.name]).items())
