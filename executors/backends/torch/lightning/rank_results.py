"""What a module logs in an evaluation, of the whole split: each rank has measured its share of it only."""

from __future__ import annotations

from typing import Any

import torch


def collect(lightning: Any) -> None:
    """Lets what is logged from now on in an evaluation stay on its rank until `merge` is called.

    Lightning's own `sync_dist=True` averages the numbers of examples as integers: of 21 and 20 it makes 20. And a rank
    that logs nothing, as it has no example, would be waited for.
    """
    results = lightning._results
    log = type(results).log

    def log_on_this_rank(*args: Any, **options: Any) -> None:
        log(results, *args, **{**options, "sync_dist": options.get("sync_dist", False) and options.get("on_step")})

    results.log = log_on_this_rank


def merge(lightning: Any) -> None:
    """Replaces what each rank has logged of its share by what all have logged together; every rank calls it.

    What the module logs as a torchmetrics.Metric is of all ranks already. Means are weighted by the numbers of
    examples. A rank may have logged nothing.
    """
    results = lightning._results
    local = {key: _sums(result) for key, result in results.items() if _is_local(result)}
    shares: list[Any] = [None] * lightning.world_size
    torch.distributed.all_gather_object(shares, local)
    for key in local:
        result = results[key]
        value = _merged(result.meta, [share[key] for share in shares if key in share])
        result._computed = torch.tensor(value, dtype=result.value.dtype, device=result.value.device)
        names = results._forked_name(result, on_step=False)
        lightning.callback_metrics.update(dict.fromkeys(names, result._computed))


def _is_local(result: Any) -> bool:
    meta = result.meta
    return bool(result.is_tensor and meta.on_epoch and not result.has_reset and not meta.sync.should)


def _sums(result: Any) -> tuple[float, float]:
    return float(result.value), float(result.cumulated_batch_size) if result.meta.is_mean_reduction else 1.0


def _merged(meta: Any, shares: list[tuple[float, float]]) -> float:
    values = [value for value, _ in shares]
    if meta.is_max_reduction:
        return max(values)
    if meta.is_min_reduction:
        return min(values)
    return sum(values) / (sum(weight for _, weight in shares) if meta.is_mean_reduction else 1.0)
