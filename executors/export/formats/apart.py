"""How far a file is from the model that it was made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polytrainer.executors.export.formats.source import Arrays
from polytrainer.executors.export.parity import difference


def apart(wanted: Sequence[Arrays], got: Sequence[Arrays], *, quantized: bool) -> float:
    """The largest difference over some batches, as `parity.difference` has it.

    Of a quantized model, whole numbers are compared by the share that differs: they are classes, and where two of them
    are as likely, rounding decides.

    Args:
        wanted: What the model says of each batch.
        got: What the file says.
        quantized: Whether the file is.
    """
    if not quantized:
        return max(difference(ours, theirs) for ours, theirs in zip(wanted, got, strict=True))
    whole = [name for name, array in wanted[0].items() if np.asarray(array).dtype.kind in "biu"]
    worst = max(
        difference({name: array for name, array in ours.items() if name not in whole}, theirs)
        for ours, theirs in zip(wanted, got, strict=True)
    )
    return max([worst, *(_share(wanted, got, name) for name in whole)])


def _share(wanted: Sequence[Arrays], got: Sequence[Arrays], name: str) -> float:
    """The share of an output's numbers, over all batches, that is not the same; infinite where shapes differ."""
    pairs = [(np.asarray(ours[name]), np.asarray(theirs.get(name))) for ours, theirs in zip(wanted, got, strict=True)]
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        return float("inf")
    return float(np.mean(np.concatenate([(ours != theirs).ravel() for ours, theirs in pairs])))
