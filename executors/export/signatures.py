"""What a SavedModel answers to: serialized raw tf.Examples, raw features by name, and TFMA's `transform_features`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any

from absl import logging

from polytrainer.executors.data import encoders
from polytrainer.executors.data.encoders import Encoder
from polytrainer.executors.data.example_parsing import fill_defaults, fill_nan, parse_examples
from polytrainer.executors.data.feature_specs import FeatureSpec, has_default, optional
from polytrainer.executors.export.argument_names import argument_names
from polytrainer.executors.export.graph_inputs import needed
from polytrainer.executors.export.transform_inputs import raw_inputs

SERVING, NAMED, TRANSFORM = "serving_default", "predict", "transform_features"
OUTPUTS = "outputs"


@dataclass(frozen=True)
class Interface:
    """What stands between a raw example and a model.

    Attributes:
        raw_spec: How raw examples are parsed, label included.
        serving_names: The raw features that the model needs.
        transform: Raw features → the model's, as `TFTransformOutput.transform_features_layer()`; None where the model
            takes raw features.
        feature_names: Names of the features that the model takes.
        feature_spec: How these are parsed, from examples as the model sees them.
        sources: The raw features that each of them is made from.
        read_names: Those of them that the model computes something from.
        defaults: Those of them, by name, that have a default where Transform makes no value.
    """

    raw_spec: FeatureSpec
    serving_names: tuple[str, ...]
    transform: Any | None
    feature_names: tuple[str, ...]
    feature_spec: FeatureSpec
    sources: Mapping[str, frozenset[str]]
    read_names: tuple[str, ...]
    defaults: FeatureSpec = field(default_factory=dict)

    @property
    def serving_spec(self) -> FeatureSpec:
        """How raw examples are parsed for the model alone."""
        return {name: self.raw_spec[name] for name in self.serving_names}

    @property
    def not_served(self) -> set[str]:
        """The raw features that the model does not need, such as the label."""
        return set(self.raw_spec) - set(self.serving_names)

    @property
    def argument_names(self) -> dict[str, str]:
        """What the raw features that the model needs are called as arguments of `predict`, by their own names."""
        return argument_names(self.serving_names)

    @property
    def label_optional_spec(self) -> FeatureSpec:
        """How raw examples are parsed that may lack what the model does not need, such as the label."""
        return {
            name: feature if name in self.serving_names else optional(feature)
            for name, feature in self.raw_spec.items()
        }

    def features_of(self, serialized: Any, transform: Any | None = None) -> dict[str, Any]:
        """Serialized raw examples, `[batch]`, which may lack what the model does not need → all that is made of them.

        Args:
            serialized: The examples.
            transform: In place of `transform`, where that belongs to another graph.
        """
        raw = parse_examples(serialized, self.label_optional_spec, self.not_served)
        if self.transform is not None:
            raw = (transform or self.transform)(raw)
        return fill_defaults(raw, self.defaults)

    def of_reading(self, names: Collection[str]) -> Interface:
        """The same for a model that computes something from some of its features only.

        All remain where the model reads none, or such as Transform makes from nothing: a signature takes something.
        """
        read = tuple(name for name in self.feature_names if name in names)
        serving_names = frozenset[str]().union(*(self.sources[name] for name in read))
        if not serving_names:
            return self
        return replace(self, read_names=read, serving_names=tuple(sorted(serving_names)))


def interface(
    feature_spec: FeatureSpec,
    label_key: str | None,
    transform_output: Any | None,
    raw_label_key: str | None,
    weight_key: str | None = None,
    raw_weight_key: str | None = None,
) -> Interface:
    """Finds out what a model needs of a raw example.

    Args:
        feature_spec: Features that the model sees, label included.
        label_key: Name of the label among them.
        transform_output: `tft.TFTransformOutput`, or None.
        raw_label_key: Name of the label before Transform, to be held to: the model's features must not need it. Without
            it, whatever raw feature only the label is made from is not needed either.
        weight_key: Name of the example weight among them, which the model does not see either.
        raw_weight_key: Name of the weight before Transform, likewise.

    Raises:
        ValueError: If the model's features cannot be made without the raw label, or the raw weight.
    """
    own_spec = {name: feature_spec[name] for name in sorted(feature_spec) if name not in (label_key, weight_key)}
    names = tuple(own_spec)
    if transform_output is None:
        sources = {name: frozenset([name]) for name in names}
        return Interface(feature_spec, names, None, names, own_spec, sources, names)
    raw_spec = transform_output.raw_feature_spec()
    layer = transform_output.transform_features_layer()
    sources = raw_inputs(layer, raw_spec, names)
    defaults = {name: feature for name, feature in own_spec.items() if has_default(feature)}
    everything = Interface(raw_spec, tuple(sorted(raw_spec)), layer, names, own_spec, sources, names, defaults)
    between = everything.of_reading(names)
    for argument, given, key in (
        ("raw_label_key", raw_label_key, label_key),
        ("raw_weight_key", raw_weight_key, weight_key),
    ):
        if given is not None and (given in between.serving_names or given not in raw_spec):
            raise ValueError(
                f"{argument}: got {given!r}, which Transform makes some of {list(names)} from (or which is no "
                f"raw feature; they are {sorted(raw_spec)}); expected one that only {key!r} is made from."
            )
    return between


def features_read(predict: Callable[[dict[str, Any]], Any], feature_spec: FeatureSpec) -> set[str]:
    """Names of the features that a model computes something from, found in its graph.

    Args:
        predict: The model: features by name → tensors, nested.
        feature_spec: How its features are parsed.
    """
    import tensorflow as tf

    features: dict[str, Any] = {}
    outputs: dict[str, Any] = {}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)  # type: ignore[untyped-decorator]
    def trace(examples: Any) -> Any:
        parsed = parse_examples(examples, feature_spec)
        # tensors of their own, to be found by
        features.update(tf.nest.map_structure(tf.identity, parsed, expand_composites=True))
        outputs.update(named_outputs(predict(dict(features))))
        return tf.constant(0)

    return needed(trace.get_concrete_function().graph, outputs.values(), features)


def named_outputs(result: Any) -> dict[str, Any]:
    """Outputs by name: a dict's by theirs, a tuple's as `outputs_0` and so on, a single tensor as `outputs`.

    What is nested has both names, e.g. `hidden_0`; None is left out.
    """
    return dict(_leaves(result, ""))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value) and not isinstance(value, Mapping):
        value = vars(value)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}_{key}" if name else str(key))
    elif isinstance(value, (tuple, list)):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{name or OUTPUTS}_{number}")
    elif value is not None:
        yield name or OUTPUTS, value


def transforming(
    module: Any, between: Interface, label_encoders: Mapping[str, Encoder] | None = None
) -> tuple[Callable[[Mapping[str, Any]], dict[str, Any]], Callable[[Any], dict[str, Any]]]:
    """What stands between a raw example and a model, as operations.

    Args:
        module: A `tf.Module` that tracks what they use.
        between: What stands there.
        label_encoders: For a label of words, by its name.

    Returns:
        Two functions: raw features by name → the model's; and serialized raw examples, `[batch]` → everything that is
        made of them, with the label, if they have one, as the model learned it.
    """
    encode = {name: encoders.as_op(encoder) for name, encoder in (label_encoders or {}).items()}
    module.label_tables = [each.table for each in encode.values() if hasattr(each, "table")]
    module.transform_layer = between.transform
    whole_spec = between.label_optional_spec

    def transformed(raw: Mapping[str, Any]) -> dict[str, Any]:
        return fill_defaults(module.transform_layer(raw) if between.transform is not None else raw, between.defaults)

    def model_features(raw: Mapping[str, Any]) -> dict[str, Any]:
        made = transformed(raw)
        read = {name: made[name] for name in between.read_names}
        unread = {name: between.feature_spec[name] for name in between.feature_names if name not in read}
        return {**read, **_absent(unread, read)} if unread else read

    def with_label(examples: Any) -> dict[str, Any]:
        made = transformed(parse_examples(examples, whole_spec, between.not_served))
        return {
            name: encoders.encoded(encode[name], value) if name in encode else value for name, value in made.items()
        }

    return model_features, with_label


def _absent(spec: FeatureSpec, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Features as they are parsed of examples that have none of them, as many as there are beside them."""
    import tensorflow as tf

    first = next(iter(beside.values()))
    count = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first)[0]
    empty = tf.fill([count], tf.constant(b""))
    return tf.io.parse_example(empty, {name: optional(feature) for name, feature in spec.items()})  # type: ignore[no-any-return]


