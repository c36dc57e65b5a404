"""Batches of features → the dense arrays of numbers that ONNX, TFLite and TensorFlow.js models take."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.proto import export_args
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.proto.trainer_pb2 import ExportArgs

WRITTEN_HERE = (export_args.ONNX, export_args.TFLITE, export_args.TFJS)
CHECKED_EXAMPLES = 64


def asked_for(told: ExportArgs) -> list[str]:
    """Names of the formats that `write` writes, of those that are asked for."""
    return [name for name in WRITTEN_HERE if name in export_args.formats(told)]


def wanted_examples(told: ExportArgs) -> int:
    """How many examples a Source is to hold: enough to compare with, and to find ranges of values with."""
    calibrated = export_args.TFLITE in export_args.formats(told) and (
        export_args.tflite_quantization(told) == "full_integer"
    )
    return max(CHECKED_EXAMPLES, export_args.tflite_calibration_examples(told) if calibrated else 0)


def without_a_form(spec: FeatureSpec, names: Iterable[str], told: ExportArgs) -> list[Problem]:
    """The features that none of these formats has a form for: sparse and ragged ones, and words.

    Args:
        spec: How the features that the model sees are parsed.
        names: Those that it uses.
        told: Which formats are asked for.
    """
    formats = " and ".join(asked_for(told))
    remedy = (
        "Give a feature that may be missing defaults={name: value}, make numbers of words in Transform, or leave "
        f"{formats} out of ExportArgs.formats."
    )
    return [
        Problem(f"the feature {name!r}", form, f"a dense one of numbers, which is what {formats} can take", remedy)
        for name in sorted(names)
        if (form := _form(spec[name]))
    ]


def first(batches: Iterable[Any], names: Collection[str], count: int) -> dict[str, npt.NDArray[np.generic]]:
    """The first examples of a tf.data.Dataset.

    Args:
        batches: `(features, label)` or only the features, dense ones by name, `[batch, …]`.
        names: Features to take.
        count: How many examples; fewer where there are not as many.

    Returns:
        An array for each feature, `[count, …]`.
    """
    parts: dict[str, list[Any]] = {name: [] for name in names}
    found = 0
    for batch in batches:
        features: Mapping[str, Any] = batch if isinstance(batch, Mapping) else batch[0]
        for name, arrays in parts.items():
            arrays.append(np.asarray(features[name]))
        found += len(next(iter(parts.values()))[-1]) if parts else count
        if found >= count:
            break
    return {name: np.concatenate(arrays)[:count] for name, arrays in parts.items()}


def _form(feature: Any) -> str:
    """What a feature is that it should not be; empty where it is as it should be."""
    import tensorflow as tf

    if feature.dtype == tf.string:
        return "words"
    if isinstance(feature, tf.io.FixedLenFeature):
        return ""
    return "a ragged one" if isinstance(feature, tf.io.RaggedFeature) else "a sparse one"
