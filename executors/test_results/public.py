"""Test results of a `run_fn` of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from polytrainer.executors.test_results import keys
from polytrainer.executors.test_results.records import record
from polytrainer.executors.test_results.shards import shard


@contextmanager
def write_test_results(fn_args: Any, split: str) -> Iterator[Callable[..., None]]:
    """Writes test results of a split, as the trainer classes do, from a `run_fn` of one's own.

    Example:
        ```python
        with polytrainer.write_test_results(fn_args, "test") as write:
            for example in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
                write(example, prediction=probabilities(example), species_xf=2, predicted_class=1)
        ```

    `write(example, *, prediction, **features)` takes one example: serialized, a tf.train.Example, or a dict of values
    by name; what the model says of it, a number or several; and further features to add or replace, e.g. the label as
    the model learned it, under its own name. The split is there when the context ends well; of several processes that
    train one model only one may write it.

    Args:
        fn_args: What `run_fn` was given. Where the Trainer has no `test_results` (TFX's own), nothing is written.
        split: Name of the split.

    Yields:
        `write`.
    """
    folder = getattr(fn_args, "test_results_dir", None)
    if folder is None:
        yield _nothing
        return
    with shard(folder, split) as write_record:

        def write(example: Any, *, prediction: Any, **features: Any) -> None:
            write_record(record(example, {keys.PREDICTION: prediction, **features}))

        yield write


def _nothing(example: Any, *, prediction: Any, **features: Any) -> None:
    """Takes what nobody asked for."""
