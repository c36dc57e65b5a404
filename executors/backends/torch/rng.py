"""The states of all random number generators that a training may draw from, in plain values."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed(value: int) -> None:
    """Seeds Python's, NumPy's and PyTorch's generators."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def state_dict() -> dict[str, Any]:
    """Of Python's, NumPy's, PyTorch's and this process's GPU's generator."""
    name, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    state = {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(key, np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def load_state_dict(state: dict[str, Any]) -> None:
    """Takes over what `state_dict` returned, in a process with the same devices."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, key, *rest = state["numpy"]
    np.random.set_state((name, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