def signatures(
    module: Any,
    predict: Callable[[dict[str, Any]], Any],
    between: Interface,
    label_encoders: Mapping[str, Encoder] | None = None,
) -> dict[str, Any]:
    """Makes the three signatures of a model.

    * `serving_default`: `examples`, serialized raw tf.Examples, [batch] string, of which only what the model needs is
      read → the model's outputs, by its own names if it returns a dict, else as `outputs`.
    * `predict`: the same from raw features by name (`argument_names`): dense ones [batch, *shape]; sparse ones
      [batch, *size], others [batch, width], both padded with NaN, "" or the smallest int64. Left out, with a warning,
      where a model cannot be called so.
    * `transform_features`: `examples` → the features that the model sees, and the label if the example has one; for
      TFMA's `ModelSpec(preprocessing_function_names=["transform_features"])`.

    Args:
        module: A `tf.Module` that tracks what the functions use; the transform layer is added to it.
        predict: The model: features by name → a tensor or a dict of tensors.
        between: What stands between a raw example and the model.
        label_encoders: For a label of words, by its name.
    """
    import tensorflow as tf

    model_features, with_label = transforming(module, between, label_encoders)
    serving_spec = between.serving_spec
    examples = [tf.TensorSpec([None], tf.string, name="examples")]

    def outputs(raw: Mapping[str, Any]) -> dict[str, Any]:
        result = predict(model_features(raw))
        # half precision is for the computation; whoever asks gets float32
        return {
            name: tf.cast(value, tf.float32) if value.dtype in (tf.float16, tf.bfloat16) else value
            for name, value in named_outputs(result).items()
        }

    @tf.function(input_signature=examples, autograph=False)  # type: ignore[untyped-decorator]
    def serving_default(examples: Any) -> dict[str, Any]:
        return outputs(parse_examples(examples, serving_spec))

    @tf.function(input_signature=examples, autograph=False)  # type: ignore[untyped-decorator]
    def transform_features(examples: Any) -> dict[str, Any]:
        return with_label(examples)

    # by position: names of keyword arguments are altered where Python has no such (`a.b`), those of specs are not
    arguments = between.argument_names
    specs = [_named_spec(arguments[name], feature) for name, feature in serving_spec.items()]

    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator]
    def named(*features: Any) -> dict[str, Any]:
        given = zip(serving_spec.items(), features, strict=True)
        return outputs({name: _as_parsed(tensor, feature) for (name, feature), tensor in given})

    serving_default.get_concrete_function()  # what does not fit shows here, and is not taken for a fault of `predict`
    made = {SERVING: serving_default, NAMED: named, TRANSFORM: transform_features}
    try:
        made[NAMED] = named.get_concrete_function()
    except Exception as error:  # of many kinds
        logging.warning("The SavedModel has no signature %r, of features by name: %s", NAMED, error)
        del made[NAMED]
    return made


def _named_spec(name: str, feature: Any) -> Any:
    import tensorflow as tf

    shape: list[int | None] = [None, None]
    if isinstance(feature, tf.io.FixedLenFeature):
        shape = [None, *feature.shape]
    elif isinstance(feature, tf.io.SparseFeature):
        shape = [None, *(feature.size if isinstance(feature.size, (list, tuple)) else [feature.size])]
    return tf.TensorSpec(shape, feature.dtype, name=name)


def _as_parsed(tensor: Any, feature: Any) -> Any:
    """A dense, padded tensor in the form that parsing would have given."""
    import tensorflow as tf

    if isinstance(feature, tf.io.FixedLenFeature):
        return fill_nan(tensor, feature)[0] if has_default(feature) and feature.dtype.is_floating else tensor
    if feature.dtype == tf.string:
        present = tensor != ""
    elif feature.dtype.is_floating:
        present = tf.logical_not(tf.math.is_nan(tensor))
    else:
        present = tensor != feature.dtype.min
    if isinstance(feature, tf.io.RaggedFeature):
        return tf.ragged.boolean_mask(tensor, present)
    indices = tf.where(present)
    return tf.SparseTensor(indices, tf.gather_nd(tensor, indices), tf.shape(tensor, tf.int64))
