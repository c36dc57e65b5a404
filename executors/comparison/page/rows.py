"""Rows to draw: what all models said of the same rows, read from their test results in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from tfx.types import artifact_utils

from polytrainer.executors.comparison import forms
from polytrainer.executors.comparison.checks import Checked
from polytrainer.executors.comparison.participants import Participant
from polytrainer.executors.comparison.rows import Reader, group_of, parsed
from polytrainer.executors.data.files import files_in
from polytrainer.executors.report.outcomes import Outcomes, Task, of_arrays
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_args import BINARY, MULTICLASS, MULTILABEL, REGRESSION
from polytrainer.proto.comparator_pb2 import ComparatorArgs

if TYPE_CHECKING:
    from numpy.typing import NDArray

TASKS = (BINARY, MULTICLASS, MULTILABEL, REGRESSION)
MOST_ROWS, MOST_NUMBERS = 20_000, 8_000_000  # at hand; numbers of all models together are 64 MB
MOST_READ = 5_000_000  # rows times models: one process reads them, at some 20,000 a second
_HASHES = 2**31
_BATCH = 64  # rows may be large


def read(
    compared: Sequence[Participant], splits: Sequence[str], known: Checked, args: ComparatorArgs
) -> dict[str, Outcomes]:
    """Reads the test results of each model once, and keeps the same rows of all of them, in the same order.

    All rows, where they are few; else those whose keys have the smallest hashes, which is a random sample.

    Args:
        compared: The models; those with predictions that are not finite are left out.
        splits: Names of the splits.
        known: What is known of the rows.
        args: What is compared.
    """
    import numpy as np

    usable = [each for each in compared if each.name in known.usable]
    most = min(MOST_ROWS, max(MOST_NUMBERS // (known.outputs * len(usable)), 1))
    limit = _HASHES if known.rows <= most else int(_HASHES * most / known.rows)
    task = comparator_args.task(args)
    found = {}
    for each in usable:
        told = {key: fit for split in splits for key, fit in _told(each, split, limit, known.outputs, args)}
        keys = sorted(told)
        labels, scores = (np.stack([told[key][part] for key in keys]) for part in range(2))
        if task == MULTICLASS:
            labels = labels.argmax(axis=1)
        if task == BINARY:
            labels, scores = labels[:, 0], scores[:, 0]
        found[each.name] = of_arrays(cast(Task, task.lower()), labels, scores, dict(known.class_names))
    return found


def _told(
    each: Participant, split: str, limit: int, outputs: int, args: ComparatorArgs
) -> Iterator[tuple[str, tuple[NDArray[Any], NDArray[Any]]]]:
    """Key, label and prediction of the rows whose keys have a hash below a limit."""
    import numpy as np

    task, reader = comparator_args.task(args), Reader(split, args.label_key, tuple(args.key_features))
    [folder] = artifact_utils.get_split_uris([each.results], split)
    for record in _records(folder):
        key, (label, prediction, *_) = reader.read(parsed(record))
        if group_of(key) < limit:
            told = forms.prediction_of(task, np.frombuffer(prediction or b""))
            yield key, (forms.label_of(task, np.frombuffer(label or b""), outputs), told)


def _records(folder: str) -> Iterator[bytes]:
    """Of all files of a folder, compressed or not, as Beam reads them."""
    import tensorflow as tf

    for file in files_in(folder):
        records = tf.data.TFRecordDataset(file, "GZIP" if file.endswith(".gz") else "")
        for batch in records.batch(_BATCH).as_numpy_iterator():
            yield from batch


def at_hand(found: Mapping[str, Outcomes]) -> int:
    """How many rows were kept."""
    return len(next(iter(found.values())).labels)
