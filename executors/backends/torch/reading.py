"""The reader alone, for people with a loop of their own."""

from __future__ import annotations

import copy
from typing import Any

from polytrainer.executors.backends.torch.trainer import TorchTrainer
from polytrainer.executors.data.torch_batches import TorchBatches


def torch_batches(fn_args: Any, split: str, label_key: str | None = None, **options: Any) -> TorchBatches:
    """The batches of a split, for a loop in a `run_fn` of one's own.

    ```
    for features, label in torch_batches(fn_args, "train", label_key="species"):
    ```

    Examples are read by the transform graph or the schema that the Trainer was given; a rank of a training gets its
    share of each batch. Iterating again gives the next epoch; `state_dict` tells the position.

    Args:
        fn_args: What a `run_fn` gets.
        split: One of `train_args.splits` (all of them are read together), `eval_args.splits` or
            `eval_args.test_splits`. The first kind is shuffled.
        label_key: Name of the label; None: batches are features only.
        **options: Those of TorchTrainer that say how to read: `encoders`, `defaults`, `feature_spec`, and `weight_key`,
            with which a batch is `(features, label, weight)`.

    Raises:
        ValueError: If there is no such split.
        PreflightError: If the label or the features do not fit the examples.
    """
    trainer = TorchTrainer(label_key, **options)
    told = copy.copy(fn_args)
    told.hyperparameters, told.test_results_dir = None, None  # a Tuner's values and test results are the loop's own
    trainer.bind(told)
    if split in fn_args.train_args.splits:
        return trainer.train_batches  # type: ignore[no-any-return]
    patterns = {**fn_args.eval_split_files, **fn_args.test_files}
    if split not in patterns:
        known = sorted({*fn_args.train_args.splits, *patterns})
        raise ValueError(f"split: got {split!r}; expected one of {', '.join(known)}.")
    return trainer.input_fn(trainer.files(patterns[split]), training=False)  # type: ignore[return-value]
