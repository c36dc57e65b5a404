"""Metrics of several ranks as one: each rank's states, and how they are put together.

`torchmetrics.Metric.merge_state` would refuse metrics with `full_state_update` (Pearson's correlation), weigh means as
if one side were a single batch, and let a rank that saw nothing count as one. Here the states are put together as
torchmetrics itself does it over a process group (`Metric._sync_dist`), without the ranks that saw nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat, dim_zero_mean

State = dict[str, Any]


def states(metrics: Mapping[str, Metric]) -> State:
    """What metrics have seen so far, on the cpu, to be sent to another rank.

    Returns:
        By metric, and in it by each Metric that it is made of (itself is ""): `updates`, the number of batches, and
        `values`, its states by name. Tensors, lists, strings and numbers only.
    """
    return {name: {part: _state(of) for part, of in _parts(metric).items()} for name, metric in metrics.items()}


def merge(metrics: Mapping[str, Metric], others: Iterable[State]) -> None:
    """Puts what other ranks have seen into metrics, which are as if they had seen all of it.

    Args:
        metrics: Those of this rank.
        others: `states` of the other ranks' metrics of the same names.
    """
    ranks = [states(metrics), *others]
    for name, metric in metrics.items():
        for part, of in _parts(metric).items():
            _merge(of, [rank[name][part] for rank in ranks])


def _parts(metric: Metric) -> dict[str, Metric]:
    """The metric, and those in it if it wraps others."""
    return {name: module for name, module in metric.named_modules() if isinstance(module, Metric)}


def _state(metric: Metric) -> State:
    values: State = {}
    for name, value in metric.metric_state.items():
        if isinstance(value, Tensor):
            values[name] = value.detach().cpu()
        else:
            parts = [part.detach().cpu() for part in value]
            joined = metric._reductions[name] is dim_zero_cat and len(parts) > 1
            values[name] = [dim_zero_cat(parts)] if joined else parts
    return {"updates": metric.update_count, "values": values}


def _merge(metric: Metric, ranks: Sequence[State]) -> None:
    seen = [rank for rank in ranks if rank["updates"]]
    if not seen:
        return
    updates = [rank["updates"] for rank in seen]
    for name, reduction in metric._reductions.items():
        merged = _merged([rank["values"][name] for rank in seen], reduction, updates)
        on_device = (
            merged.to(metric.device) if isinstance(merged, Tensor) else [part.to(metric.device) for part in merged]
        )
        setattr(metric, name, on_device)
    metric._update_count = sum(updates)
    metric._computed = None


def _merged(values: Sequence[Any], reduction: Any, updates: Sequence[int]) -> Any:
    """One state of all ranks: `reduction` is the `dist_reduce_fx` that the metric was written with."""
    if len(values) == 1:
        return values[0]
    if isinstance(values[0], list):
        parts = [part for value in values for part in value]
        return parts if reduction in (None, dim_zero_cat) else reduction(parts)
    if reduction is dim_zero_cat:
        return torch.cat(list(values))
    stacked = torch.stack(list(values))
    if reduction is dim_zero_mean:
        weights = torch.tensor(updates, dtype=torch.float64) / sum(updates)
        return torch.tensordot(weights, stacked.double(), dims=1).to(stacked.dtype)
    return stacked if reduction is None else reduction(stacked)
