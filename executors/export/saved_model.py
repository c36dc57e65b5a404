"""Writes a SavedModel and looks at it again: loaded from disk, does it say what the model in memory says?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from polytrainer.executors.data.examples import filler
from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.export import finite
from polytrainer.executors.export.loadable import loadable
from polytrainer.executors.export.parity import difference
from polytrainer.executors.export.signatures import SERVING, named_outputs
from polytrainer.proto.problems import Problem

TOLERANCE = 1e-5
CALLED_ALONE = 16  # raw examples that are served one by one
_MADE_UP_FAILS = (
    "The untrained model, as it will be served, fails on a made-up example:\n%s\n%s\nReal raw examples are not known "
    "here: Trainer(raw_examples=…) names them. If no example will be like this one, all is well."
)


def write(module: Any, path: str, signatures: Mapping[str, Any]) -> None:
    """Saves a `tf.Module` with its signatures."""
    import tensorflow as tf

    tf.saved_model.save(module, path, signatures=dict(signatures))


def check(
    path: str,
    stored: Sequence[bytes],
    expected: Callable[[Sequence[bytes]], Any],
    raw: Sequence[bytes] = (),
    expected_of_raw: Callable[[Sequence[bytes]], Any] | None = None,
    tolerance: float = TOLERANCE,
    predict: Callable[[Any, Sequence[bytes]], Any] | None = None,
) -> float:
    """Loads a model back and calls it on real examples: on one, and on all of them.

    Args:
        path: The SavedModel.
        stored: Serialized tf.Examples as the training read them.
        expected: What the model in memory makes of stored examples: a tensor, or several, nested.
        raw: Serialized raw tf.Examples, on which `serving_default` is called; none where none are known.
        expected_of_raw: What the model in memory makes of raw examples; by default what it makes of stored ones.
        tolerance: Largest difference allowed, relative to the largest value.
        predict: What a loaded model makes of stored examples; by default it has a function `predict_stored`.

    Returns:
        The largest relative difference found.

    Raises:
        TrainingError: If the loaded model fails, or says something else.
    """
    import tensorflow as tf

    def served(model: Any, some: Sequence[bytes]) -> Any:
        return model.signatures[SERVING](examples=tf.constant(list(some)))

    def predicted(model: Any, some: Sequence[bytes]) -> Any:
        return predict(model, some) if predict else model.predict_stored(tf.constant(list(some)))

    worst = 0.0
    answers: list[tuple[Sequence[bytes], Mapping[str, Any]]] = []
    try:
        with loadable(path) as folder:
            loaded = tf.saved_model.load(folder)
        for rows, in_memory, on_disk in ((stored, expected, predicted), (raw, expected_of_raw or expected, served)):
            for some in (rows[:1], rows) if rows else ():
                answers.append((some, named_outputs(on_disk(loaded, some))))
                worst = max(worst, difference(named_outputs(in_memory(some)), answers[-1][1]))
        answers += [([row], served(loaded, [row])) for row in raw[1:CALLED_ALONE]]
    except Exception as error:
        raise TrainingError(
            Problem(path, f"a model that fails on real examples ({type(error).__name__}: {error})", "predictions")
        ) from error
    for some, outputs in answers:
        finite.check_predictions(path, outputs, finite.usable_examples(some))
    check_difference(path, worst, tolerance)
    return worst


def check_difference(path: str, difference: float, tolerance: float) -> None:
    """Refuses a written model that says something else than the trained one.

    Raises:
        TrainingError: If the difference is larger than the tolerance.
    """
    if difference <= tolerance:
        return
    got = f"predictions that differ by {difference:.2g} from those of the model in memory"
    remedy = (
        "Does the model keep state that is not in its variables, or draw at random when it predicts? A difference that "
        "is meant to be is allowed with ExportArgs(tolerance=…)."
    )
    raise TrainingError(Problem(path, got, f"at most {tolerance:g}", remedy))


def check_serving_signature(signature: Callable[..., Any], raw: Sequence[bytes], raw_spec: FeatureSpec) -> None:
    """Calls the serving signature of a model that is not trained yet: on real raw examples, or else on a made-up one.

    Args:
        signature: `serving_default`.
        raw: Serialized raw examples; none where none are known.
        raw_spec: Of which an example is made up then. That the model fails on it is only warned of: no real example
            may be like it.

    Raises:
        PreflightError: If it fails on a real example.
    """
    import tensorflow as tf

    first = list(raw[:CALLED_ALONE])
    for some in [first, *([row] for row in first)] if first else [[filler(raw_spec)]]:
        try:
            signature(tf.constant(list(some)))
        except Exception as error:
            cause = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            if not raw:
                logging.warning(_MADE_UP_FAILS, tf.train.Example.FromString(some[0]), cause)
                return
            number = "the first ones together" if some is first else f"number {first.index(some[0])}"
            got = f"a model that fails on raw examples of the eval split, on {number} ({cause})"
            remedy = "A feature that may be missing needs defaults={name: value}, or a value in Transform."
            raise PreflightError([Problem("the serving signature", got, "predictions", remedy)]) from error
