"""Does an exported Estimator say of raw examples what it says in memory?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from polytrainer.executors.backends import estimator_predictions
from polytrainer.executors.errors import TrainingError
from polytrainer.executors.export import finite
from polytrainer.executors.export.loadable import loadable
from polytrainer.executors.export.parity import difference
from polytrainer.executors.export.saved_model import CALLED_ALONE, check_difference
from polytrainer.executors.export.signatures import NAMED, SERVING, Interface
from polytrainer.proto import export_args
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.estimator_trainer import EstimatorTrainer


def check(trainer: EstimatorTrainer, estimator: Any, path: str, between: Interface) -> float | None:
    """Calls an exported model on the raw examples that are known, on all of them and on some one by one.

    Args:
        trainer: With `raw_rows`.
        estimator: As the trainer has configured it.
        path: The SavedModel.
        between: What stands between a raw example and the model.

    Returns:
        The largest difference to what the Estimator predicts, relative to the largest value; None where no raw example
        is known.

    Raises:
        TrainingError: If the exported model fails, its answers are not finite, or differ.
    """
    raw = trainer.raw_rows
    if not raw:
        return None
    predictions = _predictions(trainer, estimator, raw, between)
    try:
        with loadable(path) as folder:
            signatures = tf.saved_model.load(folder).signatures
        called = NAMED if NAMED in signatures else SERVING
        outputs = {name: value.numpy() for name, value in _answers(signatures[called], raw).items()}
        some_rows = (raw, *([row] for row in raw[:CALLED_ALONE]))
        served = [(rows, _answers(signatures[SERVING], rows)) for rows in some_rows]
    except TrainingError:  # SIGTERM, in the middle of it
        raise
    except Exception as error:
        got = f"a model that fails on real examples ({type(error).__name__}: {error})"
        raise TrainingError(Problem(path, got, "predictions")) from error
    for rows, answers in [(raw, outputs), *served]:
        finite.check_predictions(path, answers, finite.usable_examples(rows))
    compared = {name: predictions[name] for name in predictions if name in outputs}
    worst = difference(compared, outputs)
    check_difference(path, worst, export_args.tolerance(trainer.fn_args.export_args))
    return worst


def _answers(signature: Any, serialized: Sequence[bytes]) -> dict[str, Any]:
    """Outputs for serialized examples, whatever the head calls its one input: `examples`, or `inputs`."""
    [name] = signature.structured_input_signature[1]
    return dict(signature(**{name: tf.constant(list(serialized))}))


def _predictions(
    trainer: EstimatorTrainer, estimator: Any, raw: Sequence[bytes], between: Interface
) -> dict[str, np.ndarray[Any, Any]]:
    """What the Estimator predicts of raw examples, `[batch, …]` by name."""
    transform = None
    if between.transform is not None:
        # a layer of its own: one that was called within an Estimator's graph does not work outside of it
        transform_output = tft.TFTransformOutput(trainer.fn_args.transform_graph_path)
        transform = transform_output.transform_features_layer()
    features = between.features_of(list(raw), transform)
    values = {name: _as_values(features[name]) for name in between.feature_names}
    predicted = estimator.predict(
        lambda: tf.data.Dataset.from_tensors(values),
        checkpoint_path=trainer._checkpoint,
        yield_single_examples=False,
    )
    [batch] = estimator_predictions.in_a_thread(predicted)
    return batch


def _as_values(feature: Any) -> Any:
    """A feature as NumPy has it: an eager tensor cannot go into an Estimator's graph."""
    if isinstance(feature, tf.SparseTensor):
        return tf.compat.v1.SparseTensorValue(
            *(each.numpy() for each in (feature.indices, feature.values, feature.dense_shape))
        )
    if isinstance(feature, tf.RaggedTensor):
        nested = feature.flat_values.numpy()
        for splits in reversed(feature.nested_row_splits):
            nested = tf.compat.v1.ragged.RaggedTensorValue(nested, splits.numpy())
        return nested
    return feature.numpy()
