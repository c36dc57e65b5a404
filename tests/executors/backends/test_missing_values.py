"""NaN and missing values in each trainer: seen before training, never published."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest
from splits import write_raw

pytestmark = pytest.mark.line

TRAINERS = ["KerasTrainer", "EstimatorTrainer", "TorchTrainer"]
MODULES = {
    "KerasTrainer": """
        import tensorflow as tf
        from polytrainer import KerasTrainer

        class Mine(KerasTrainer):
            def model_fn(self):
                inputs = {name: tf.keras.Input((1,), name=name) for name in sorted(set(self.feature_spec) - {"label"})}
                hidden = tf.keras.layers.Dense(4, activation="relu")(tf.keras.layers.Concatenate()([*inputs.values()]))
                model = tf.keras.Model(inputs, tf.keras.layers.Dense(2, activation="softmax")(hidden))
                model.compile("adam", "sparse_categorical_crossentropy")
                return model
    """,
    "a KerasTrainer whose loss hides NaN": """
        import tensorflow as tf
        from polytrainer import KerasTrainer

        class Hide(tf.keras.layers.Layer):
            def call(self, x):
                return tf.where(tf.math.is_finite(x), x, 0.0)  # as ReLU does where it is max(0, x)

        class Mine(KerasTrainer):
            def model_fn(self):
                x = tf.keras.Input((1,), name="x")
                hidden = Hide()(tf.keras.layers.Dense(4, name="hidden")(x))
                model = tf.keras.Model({"x": x}, tf.keras.layers.Dense(2, activation="softmax")(hidden))
                model.compile("adam", "sparse_categorical_crossentropy")
                return model
    """,
    "a TorchTrainer whose loss hides NaN": """
        import torch
        from torch import nn
        from polytrainer import TorchTrainer

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden, self.out = nn.Linear(1, 4), nn.Linear(4, 2)

            def forward(self, x):
                hidden = self.hidden(x)
                return self.out(torch.where(hidden.isfinite(), hidden, 0.0))

        class Mine(TorchTrainer):
            def model_fn(self):
                return Net()
    """,
    "EstimatorTrainer": """
        import tensorflow as tf
        from polytrainer import EstimatorTrainer

        class Mine(EstimatorTrainer):
            def model_fn(self):
                columns = [tf.feature_column.numeric_column(name) for name in set(self.feature_spec) - {"label"}]
                return tf.estimator.LinearClassifier(columns, n_classes=2)
    """,
    "TorchTrainer": """
        from torch import nn
        from polytrainer import Features, TorchTrainer

        class Mine(TorchTrainer):
            def model_fn(self):
                features = Features.from_schema(self.schema, exclude=["label"])
                return nn.Sequential(features, nn.Linear(features.out_features, 2))
    """,
}
SCHEMA = """
    feature {{ name: "x" type: FLOAT presence {{ min_fraction: 1 min_count: 1 }} shape {{ dim {{ size: 1 }} }} {x} }}
    feature {{ name: "age" type: FLOAT presence {{ {presence} min_count: 1 }} {shape} }}
    feature {{ name: "label" type: INT presence {{ min_fraction: 1 min_count: 1 }} shape {{ dim {{ size: 1 }} }} }}
