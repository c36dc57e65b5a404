"""Writes a SavedModel and looks at it again: loaded from disk, does it say what the model in memory says?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from polytrainer.executors.errors import TrainingError
from polytrainer.executors.export import finite
from polytrainer.executors.export.loadable import loadable
from polytrainer.executors.export.parity import difference
from polytrainer.executors.export.signatures import SERVING, named_outputs
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
    predict: Callable[[Any, Sequence[bytes]], Any] | None = None,
) -> float:
    """Loads a model back and calls it on real examples: on one, and on all of them.

    Args:
        path: The SavedModel.
        stored: Serialized tf.Examples as the training read them.
        raw: Serialized raw tf.Examples; `serving_default` must accept them and, where they are the stored ones, say the
            same of them.
        expected: What the model in memory makes of stored examples: a tensor, or several, nested.
        tolerance: Largest difference allowed, relative to the largest value.
        predict: What a loaded model makes of stored examples; by default it has a function `predict_stored`.

    Returns:
        The largest relative difference found.

    Raises:
        TrainingError: If the loaded model fails, or says something else.
    """
    import tensorflow as tf

    worst = 0.0
    try:
        with loadable(path) as folder:
            loaded = tf.saved_model.load(folder)
        for some in (stored[:1], stored):
            wanted = named_outputs(expected(some))
            got = predict(loaded, some) if predict else loaded.predict_stored(tf.constant(list(some)))
            worst = max(worst, difference(wanted, named_outputs(got)))
        served = loaded.signatures[SERVING](examples=tf.constant(list(raw)))
        if raw is stored:
            worst = max(worst, difference(wanted, served))
    except Exception as error:
        raise TrainingError(
            Problem(path, f"a model that fails on real examples ({type(error).__name__}: {error})", "predictions")
        ) from error
    finite.check_predictions(path, wanted, finite.usable_examples(stored))
    if raw is stored:
        finite.check_predictions(path, served, finite.usable_examples(raw))
    if not worst <= tolerance:
        raise TrainingError(
            Problem(
                path,
                f"predictions that differ by {worst:.2g} from those of the model in memory",
                f"at most {tolerance:g}",
                "Does the model keep state that is not in its variables, or draw at random when it predicts? A "
                "difference that is meant to be is allowed with ExportArgs(tolerance=…).",
            )
        )
    return worst
