"""Writes a SavedModel and looks at it again: loaded from disk, does it say what the model in memory says?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from polytrainer.executors.errors import TrainingError
from polytrainer.executors.export.signatures import OUTPUTS, SERVING
from polytrainer.proto.problems import Problem

TOLERANCE = 1e-5


def write(module: Any, path: str, signatures: Mapping[str, Any]) -> None:
    """Saves a `tf.Module` with its signatures."""
    import tensorflow as tf

    tf.saved_model.save(module, path, signatures=dict(signatures))


def check(
    path: str,
    stored: Sequence[bytes],
    raw: Sequence[bytes],
    expected: Callable[[Sequence[bytes]], Any],
    tolerance: float = TOLERANCE,
) -> float:
    """Loads a model back and calls it on real examples.

    Args:
        path: The SavedModel, with a function `predict_stored` beside its signatures.
        stored: Serialized tf.Examples as the training read them.
        raw: Serialized raw tf.Examples; `serving_default` must accept them.
        expected: What the model in memory makes of stored examples: a tensor or a dict of tensors.
        tolerance: Largest difference allowed, relative to the largest value.

    Returns:
        The largest relative difference found.

    Raises:
        TrainingError: If the loaded model fails, or says something else.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(path)
        loaded.signatures[SERVING](examples=tf.constant(list(raw)))
        got = loaded.predict_stored(tf.constant(list(stored)))
    except Exception as error:
        raise TrainingError(
            Problem(path, f"a model that fails on real examples ({type(error).__name__}: {error})", "predictions")
        ) from error
    worst = _difference(_named(expected(stored)), _named(got))
    if not worst <= tolerance:
        raise TrainingError(
            Problem(
                path,
                f"predictions that differ by {worst:.2g} from those of the model in memory",
                f"at most {tolerance:g}",
                "Does the model keep state that is not in its variables, or draw at random when it predicts?",
            )
        )
    return worst


def _named(outputs: Any) -> dict[str, Any]:
    return dict(outputs) if isinstance(outputs, Mapping) else {OUTPUTS: outputs}


def _difference(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> float:
    """The largest difference between two sets of outputs, relative to the largest value (or to 1, if larger)."""
    import numpy as np
    import tensorflow as tf

    worst = 0.0
    for name, value in wanted.items():
        if value.dtype == tf.string:
            worst = max(worst, 0.0 if bool(tf.reduce_all(value == got[name])) else 1.0)
            continue
        ours, theirs = (np.asarray(tf.cast(tensor, tf.float64)) for tensor in (value, got[name]))
        scale = max(1.0, float(np.nanmax(np.abs(ours), initial=0.0)))
        difference = np.abs(ours - theirs)[~(np.isnan(ours) & np.isnan(theirs))]
        worst = max(worst, float(np.max(difference, initial=0.0)) / scale)
    return worst