"""
DENSE = {"presence": "min_fraction: 1", "shape": "shape { dim { size: 1 } }"}  # as SchemaGen has it, seen in each row
OPTIONAL = {"presence": "min_fraction: 0.5", "shape": "value_count { min: 1 max: 1 }"}  # as SchemaGen has it, with gaps
NAN = float("nan")


def record(x, age, label=None):
    """A tf.Example as CsvExampleGen writes it: of an empty cell there is a feature without a value."""
    import tensorflow as tf

    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(x)
    ages = example.features.feature["age"].float_list
    if age is None:
        ages.SetInParent()
    else:
        ages.value.append(age)
    if label is not None:
        example.features.feature["label"].int64_list.value.append(label)
    return example.SerializeToString()


@pytest.fixture
def train(node, module_file):
    """Runs a node: `train("KerasTrainer", train={5: (nan, 1.0)}, …)` replaces x and age of some examples."""

    def run(trainer, *, arguments="", x="", age=DENSE, **changes):
        for split, count in (("train", 8), ("eval", 4)):
            values = {number: (float(number), 1.0) for number in range(count)} | changes.get(split, {})
            path = node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
            write_raw(path, [record(*value, label=number % 2) for number, value in sorted(values.items())])
        node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA.format(x=x, **age)})
        source = dedent(MODULES[trainer]) + f"\nrun_fn = Mine(label_key='label'{arguments}).run_fn\n"
        node.run(module_file=module_file(source, trainer.lower().replace(" ", "_")), train_args=json.dumps(ARGS))
        return SimpleNamespace(
            state=json.loads(Path(node.model_run.uri, "trainer_state.json").read_text()), model=Path(node.model.uri)
        )

    return run


ARGS = {"num_epochs": 3, "batch_size": 4, "seed": 1}


def served(model, records):
    """What the published model says, the first of its outputs."""
    import tensorflow as tf

    signatures = tf.saved_model.load(str(model / "Format-Serving")).signatures
    name = "predict" if "classification" in signatures else "serving_default"  # Estimator's own is of fewer outputs
    outputs = signatures[name](examples=tf.constant(records))
    return outputs.get("probabilities", next(iter(outputs.values()))).numpy()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_nan_and_infinity_in_training_are_refused_with_feature_file_and_record(trainer, train):
    from polytrainer.executors.errors import PreflightError

    match = (
        r"(?s)feature 'age' of the training data: got an infinite value in 1 example, first in record 2 of .*"
        r"feature 'x' of the training data: got NaN in 2 examples, first in record 5 of .*Split-train/data.*00001\.gz"
        r"; expected finite numbers.*Transform.*defaults=\{'x': value\}"
    )
    with pytest.raises(PreflightError, match=match):
        train(trainer, train={2: (1.0, float("inf")), 5: (NAN, 1.0), 6: (NAN, 1.0)})


@pytest.mark.parametrize("trainer", TRAINERS)
def test_nan_that_the_schema_allows_trains_and_publishes_nothing(trainer, train):
    from polytrainer.executors.errors import TrainingError

    with pytest.raises(TrainingError, match=r"Nothing is published: .*Is there a NaN in the data"):
        train(trainer, train={5: (NAN, 1.0)}, x="float_domain { disallow_nan: false }")


@pytest.mark.parametrize("trainer", ["a KerasTrainer whose loss hides NaN", "a TorchTrainer whose loss hides NaN"])
def test_weights_that_became_nan_behind_a_finite_loss_are_not_published(trainer, train):
    from polytrainer.executors.errors import TrainingError

    match = r"Nothing is published: the trained model: got 4 weights that are NaN or infinite: 4 of hidden"
    with pytest.raises(TrainingError, match=match):
        train(trainer, train={5: (NAN, 1.0)}, x="float_domain { disallow_nan: false }")


@pytest.mark.parametrize("trainer", TRAINERS)
def test_nan_in_the_eval_split_alone_is_said_and_counted(trainer, train, caplog):
    caplog.set_level("WARNING")
    run = train(trainer, eval={1: (NAN, 1.0), 3: (NAN, 1.0)})
    assert run.state["anomalies"]["eval"][0].startswith("x: NaN in 2 examples, first in record 1 of ")
    assert "split 'eval': feature 'x' has NaN in 2 examples, first in record 1 of" in caplog.text
    if run.state["metrics"]["loss"] != run.state["metrics"]["loss"]:  # Keras's ReLU hides it
        assert "metric 'loss' of the published model is nan: the split 'eval' has NaN in 2 examples" in caplog.text
    assert served(run.model, [record(1.0, 1.0)]).shape[0] == 1


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_empty_cell_without_a_default_is_refused_with_the_remedy(trainer, train):
    from polytrainer.executors.errors import PreflightError

    seen_in_the_data = {
        "KerasTrainer": r"feature 'age' of the split 'eval': got no value in 1 example, first in record 2 of .*",
        "EstimatorTrainer": r"feature 'age' of the split 'eval': got no value in 1 example, first in record 2 of .*",
        "TorchTrainer": r"feature 'age' in record 2 of .*: got no value; .*",
    }
    with pytest.raises((PreflightError, ValueError), match=seen_in_the_data[trainer] + r"defaults=\{'age': value\}"):
        train(trainer, eval={2: (1.0, None)})


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_feature_that_may_be_missing_is_refused_without_a_default(trainer, train):
    from polytrainer.executors.errors import PreflightError

    known_from_the_schema = {
        "KerasTrainer": r"feature 'age', which may be missing: got a model that fails .*defaults=\{'age': value\}",
        "EstimatorTrainer": r"SparseTensor.*defaults=\{name: value\}",
        "TorchTrainer": r"any number of numbers in age; .*defaults=\{name: value\}",
    }
    with pytest.raises((PreflightError, ValueError), match=f"(?s){known_from_the_schema[trainer]}"):
        train(trainer, age=OPTIONAL)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_default_takes_the_place_of_what_is_missing_empty_or_nan_and_is_served(trainer, train):
    import numpy as np

    gaps = {1: (1.0, None), 3: (3.0, NAN)}
    run = train(trainer, age=OPTIONAL, train=gaps, eval=gaps, arguments=", defaults={'age': 7.0}")
    assert "anomalies" not in run.state
    expected = served(run.model, [record(2.0, 7.0)])
    for gap in (None, NAN):
        alone = served(run.model, [record(2.0, gap)])
        beside = served(run.model, [record(2.0, gap), record(1.0, 3.0)])[:1]
        np.testing.assert_allclose(alone, expected, rtol=1e-5)
        np.testing.assert_allclose(beside, expected, rtol=1e-5)
