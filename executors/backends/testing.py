"""The test of a trained model, whatever its framework: metrics of each split, and the test results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data import examples
from polytrainer.executors.test_results import keys
from polytrainer.executors.test_results.results import Results, learns_another_label, opened
from polytrainer.executors.test_results.shards import Ranks
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.base import BaseTrainer

_LOOKED_AT = 100  # examples of a split


def test(trainer: BaseTrainer, model: Any) -> dict[str, float]:
    """Metrics on each of `EvalArgs.test_splits`, as `<split>.<metric>`; what `test_fn` does by default."""
    told, found = trainer.fn_args, {}
    for split, patterns in _splits(trainer).items():
        metrics = trainer._test(model, split, trainer.files(patterns), measured=split in told.test_files)
        found.update({f"{split}.{name}": value for name, value in metrics.items()} if split in told.test_files else {})
    return found


@contextmanager
def results_of(
    trainer: BaseTrainer, split: str, files: Sequence[str], default_input_fn: Any, ranks: Ranks | None = None
) -> Iterator[Results | None]:
    """The test results of a split, to be told; None where nobody asked for them.

    Args:
        trainer: Whose they are.
        split: Name of the split.
        files: Of the split.
        default_input_fn: The one whose batches are the files' examples in their order.
        ranks: Those that write; None for this process alone.
    """
    folder = _folder(trainer)
    if folder is None:
        yield None
        return
    in_file_order = type(trainer).input_fn is default_input_fn
    with opened(trainer, folder, split, files, ranks or Ranks(), in_file_order=in_file_order) as results:
        yield results


def check(trainer: BaseTrainer, default_test_fn: Any) -> list[Problem]:
    """Features of the examples that have names which test results need for themselves."""
    if _folder(trainer) is None or type(trainer).test_fn is not default_test_fn:
        return []
    added = {*keys.ADDED}
    if trainer.label_key is not None and learns_another_label(trainer):
        added.add(keys.stored_label(trainer.label_key))
    features = {*trainer._stored_spec}
    for patterns in _splits(trainer).values():
        features |= examples.names(examples.first_examples(trainer.files(patterns), _LOOKED_AT))
    expected = "a name that is not one of those that test_results adds"
    remedy = "Rename it, or override test_fn, which then writes no test results."
    return [Problem("the examples", f"a feature {name!r}", expected, remedy) for name in sorted(added & features)]


def _folder(trainer: BaseTrainer) -> str | None:
    return getattr(trainer.fn_args, "test_results_dir", None)  # TFX's own FnArgs have none


def _splits(trainer: BaseTrainer) -> dict[str, list[str]]:
    """Patterns of the files that are tested on: where there are no test splits, results are of the eval splits."""
    told = trainer.fn_args
    return told.test_files or (told.eval_split_files if _folder(trainer) else {})
