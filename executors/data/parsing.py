"""A feature spec → TensorFlow operations from serialized examples to the arrays that a batch is stored as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data import encoders as encoders_module
from polytrainer.executors.data.encoders import Encoder
from polytrainer.executors.data.errors import refuse
from polytrainer.executors.data.example_parsing import as_ragged, fill_missing, ragged_feature
from polytrainer.executors.data.feature_specs import FeatureSpec, has_default
from polytrainer.executors.data.flatten import column_of, parts_of
from polytrainer.executors.data.rows import RowLayout

if TYPE_CHECKING:
    import tensorflow as tf

Features = dict[str, Any]  # name → Tensor, SparseTensor or RaggedTensor
Preprocess = Callable[[Features], Features]


def mask_name(name: str) -> str:
    """What the column is called that says where a feature with a default had a value."""
    return f"{name}_mask"


def filled(spec: FeatureSpec) -> FeatureSpec:
    """The features that have a default, and so a mask.

    Raises:
        DataError: If another feature has the name of a mask.
    """
    found = {name: feature for name, feature in spec.items() if has_default(feature)}
    for name in found:
        if (mask := mask_name(name)) in spec:
            got = f"a feature of this name, and a default for {name!r}, whose mask has this name"
            raise refuse(f"feature {mask!r}", got, "other names", "Rename one, or leave the default out.")
    return found


class Parser:
    """What happens to a batch of serialized examples: parse, fill, preprocess, encode, flatten.

    Attributes:
        spec: The features, as they were asked for.
        encoders: For features of words, by name.
        parse_spec: The same, as they are parsed.
        parsed_as: The element_spec of `parse`.
        columns: What comes out.
        layout: Where the dense columns stand in a row.
    """

    def __init__(self, spec: FeatureSpec, encoders: Mapping[str, Encoder], preprocess: Preprocess | None) -> None:
        """Makes the operations.

        Args:
            spec: The features.
            encoders: For features of words, by name.
            preprocess: From parsed features to those a batch is to have.

        Raises:
            DataError: If names clash, an encoder is for no feature of words, or a feature cannot become a torch tensor.
        """
        import tensorflow as tf

        self.spec = spec
        # What preprocess returns has its own idea of what is missing: it gets the features as they are, without masks.
        self._preprocess = tf.function(lambda features: dict(preprocess(features))) if preprocess else None
        self._filled = {} if preprocess else filled(spec)
        self.parse_spec = {name: self._as_parsed(name, feature) for name, feature in spec.items()}
        self.encoders = dict(encoders)
        self._operations = {name: encoders_module.as_op(encoder) for name, encoder in encoders.items()}
        # traced once, here; each dataset then calls the traced function
        signature = [tf.TensorSpec([None], tf.string)]
        self._traced = tf.function(self._parsed_and_finished, input_signature=signature, autograph=False)
        empty = tf.data.Dataset.from_tensor_slices(tf.zeros([0], tf.string)).batch(1)  # of no fixed size
        self.parsed_as, finished = empty.map(self._traced).element_spec
        self.columns = tuple(column_of(name, element) for name, element in finished.items())
        self.layout = RowLayout(self.columns)

    def _as_parsed(self, name: str, feature: Any) -> Any:
        """Ragged, where values may be missing."""
        import tensorflow as tf

        if name in self._filled or (isinstance(feature, tf.io.VarLenFeature) and not self._preprocess):
            return ragged_feature(name, feature.dtype)
        return feature

    def parse(self, serialized: tf.Tensor) -> Features:
        """Serialized examples `[n]` → features as `parse_spec` has them."""
        import tensorflow as tf

        return tf.io.parse_example(serialized, self.parse_spec)  # type: ignore[no-any-return]

    def prepared(self, parsed: Features) -> Features:
        """Features as `parse_spec` has them → those a batch is to have, with words that are not encoded yet."""
        features = {name: parsed[name] for name in self.spec}
        for name, feature in self._filled.items():
            features[name], features[mask_name(name)] = fill_missing(features[name], feature)
        return self._preprocess(features) if self._preprocess else features

    def finish(self, parsed: Features) -> Features:
        """Features as `parse_spec` has them → those a batch is to have."""
        return self.encoded(self.prepared(parsed))

    def finish_made(self, made: Features) -> Features:
        """The same from features that Transform made, which has SparseTensors where we parse ragged ones."""
        import tensorflow as tf

        return self.finish(
            {
                name: as_ragged(made[name]) if isinstance(feature, tf.io.RaggedFeature) else made[name]
                for name, feature in self.parse_spec.items()
            }
        )

    @property
    def filled_names(self) -> list[str]:
        """Names of the features that have a default, and so a mask."""
        return list(self._filled)

    @property
    def resources(self) -> list[Any]:
        """The tables of the encoders."""
        return [encode.table for encode in self._operations.values() if hasattr(encode, "table")]

    def encoded(self, features: Features) -> Features:
        """Words as numbers, where there is an encoder."""
        import tensorflow as tf

        features = dict(features)
        for name, encode in self._operations.items():
            if name not in features or features[name].dtype != tf.string:
                got = f"{features[name].dtype.name} values" if name in features else "no feature of this name"
                raise refuse(f"encoders[{name!r}]", got, "a feature of bytes")
            features[name] = encoders_module.encoded(encode, features[name])
        return features

    def features(self, serialized: tf.Tensor) -> Features:
        """Serialized examples `[n]` → the features a batch is to have."""
        return self._traced(serialized)[1]  # type: ignore[no-any-return]

    def _parsed_and_finished(self, serialized: tf.Tensor) -> tuple[Features, Features]:
        parsed = self.parse(serialized)
        return parsed, self.finish(parsed)

    def arrays(self, features: Features, count: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The features of `count` examples → rows of the dense ones, then the parts of the others (`Column.parts`)."""
        rows = self.layout.pack(features, count)
        parts = [parts_of(features[column.name], count) for column in self.columns if not column.dense]
        return (rows, *(array for arrays in parts for array in arrays))

    def __call__(self, serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Serialized examples `[n]` → arrays."""
        import tensorflow as tf

        return self.arrays(self.features(serialized), tf.shape(serialized)[0])
