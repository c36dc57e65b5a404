"""Which raw features each feature of a transform graph is made from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from polytrainer.executors.data.feature_specs import FeatureSpec


def raw_inputs(layer: Any, raw_spec: FeatureSpec, names: Iterable[str]) -> dict[str, frozenset[str]]:
    """The raw features that each transformed one needs.

    Args:
        layer: `TFTransformOutput.transform_features_layer()`.
        raw_spec: How the raw features are parsed.
        names: The transformed features to look at; one that Transform does not make needs all.
    """
    names = list(names)
    sources = _from_graph(layer, raw_spec, names)
    union = frozenset[str]().union(*sources.values())
    if union and not suffices(layer, raw_spec, union, names):  # then the layer goes by another rule
        everything = frozenset(raw_spec)
        union = frozenset(one for one in raw_spec if not suffices(layer, raw_spec, everything - {one}, names))
        return dict.fromkeys(names, union)
    return sources


def suffices(layer: Any, raw_spec: FeatureSpec, raw_names: Collection[str], names: Iterable[str]) -> bool:
    """Whether Transform makes all of some features from some raw ones."""
    import tensorflow as tf

    spec = {name: feature for name, feature in raw_spec.items() if name in raw_names}
    made: set[str] = set()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)  # type: ignore[untyped-decorator]
    def trace(examples: Any) -> Any:
        made.update(layer(tf.io.parse_example(examples, spec)))
        return tf.constant(0)

    trace.get_concrete_function()
    return set(names) <= made


def _from_graph(layer: Any, raw_spec: FeatureSpec, names: Iterable[str]) -> dict[str, frozenset[str]]:
    """The same as the layer itself has it, which leaves out what it cannot make: TFT has no public way to ask."""
    import tensorflow as tf

    everything = frozenset(raw_spec)
    loader = getattr(layer, "_saved_model_loader", None)
    by_output = getattr(loader, "_output_to_inputs_map", {})
    inputs = {
        name: {id(part) for part in tf.nest.flatten(value, expand_composites=True)}
        for name, value in getattr(loader, "_structured_inputs", {}).items()
    }

    def sources(name: str) -> frozenset[str]:
        if name not in by_output:
            return everything
        tensors = {id(tensor) for tensor in by_output[name]}
        return frozenset(raw for raw, parts in inputs.items() if parts & tensors)

    return {name: sources(name) for name in names}
