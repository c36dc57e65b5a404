"""What an Estimator says of the examples of a split, as test results have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from polytrainer.executors.backends.example_weights import weight_of_examples
from polytrainer.executors.test_results import keys
from polytrainer.executors.test_results.readings import Reading
from polytrainer.executors.test_results.results import Results

if TYPE_CHECKING:
    from polytrainer.executors.backends.estimator_trainer import EstimatorTrainer

# what no feature or prediction is called
_LABEL, _WEIGHT, _FEATURE = "polytrainer/label", "polytrainer/weight", "polytrainer/feature/"
_PROBABILITIES, _OF_THE_SECOND, _NUMBERS = "probabilities", "logistic", "predictions"  # those of TensorFlow's heads
_CLASS_IDS, _CLASSES = "class_ids", "classes"


def tell(trainer: EstimatorTrainer, estimator: Any, files: Sequence[str], results: Results) -> None:
    """Goes through the files once.

    Args:
        trainer: With `input_fn`.
        estimator: As `EstimatorTrainer` has configured it.
        files: Of the split.
        results: To tell.
    """

    def input_fn() -> Any:
        batches = trainer.input_fn(files, training=False)
        return batches.map(lambda *batch: _marked(*batch, with_all=not results.has_stored))

    predicted = estimator.predict(input_fn, checkpoint_path=trainer._checkpoint, yield_single_examples=False)
    for said in in_a_thread(predicted):
        own = {name: value for name, value in said.items() if not name.startswith((_LABEL, _WEIGHT, _FEATURE))}
        label = said.get(_LABEL)
        told = read(own, has_words=label is not None and label.dtype.kind == "O")
        if label is not None:
            told[str(trainer.label_key)] = label
        if _WEIGHT in said:
            told[keys.EXAMPLE_WEIGHT] = said[_WEIGHT]
        results.add(told, {name.removeprefix(_FEATURE): said[name] for name in said if name.startswith(_FEATURE)})


def read(outputs: Mapping[str, Any], *, has_words: bool) -> dict[str, Any]:
    """Features of test results, from what a head of TensorFlow's says, or any other model.

    Args:
        outputs: By name, each with a row for each example.
        has_words: Whether the label is a word, so that classes have names.
    """
    main = next((name for name in (_OF_THE_SECOND, _PROBABILITIES, _NUMBERS) if name in outputs), None)
    numbers = {name: value for name, value in outputs.items() if value.dtype.kind in "fiu"}
    told = Reading().of(numbers if main is None else {main: outputs[main]})
    if _CLASS_IDS in outputs:
        told[keys.PREDICTED_CLASS] = outputs[_CLASS_IDS]
    if _CLASSES in outputs and has_words:
        told[keys.PREDICTED_CLASS_NAME] = outputs[_CLASSES]
    return told


def told_beside(features: dict[str, Any]) -> dict[str, Any]:
    """Takes out of features what `tell` wants to see beside the predictions."""
    return {name: features.pop(name) for name in list(features) if name.startswith((_LABEL, _WEIGHT, _FEATURE))}


def with_beside(spec: Any, beside: Mapping[str, Any]) -> Any:
    """An EstimatorSpec that says so."""
    if not beside:
        return spec
    own = spec.predictions if isinstance(spec.predictions, Mapping) else {_NUMBERS: spec.predictions}
    return spec._replace(predictions={**own, **beside})


def _marked(features: Any, label: Any = None, weight: Any = None, *, with_all: bool) -> dict[str, Any]:
    """Features, and beside them what is to be seen again: a dense label, the weight, dense features if asked for."""
    marked = {_FEATURE + name: value for name, value in features.items() if with_all and isinstance(value, tf.Tensor)}
    if isinstance(label, tf.Tensor):
        marked[_LABEL] = label
    if weight is not None:
        marked[_WEIGHT] = weight_of_examples(weight)
    return {**features, **marked}


def in_a_thread(items: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """The same items; an Estimator that predicts would leave its graph the default one of this thread between them."""
    done = object()
    with ThreadPoolExecutor(1) as thread:
        while (item := thread.submit(next, items, done).result()) is not done:
            yield item if isinstance(item, dict) else {_NUMBERS: item}
