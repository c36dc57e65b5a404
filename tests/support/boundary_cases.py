"""Data sets and user modules for what lies between a raw example and a served answer.

Features are of one kind each: "dense" numbers, numbers that may be "missing", "ragged" numbers, "text"; Transform keeps
their names, renames them, or does both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from transforms import apply_transform

KINDS = ("dense", "missing", "ragged", "text")
NAMINGS = ("kept", "renamed", "mixed")
BACKENDS = ("keras", "estimator", "torch")
FEATURES = ("a", "b")
NUM_ROWS = 24

_REQUIRED = "presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } }"
_DECLARED = {
    "dense": f"type: FLOAT {_REQUIRED}",
    "missing": "type: FLOAT value_count { min: 0 max: 1 }",
    "ragged": "type: FLOAT",
    "text": f"type: BYTES {_REQUIRED}",
}
_WORDS = ("Low", "Middle", "High")


def schema(kind: str) -> str:
    """The schema of the raw examples."""
    features = [f'feature {{ name: "{name}" {_DECLARED[kind]} }}' for name in FEATURES]
    features += [f'feature {{ name: "row" type: INT {_REQUIRED} }}', f'feature {{ name: "y" type: FLOAT {_REQUIRED} }}']
    return "\n".join(features)


def rows(kind: str) -> list[dict[str, Any]]:
    """Raw examples; `row` counts them, `y` follows from the features."""
    made = []
    for row in range(NUM_ROWS):
        values = {"a": 10.0 + row % 7, "b": -5.0 + row % 5}
        features: dict[str, Any] = {
            "dense": values,
            "missing": {name: value for name, value in values.items() if row % 4 or name == "b"},
            "ragged": {name: [value, 1.0, row % 3 + 0.5][: 1 + row % 3] for name, value in values.items()},
            "text": {name: _WORDS[int(value) % 3].encode() for name, value in values.items()},
        }[kind]
        made.append({**features, "row": row, "y": values["a"] + values["b"]})
    return made


def transformed_name(naming: str, name: str) -> str:
    """What Transform calls a feature."""
    return name if naming == "kept" or (naming == "mixed" and name == "a") else f"{name}_xf"


def preprocessing_fn(kind: str, naming: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The commonest thing that Transform does to features of a kind."""
    import tensorflow as tf
    import tensorflow_transform as tft

    def filled(column: Any) -> Any:
        shape = [column.dense_shape[0], 1]
        return tf.sparse.to_dense(tf.SparseTensor(column.indices, column.values, shape), default_value=3.0)

    of_kind: dict[str, Callable[[Any], Any]] = {
        "dense": tft.scale_to_z_score,
        "missing": lambda column: tft.scale_to_z_score(filled(column)),
        "ragged": tft.scale_to_0_1,
        "text": lambda column: tf.strings.lower(tf.strings.join([column, "!"])),
    }

    def transform(inputs: Mapping[str, Any]) -> dict[str, Any]:
        made = {transformed_name(naming, name): of_kind[kind](inputs[name]) for name in FEATURES}
        return {**made, "row": inputs["row"], "y": inputs["y"]}

    return transform


AS_NUMBERS = """
    def as_numbers(features):
        columns = []
        for name in NAMES:
            value = features[name]
            if isinstance(value, tf.RaggedTensor):
                value = value.to_sparse()
            if isinstance(value, tf.SparseTensor):
                value = tf.sparse.reduce_sum(value, axis=1, keepdims=True)
            if value.dtype == tf.string:
                value = tf.strings.length(value)
            columns.append(tf.reshape(tf.cast(value, tf.float32), [-1, 1]))
        return tf.concat(columns, axis=1)
"""

MODULES = {
    "keras": """
    import tensorflow as tf
    from polytrainer import KerasTrainer
    NAMES = {names!r}
    """
    + AS_NUMBERS
    + """
    class Sum(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = tf.keras.layers.Dense(1)

        def call(self, features):
            return self.dense(as_numbers(features))

    class Mine(KerasTrainer):
        def model_fn(self):
            model = Sum()
            model.compile(tf.keras.optimizers.SGD(1e-3), "mse")
            return model

    run_fn = Mine(label_key="y", **{options!r}).run_fn
""",
    "estimator": """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer
    NAMES = {names!r}
    """
    + AS_NUMBERS
    + """
    class Mine(EstimatorTrainer):
        def model_fn(self):
            v1 = tf.compat.v1

            def model_fn(features, labels, mode, config):
                kernel = v1.get_variable("kernel", [len(NAMES), 1])
                y = tf.matmul(as_numbers(features), kernel)
                output = tf.estimator.export.PredictOutput(dict(y=y))
                outputs = {"serving_default": output, "predict": output}
                if mode == "infer":
                    return tf.estimator.EstimatorSpec(mode, predictions=dict(y=y), export_outputs=outputs)
                loss = tf.reduce_mean((y - labels) ** 2)
                step = v1.train.GradientDescentOptimizer(1e-3).minimize(loss, v1.train.get_global_step())
                return tf.estimator.EstimatorSpec(mode, predictions=dict(y=y), loss=loss, train_op=step)

            return tf.estimator.Estimator(model_fn)

    run_fn = Mine(label_key="y", **{options!r}).run_fn
""",
    "torch": """
    import torch
    from torch import nn
    from polytrainer import Hashing, TorchTrainer
    NAMES = {names!r}

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(len(NAMES), 1)

        def forward(self, features):
            return self.linear(torch.cat([as_numbers(features[name]) for name in NAMES], 1))

    def as_numbers(value):
        if hasattr(value, "row_splits"):
            ends = torch.nn.functional.pad(value.values.cumsum(0), (1, 0))[value.row_splits]
            value = ends[1:] - ends[:-1]
        return value.float().reshape(-1, 1)

    class Mine(TorchTrainer):
        def model_fn(self):
            return Sum()

    run_fn = Mine(label_key="y", loss="mse", learning_rate=1e-3,
                  encoders=dict((name, Hashing(5)) for name in NAMES if {kind!r} == "text"), **{options!r}).run_fn
""",
}


def module_source(backend: str, kind: str, names: Sequence[str], **options: Any) -> str:
    """A user module whose model sums up what the features hold."""
    source = MODULES[backend]
    for name, value in {"names": list(names), "kind": kind, "options": options}.items():
        source = source.replace("{" + name + "!r}", repr(value))
    return source


@pytest.fixture(scope="session")
def boundary_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], SimpleNamespace]:
    """`boundary_data(kind, naming)`: a transform graph, and raw and transformed examples, `[24]`; each made once."""
    made: dict[tuple[str, str], SimpleNamespace] = {}

    def make(kind: str, naming: str) -> SimpleNamespace:
        if (kind, naming) not in made:
            folder = tmp_path_factory.mktemp(f"{kind}_{naming}")
            data = apply_transform(folder, schema(kind), rows(kind), preprocessing_fn(kind, naming))
            made[kind, naming] = SimpleNamespace(**vars(data), schema=schema(kind), folder=folder)
        return made[kind, naming]

    return make
