"""What a framework's error about a batch says, without its stack frames, and beside it what the batch was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

# of an error in a graph of TensorFlow: its frames, its headings, and references to nodes
_NOISE = re.compile(
    r"^(File \"|Graph execution error|Detected at|Original stack trace|Node: |Traceback|\d+ root error|\(\d+\) |\[\[)"
)
_REFERENCES = re.compile(r"\s*\[\[\{\{.*?\}\}\]\]|\s*\[Op:.*?\]|\{\{.*?\}\}")
_TEXT_REMEDY = {
    "keras": 'KerasTrainer(label_vocabulary="auto") makes numbers of it, and so does '
    "tft.compute_and_apply_vocabulary in Transform.",
    "estimator": 'EstimatorTrainer(label_vocabulary="auto") makes numbers of it, and so does '
    "tft.compute_and_apply_vocabulary in Transform; or give the Estimator label_vocabulary=[…] and n_classes.",
    "torch": 'TorchTrainer(label_vocabulary="auto") makes numbers of it and serves classes, and so does '
    "tft.compute_and_apply_vocabulary in Transform.",
}


def reason(error: BaseException) -> str:
    """What an error says, in one line; of one in a graph of TensorFlow, what the operation says."""
    lines = [_REFERENCES.sub("", line).strip() for line in str(error).splitlines()]
    message = next((line for line in lines if line and not _NOISE.match(line)), "")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def text_label(label_key: str, framework: str) -> Problem:
    """What is wrong with a label of words that a loss of numbers is to learn.

    Args:
        label_key: Name of the label.
        framework: "keras", "estimator" or "torch".
    """
    remedy = _TEXT_REMEDY[framework].format(label=label_key)
    return Problem(f"the label {label_key!r}", "text", "numbers", remedy)


def first_batch_error(error: Exception, features: Any, label: Any, label_key: str | None, framework: str) -> Exception:
    """What to raise where a model, its loss or its metrics fail on the first batch.

    Args:
        error: What they raised.
        features: Tensors by name, as the model was given them.
        label: The label's tensor; None without one.
        label_key: Its name.
        framework: As in `text_label`.
    """
    if label_key is not None and _dtype(label) == "string":
        return PreflightError([text_label(label_key, framework)])
    given = [f"{name} {_described(value)}" for name, value in features.items()] if isinstance(features, Mapping) else []
    given += [] if label is None else [f"the label {label_key or ''} {_described(label)}"]
    expected = f"a model, a loss and metrics that take {', '.join(given) or 'the batches of input_fn'}"
    return PreflightError([Problem("the first batch", reason(error), expected)])


def _dtype(tensor: Any) -> str:
    return str(getattr(getattr(tensor, "dtype", None), "name", ""))


def _described(tensor: Any) -> str:
    shape = getattr(tensor, "shape", None)
    return f"{list(shape) if shape is not None and shape.rank is not None else '[…]'} {_dtype(tensor)}"
