"""How many examples each split has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

if TYPE_CHECKING:
    from polytrainer.executors.run_args import RunArgs

TRAINING, EVALUATION, TEST = "training", "evaluation", "test"
_MOST_BYTES = 2 << 30  # of a split's files: reading more takes longer than a page is worth


def split_counts(told: RunArgs, state: Mapping[str, Any]) -> list[tuple[str, str, int | None]]:
    """The splits, what each is used for, and its number of examples; None where that is not known.

    Statistics given to the Trainer are believed, and what a trainer class has counted; else the records are counted
    here, of splits of up to 2 GiB.
    """
    known = dict(told.num_examples or {})
    if len(told.train_args.splits) == 1 and state.get("num_examples") is not None:
        known.setdefault(told.train_args.splits[0], int(state["num_examples"]))
    for split, patterns in _patterns(told).items():
        if split not in known and (count := _count(split, patterns)) is not None:
            known[split] = count
    uses = {
        TRAINING: told.train_args.splits,
        EVALUATION: told.eval_args.splits,
        TEST: told.eval_args.test_splits,
    }
    return [(split, use, known.get(split)) for use, splits in uses.items() for split in dict.fromkeys(splits)]


def _patterns(told: RunArgs) -> dict[str, list[str]]:
    """File patterns by split; those of several training splits are told apart by TFX's folders, `Split-<name>`."""
    training = {
        split: [pattern for pattern in told.train_files if f"/Split-{split}/" in pattern]
        for split in told.train_args.splits
    }
    if len(training) == 1:
        training = {split: list(told.train_files) for split in training}
    return {**training, **told.eval_split_files, **told.test_files}


def _count(split: str, patterns: Sequence[str]) -> int | None:
    from tensorflow.io import gfile

    from polytrainer.executors.data.dataset import count_examples
    from polytrainer.executors.data.files import data_files

    try:
        files = data_files(patterns)
        if not files or sum(gfile.stat(file).length for file in files) > _MOST_BYTES:
            return None
        return count_examples(files)
    except Exception as error:  # files of a plain run_fn may be anything
        logging.info("The examples of the split %r could not be counted: %s", split, error)
        return None
