"""The ranks of one training, as torch.distributed knows them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from polytrainer.executors.distributed.ranks import is_ranked

# a rank that has not come by then will not come
RENDEZVOUS = timedelta(minutes=15)
# a rank may wait for the others while one of them decodes the data or writes the model
TIMEOUT = timedelta(hours=6)
SHARED_FOLDER = "POLYTRAINER_SHARED_FOLDER"


def rank() -> int:
    """This process's number among all ranks, from 0; 0 where there is no group."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def local_rank() -> int:
    """This process's number among the ranks of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Number of ranks; 1 where there is no group."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def agreed(value: Any) -> Any:
    """Rank 0's value, on every rank."""
    import torch.distributed as dist

    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def gathered(value: Any) -> list[Any]:
    """Each rank's value, in order, on every rank."""
    import torch.distributed as dist

    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


class Agreement:
    """Whether any rank wishes something; each is told one call later, so that none waits for the others."""

    def __init__(self) -> None:
        self._asked: tuple[Any, Any] | None = None

    def anybody(self, wishes: bool) -> bool:
        """Tells of this rank's wish, and returns whether at the call before any rank had one. All ranks call it."""
        import torch
        import torch.distributed as dist

        wished = False
        if self._asked is not None:
            answer, flag = self._asked
            answer.wait()
            wished = bool(flag)
        flag = torch.tensor([float(wishes)])  # on the CPU: a GPU would have to be waited for
        self._asked = dist.all_reduce(flag, async_op=True), flag
        return wished


def wait_for_all() -> None:
    """Returns when every rank has come here."""
    import torch.distributed as dist

    if world_size() > 1:
        dist.barrier()


def shared_folder() -> str | None:
    """A folder that the ranks of this machine share, where their launcher has made one."""
    return os.environ.get(SHARED_FOLDER)


@contextmanager
def joined_if_ranked(strategy: str) -> Iterator[None]:
    """Joins the group that the environment names (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), within the context.

    Gloo between CPUs and, where there are GPUs, NCCL between them. A process that is alone stays alone, and a group
    that exists already is left as it is.

    Args:
        strategy: Of `TrainArgs`: it decides, too, whether the process is alone (`ranks.is_ranked`).
    """
    import torch
    import torch.distributed as dist

    if not is_ranked(strategy) or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    store, number, count = next(dist.rendezvous("env://", timeout=RENDEZVOUS))
    store.set_timeout(TIMEOUT)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()
