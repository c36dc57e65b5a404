"""How the models were trained: base models, tuned values, and the constructor arguments that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.executors.comparison.page.found import Found
from polytrainer.executors.report.page import Block, Table, Text


def trained_with(found: Found) -> Sequence[Block]:
    """A table with a column for each model."""
    models = found.document["models"]
    of_classes = [name for name, model in models.items() if model.get("arguments")]  # a plain run_fn differs in nothing
    rows = {
        "base model": {name: model.get("base_model") for name, model in models.items()},
        **_rows(models, "hyperparameters", "tuned: "),
        **{
            name: row
            for name, row in _rows(models, "arguments", "").items()
            if len({row[model] for model in of_classes}) > 1
        },
    }
    table = [[name, *row.values()] for name, row in rows.items() if any(row.values())]
    if not table:
        return [Text("No base model, no tuned values, and no constructor arguments that differ are known.")]
    note = "Of the arguments of the trainers' constructors those that differ; a plain run_fn has none."
    return [Table(["argument", *models], table, note=note)]


def _rows(models: Mapping[str, Any], kind: str, prefix: str) -> dict[str, dict[str, str | None]]:
    """A row for each value that any model has: model → value, None where it has none."""
    names = dict.fromkeys(name for model in models.values() for name in model.get(kind) or {})
    return {
        f"{prefix}{name}": {model: (told.get(kind) or {}).get(name) for model, told in models.items()} for name in names
    }
