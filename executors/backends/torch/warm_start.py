"""Weights of a model that was trained before, taken over by name and shape, never by position."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.engine import Engine

FOLDER, FILE = "Format-Torch", "model.safetensors"
_SHOWN = 5


def load(engine: Engine, base_model: str, *, strict: bool) -> None:
    """Gives a new model the weights of an old one; prints what matched.

    Args:
        engine: With the new model.
        base_model: Path of the old model's `Format-Serving`, beside which is its `Format-Torch`.
        strict: Whether all of them must match.

    Raises:
        PreflightError: If there are no weights, none of them match, or, with `strict`, some do not.
    """
    import torch
    from safetensors.torch import load as from_bytes
    from tensorflow.io import gfile

    folder = os.path.dirname(base_model.rstrip("/"))
    path = os.path.join(folder, FOLDER, FILE)
    if not gfile.exists(path):
        remedy = "Start from a model that TorchTrainer wrote, or override model_fn and load it yourself."
        raise PreflightError([Problem("base_model", f"no {FOLDER}/{FILE} in {folder}", "weights by name", remedy)])
    with gfile.GFile(path, "rb") as file:
        old = from_bytes(file.read())
    new = engine.backend.model_state(engine.model)
    tensors = {name: value for name, value in new.items() if isinstance(value, torch.Tensor)}
    matching = {name for name, value in tensors.items() if name in old and old[name].shape == value.shape}
    unlike = {name for name in set(tensors) & set(old) if name not in matching}
    missing, left_over = set(tensors) - set(old), set(old) - set(tensors)
    report = _report(len(matching), tensors, unlike=unlike, missing=missing, left_over=left_over)
    if not matching or (strict and (unlike or missing or left_over)):
        expected = "all weights, of the same names and shapes" if strict else "at least one of the same name and shape"
        raise PreflightError([Problem("base_model", report, expected)])
    taken = {name: old[name].to(tensors[name].dtype) for name in matching}
    engine.backend.load_model_state(engine.model, {**new, **taken})
    if engine.backend.rank == 0:
        print(f"starting from {Path(folder)}: {report}", flush=True)


def _report(matched: int, tensors: dict[str, Any], **others: set[str]) -> str:
    said = {
        "unlike": "have another shape",
        "missing": "are not in the old model and begin anew",
        "left_over": "are in the old model only",
    }
    parts = [f"{matched} of {len(tensors)} weights match"]
    parts += [f"{len(names)} {said[kind]} ({_some(names)})" for kind, names in others.items() if names]
    return "; ".join(parts)


def _some(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")
