"""What a SavedModel answers to: serialized raw tf.Examples, raw features by name, and TFMA's `transform_features`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from polytrainer.executors.data import encoders
from polytrainer.executors.data.encoders import Encoder
from polytrainer.executors.data.example_parsing import fill_defaults, fill_nan, parse_examples
from polytrainer.executors.data.feature_specs import FeatureSpec, has_default, optional

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
        defaults: Those of them, by name, that have a default where Transform makes no value.
    """

    raw_spec: FeatureSpec
    serving_names: tuple[str, ...]
    transform: Any | None
    feature_names: tuple[str, ...]
    defaults: FeatureSpec = field(default_factory=dict)

    @property
    def serving_spec(self) -> FeatureSpec:
        """How raw examples are parsed for the model alone."""
        return {name: self.raw_spec[name] for name in self.serving_names}

    @property
    def label_optional_spec(self) -> FeatureSpec:
        """How raw examples are parsed that may lack what the model does not need, which is the label."""
        return {
            name: feature if name in self.serving_names else optional(feature)
            for name, feature in self.raw_spec.items()
        }


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
        raw_label_key: Name of the label before Transform; found by its name where None.
        weight_key: Name of the example weight among them, which the model does not see either.
        raw_weight_key: Name of the weight before Transform; found likewise.

    Raises:
        ValueError: If the model's features cannot be made without the raw label, or the raw weight.
    """
    feature_names = tuple(sorted(name for name in feature_spec if name not in (label_key, weight_key)))
    if transform_output is None:
        return Interface(feature_spec, feature_names, None, feature_names)
    raw_spec = transform_output.raw_feature_spec()
    layer = transform_output.transform_features_layer()
    without: set[str] = set()
    for argument, given, key in (
        ("raw_label_key", raw_label_key, label_key),
        ("raw_weight_key", raw_weight_key, weight_key),
    ):
        if given is not None and not _suffices(raw_spec, {*without, given}, feature_names, layer):
            raise ValueError(
                f"{argument}: got {given!r}, which Transform makes some of {list(feature_names)} from (or which is no "
                f"raw feature; they are {sorted(raw_spec)}); expected one that only {key!r} is made from."
            )
        without |= {given} if given is not None else _raw_name(raw_spec, key, without, feature_names, layer)
    defaults = {name: feature_spec[name] for name in feature_names if has_default(feature_spec[name])}
    return Interface(raw_spec, tuple(sorted(set(raw_spec) - without)), layer, feature_names, defaults)


def _raw_name(
    raw_spec: FeatureSpec, key: str | None, without: set[str], feature_names: tuple[str, ...], layer: Any
) -> set[str]:
    """The raw feature called like a label or like its beginning, unless the model's features need it too."""
    candidates = [name for name in raw_spec if key is not None and key.startswith(name) and name not in without]
    best = max(candidates, key=len, default=None)
    return {best} if best is not None and _suffices(raw_spec, {*without, best}, feature_names, layer) else set()


def _suffices(raw_spec: FeatureSpec, without: set[str], feature_names: tuple[str, ...], layer: Any) -> bool:
    """Whether Transform makes all of the model's features from the other raw ones."""
    import tensorflow as tf

    if not without <= set(raw_spec):
        return False
    spec = {name: feature for name, feature in raw_spec.items() if name not in without}
    made: set[str] = set()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)  # type: ignore[untyped-decorator]
    def trace(examples: Any) -> Any:
        made.update(layer(parse_examples(examples, spec)))
        return tf.constant(0)

    trace.get_concrete_function()
    return set(feature_names) <= made


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
    not_served = set(whole_spec) - set(between.serving_names)

    def transformed(raw: Mapping[str, Any]) -> dict[str, Any]:
        return fill_defaults(module.transform_layer(raw) if between.transform is not None else raw, between.defaults)

    def model_features(raw: Mapping[str, Any]) -> dict[str, Any]:
        made = transformed(raw)
        return {name: made[name] for name in between.feature_names}

    def with_label(examples: Any) -> dict[str, Any]:
        made = transformed(parse_examples(examples, whole_spec, not_served))
        return {
            name: encoders.encoded(encode[name], value) if name in encode else value for name, value in made.items()
        }

    return model_features, with_label


def signatures(
    module: Any,
    predict: Callable[[dict[str, Any]], Any],
    between: Interface,
    label_encoders: Mapping[str, Encoder] | None = None,
) -> dict[str, Any]:
    """Makes the three signatures of a model.

    * `serving_default`: `examples`, serialized raw tf.Examples, [batch] string, the label not needed → the model's
      outputs, by its own names if it returns a dict, else as `outputs`.
    * `predict`: the same from raw features by name: dense ones [batch, *shape]; sparse ones [batch, *size], others
      [batch, width], both padded with NaN, "" or the smallest int64.
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
    specs = [_named_spec(name, feature) for name, feature in serving_spec.items()]

    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator]
    def named(*features: Any) -> dict[str, Any]:
        given = zip(serving_spec.items(), features, strict=True)
        return outputs({name: _as_parsed(tensor, feature) for (name, feature), tensor in given})

    return {
        SERVING: serving_default,
        NAMED: named.get_concrete_function(),
        TRANSFORM: transform_features,
    }


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
