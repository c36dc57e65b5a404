"""How far two sets of outputs are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def difference(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> float:
    """The largest difference between outputs of the same names, relative to the largest value (or to 1, if larger).

    Args:
        wanted: Arrays by name, as they should be; of bytes, too.
        got: The same, as they are; there may be more of them.

    Returns:
        0 or more; infinite where one is missing, has another shape, other words, or NaN where the other has not.
    """
    worst = 0.0
    for name, value in wanted.items():
        if name not in got:
            return float("inf")
        ours, theirs = np.asarray(value), np.asarray(got[name])
        if ours.shape != theirs.shape:
            return float("inf")
        if ours.dtype.kind in "OSU":
            worst = max(worst, 0.0 if bool(np.all(ours == theirs)) else float("inf"))
            continue
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        scale = max(1.0, float(np.max(np.abs(ours[np.isfinite(ours)]), initial=0.0)))
        # infinite - infinite is NaN, and the same
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        apart = np.abs(ours - theirs)[~same]
        worst = max(worst, float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0.0)) / scale)
    return worst
