"""A published model, called on examples as it will be when it is served."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from polytrainer.executors.backends import fit_data
from polytrainer.executors.backends.fit_result import FitResult, serving_path
from polytrainer.executors.backends.local_fit import SCHEMA_FILE
from polytrainer.executors.data.errors import DataError, refuse
from polytrainer.executors.data.files import data_files
from polytrainer.executors.data.table_columns import table_columns
from polytrainer.executors.data.table_examples import schema_kinds, serialized_examples
from polytrainer.executors.export.signatures import SERVING

_ROWS_AT_ONCE = 512


def predict(model: Any, data: Any) -> dict[str, Any]:
    """What a published model says of examples: what it will say when it is served.

    Args:
        model: What `fit` returned; or its `output_dir`, or the folder of a Trainer's model.
        data: Paths or patterns of files with raw tf.Examples, a pandas DataFrame, or a dict of numpy arrays by feature.
            The label is not needed.

    Returns:
        The outputs by name as numpy arrays, a row for each example, in their order.

    Raises:
        DataError: If there is no model, or the data cannot be taken.
    """
    if isinstance(model, FitResult):
        return model.predict(data)
    path = serving_path(str(model)) if isinstance(model, (str, os.PathLike)) else None
    if path is None:
        expected = "what fit returned, its output_dir, or the folder of a model"
        raise refuse("model", repr(model), expected)
    schema = Path(path).parents[1] / SCHEMA_FILE
    return ServedModel(path, str(schema) if schema.exists() else None).predict(data)


class ServedModel:
    """A model that was loaded from its folder."""

    def __init__(self, path: str, schema_path: str | None = None):
        """Loads it.

        Args:
            path: Its `Format-Serving`: a SavedModel, or a PyTorch program.
            schema_path: Of a schema that says the types of columns.
        """
        self._signature, self._model = _load(path)
        self._kinds = None
        if schema_path is not None:
            self._kinds = schema_kinds(fit_data.read_schema(schema_path))

    def predict(self, data: Any) -> dict[str, Any]:
        """The outputs by name, a row for each example."""
        import numpy as np

        examples = iter(self._examples(data))
        parts = []
        while chunk := list(islice(examples, _ROWS_AT_ONCE)):
            parts.append({name: np.asarray(value) for name, value in self._signature(chunk).items()})
        if not parts:
            raise refuse("data", "no examples", "at least one")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _examples(self, data: Any) -> Iterable[bytes]:
        if (table := fit_data.as_table(data)) is not None:
            return self._rows(table)
        if not fit_data.are_paths(data):
            raise DataError(fit_data.unknown_data("data", data))
        from polytrainer.executors.data.examples import all_examples

        patterns = fit_data.path_patterns(data)
        files = data_files(patterns)
        if not files:
            remedy = f"Relative paths begin at {Path.cwd()}."
            raise refuse("data", repr(patterns), "at least one file behind it", remedy)
        return all_examples(files)

    def _rows(self, table: Any) -> Iterator[bytes]:
        kinds = self._kinds and {name: kind for name, kind in self._kinds.items() if name in table}
        columns, problems = table_columns(table, "data", kinds)
        if problems:
            raise DataError(problems[0])
        return serialized_examples(columns)


def _load(path: str) -> tuple[Any, Any]:
    """A function of a list of serialized examples, and what must stay alive for it."""
    import tensorflow as tf

    from polytrainer.executors.evaluation import torch_model

    if torch_model.has_program(path):
        torch_model.check(path)
        program = torch_model.TorchModel(path)
        return (lambda chunk: program.signatures[SERVING](tf.constant(chunk))), program
    model = tf.saved_model.load(path)
    signature = model.signatures[SERVING]
    [argument] = signature.structured_input_signature[1]
    return (lambda chunk: signature(**{argument: tf.constant(chunk)})), model
