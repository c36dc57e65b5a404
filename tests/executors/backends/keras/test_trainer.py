"""KerasTrainer: what a user gets for a model_fn and a label."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""

# one module for all tests: what varies comes by custom_config
MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            kind = (self.fn_args.custom_config or {}).get("kind", "functional")
            model = getattr(self, kind)()
            loss = {"p": "binary_crossentropy"} if kind == "with_dict_output" else "binary_crossentropy"
            metrics = None if isinstance(loss, dict) else ["accuracy"]
            model.compile(tf.keras.optimizers.Adam(self.rate), loss, metrics=metrics)
            return model

        def functional(self):
            inputs = {"x": tf.keras.Input((1,), name="x")}
            x = tf.keras.layers.Concatenate()([*inputs.values(), inputs["x"]])
            hidden = tf.keras.layers.Dense(self.hidden, activation="tanh", name="hidden")(x)
            out = tf.keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="out")
            return tf.keras.Model(inputs, out(hidden))

        def subclassed(self):
            class Subclassed(tf.keras.Model):
                def __init__(self):
                    super().__init__()
                    self.out = tf.keras.layers.Dense(1, activation="sigmoid")
                def call(self, features, training=False):
                    return self.out(features["x"])
            return Subclassed()

        def with_dict_output(self):
            inputs = {"x": tf.keras.Input((1,), name="x")}
            out = tf.keras.layers.Dense(1, activation="sigmoid", name="p")(inputs["x"])
            return tf.keras.Model(inputs, {"p": out})

        def sequential(self):
            class TakeX(tf.keras.layers.Layer):
                def call(self, features):
                    return features["x"]
            return tf.keras.Sequential([TakeX(), tf.keras.layers.Dense(1, activation="sigmoid")])

    run_fn = Mine(label_key="label", hidden=4, rate=0.05).run_fn
"""


@pytest.fixture
def keras_node(node, module_file):
    """The `node` with a schema and the module above."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 3, "batch_size": 4, "seed": 1})
    node.exec_properties["module_file"] = module_file(MODULE, "keras_module")
    return node


def state(node):
    return json.loads(Path(node.model_run.uri, "trainer_state.json").read_text())


def weights(node):
    import numpy as np

    with np.load(Path(node.model.uri, "Format-Keras", "weights.npz")) as arrays:
        return {name: arrays[name] for name in arrays.files}


def serialized(**features):
    import tensorflow as tf

    kinds = {
        float: lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
        int: lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
        bytes: lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)),
    }
    made = {name: kinds[type(values[0])](values) for name, values in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def loaded(node, folder="Format-Serving"):
    import tensorflow as tf

    return tf.saved_model.load(f"{node.model.uri}/{folder}")


# ---- models and signatures


@pytest.mark.parametrize(
    "kind",
    ["functional", "subclassed", pytest.param("sequential", marks=pytest.mark.exhaustive), "with_dict_output"],
)
def test_every_kind_of_model_serves_raw_examples_without_a_label(keras_node, kind):
    import tensorflow as tf

    keras_node.run(custom_config=json.dumps({"kind": kind}))
    for folder in ("Format-Serving", "Format-TFMA"):
        signatures = loaded(keras_node, folder).signatures
        assert set(signatures) == {"serving_default", "predict", "transform_features"}
        by_example = signatures["serving_default"](examples=tf.constant([serialized(x=[1.0]), serialized(x=[2.0])]))
        by_name = signatures["predict"](x=tf.constant([[1.0], [2.0]]))
        [name] = by_example
        assert name == ("p" if kind == "with_dict_output" else "outputs")
        assert by_example[name].shape == (2, 1)
        assert by_example[name].numpy().tolist() == by_name[name].numpy().tolist()


def test_transform_features_has_the_label_where_an_example_has_one(keras_node):
    import tensorflow as tf

    keras_node.run()
    features = loaded(keras_node).signatures["transform_features"](
        examples=tf.constant([serialized(x=[1.0], label=[1]), serialized(x=[2.0])])
    )
    assert features["label"].numpy().tolist() == [[1], [0]]


def test_the_run_is_written_down(keras_node):
    keras_node.run()
    told = state(keras_node)
    assert (told["step"], told["num_examples"], told["batch_size"], told["seed"]) == (6, 8, 4, 1)
    assert told["arguments"] == {"hidden": "4", "rate": "0.05"}
    with Path(keras_node.model_run.uri, "logs", "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.05, 0.05, 0.05])
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(rows[0])
    assert list(Path(keras_node.model_run.uri, "logs").glob("*/events.out.tfevents.*"))
    properties = keras_node.model.mlmd_artifact.custom_properties
    assert properties["framework"].string_value == "keras"
    assert properties["train_steps"].int_value == 6
    assert properties["metric.accuracy"].double_value == told["metrics"]["accuracy"]
    assert properties["argument.rate"].string_value == "0.05"
    assert properties["seconds.training"].double_value == told["timings"]["training"]


def test_the_banner_and_plain_lines_of_progress_are_printed(keras_node, capsys):
    keras_node.run(train_args=json.dumps({"num_epochs": 2, "batch_size": 4, "log_every_n_steps": 1}))
    screen = capsys.readouterr().out
    assert "8 examples in ['train'], evaluated on ['eval']" in screen
    assert "17 parameters, 17 of them trainable" in screen
    assert "step 1/4  " in screen
    assert "loss 0." in screen
    assert "examples/s" in screen
    assert "\r" not in screen


def test_a_legacy_optimizer_of_keras_2_trains_too(keras_node, module_file):
    import tensorflow as tf

    if tf.__version__ >= "2.16":
        pytest.skip("Keras 3 has none")
    source = MODULE.replace("tf.keras.optimizers.Adam(", "tf.keras.optimizers.legacy.Adam(")
    keras_node.run(module_file=module_file(source, "legacy_optimizer"))
    assert state(keras_node)["step"] == 6


# ---- how long


@pytest.mark.parametrize(
    ("train_args", "steps"),
    [
        ({"num_steps": 5, "batch_size": 4}, 5),
        ({"num_steps": 1, "batch_size": 4}, 1),
        ({"num_epochs": 3, "batch_size": 4}, 6),
        ({"num_epochs": 2, "batch_size": 3}, 6),  # 3 + 3 + 2 examples
        ({"batch_size": 4}, 2),  # neither: once through the data
        ({"num_epochs": 2, "batch_size": 100}, 2),  # a batch larger than the data
        ({"num_epochs": 1, "splits": ["train", "test"], "batch_size": 5}, 2),  # 8 + 2 examples
    ],
)
def test_it_takes_the_steps_that_were_asked_for(keras_node, train_args, steps):
    keras_node.run(train_args=json.dumps(train_args))
    assert state(keras_node)["step"] == steps


def test_eval_steps_limit_the_evaluation_while_training(keras_node):
    keras_node.run(eval_args=json.dumps({"num_steps": 1, "batch_size": 1}))
    assert state(keras_node)["step"] == 6


def test_test_splits_are_measured(keras_node):
    keras_node.run(eval_args=json.dumps({"test_splits": ["test"]}))
    metrics = state(keras_node)["metrics"]
    assert {"loss", "accuracy", "test.loss", "test.accuracy"} == set(metrics)
    assert keras_node.model.mlmd_artifact.custom_properties["metric.test.loss"].double_value == metrics["test.loss"]


# ---- the same again


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(keras_node):
    results = []
    for seed in (1, 1, 2):
        import shutil

        for artifact in (keras_node.model, keras_node.model_run):
            shutil.rmtree(artifact.uri)
        keras_node.run(train_args=json.dumps({"num_epochs": 3, "batch_size": 4, "seed": seed}))
        results.append({name: array.tolist() for name, array in weights(keras_node).items()})
    assert results[0] == results[1] != results[2]


# ---- arguments


def test_a_tuners_values_override_arguments(keras_node):
    config = {"space": [], "values": {"hidden": 7}}
    keras_node.give("hyperparameters", "HyperParameters", "hp", {"best.txt": json.dumps(config)})
    keras_node.run()
    assert weights(keras_node)["hidden/0"].shape == (2, 7)


def test_an_unknown_hyperparameter_is_an_error_that_lists_the_known(keras_node):
    from polytrainer.executors.errors import PreflightError

    keras_node.give("hyperparameters", "HyperParameters", "hp", {"best.txt": '{"hiden": 7}'})
    with pytest.raises(
        PreflightError, match=r"\['hiden'\]; expected names of arguments of Mine.* \['hidden', 'rate'\]"
    ):
        keras_node.run()


def test_an_argument_called_like_a_method_is_refused():
    from polytrainer import KerasTrainer

    with pytest.raises(TypeError, match=r"\['evaluate'\], which it needs for its own methods"):
        KerasTrainer(label_key="label", evaluate=True)


# ---- stopping


def test_early_stopping_goes_back_to_the_best_weights(keras_node):
    stopping = {"metric": "accuracy", "patience": 2, "min_delta": 1.0}  # nothing is ever better than the first
    keras_node.run(train_args=json.dumps({"num_epochs": 50, "batch_size": 4, "seed": 1, "early_stopping": stopping}))
    told = state(keras_node)
    assert (told["step"], told["best_step"], told["waited"]) == (6, 2, 2)
    assert told["metrics"]["accuracy"] == pytest.approx(told["best"])


def test_an_unknown_metric_of_early_stopping_lists_the_known(keras_node):
    from polytrainer.executors.errors import PreflightError

    stopping = {"metric": "val_f1", "patience": 2}
    with pytest.raises(PreflightError, match=r"Nothing was trained: .*'f1'; expected one of \['accuracy', 'loss'\]"):
        keras_node.run(train_args=json.dumps({"num_epochs": 5, "early_stopping": stopping}))


def test_a_loss_that_is_no_number_ends_the_training_with_its_step(keras_node, module_file):
    from polytrainer.executors.errors import TrainingError

    source = MODULE.replace('else "binary_crossentropy"', "else (lambda y, p: tf.math.log(-1.0 - p))")
    with pytest.raises(
        TrainingError, match=r"the loss: got nan at step 1; expected a finite number. It was so from the"
    ):
        keras_node.run(module_file=module_file(source, "nan_module"))


# ---- precision and devices


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_serves_float32_and_leaves_no_policy_behind(keras_node, precision):
    import tensorflow as tf

    before = tf.keras.mixed_precision.global_policy().name
    keras_node.run(train_args=json.dumps({"num_epochs": 1, "batch_size": 4, "precision": precision}))
    assert tf.keras.mixed_precision.global_policy().name == before
    [output] = loaded(keras_node).signatures["serving_default"](examples=tf.constant([serialized(x=[1.0])])).values()
    assert output.dtype == tf.float32


def test_a_mirrored_strategy_trains(keras_node):
    keras_node.run(train_args=json.dumps({"num_epochs": 2, "batch_size": 4, "strategy": "mirrored"}))
    assert state(keras_node)["step"] == 4


# ---- starting from another model


def test_a_base_model_gives_its_weights_by_layer(keras_node, tmp_path, capsys):
    import shutil

    keras_node.run()
    before = weights(keras_node)
    shutil.copytree(keras_node.model.uri, tmp_path / "base")
    keras_node.give("base_model", "Model", "base", {})
    keras_node.run(train_args=json.dumps({"num_steps": 1, "batch_size": 4, "seed": 5}))
    assert "2 layers loaded (hidden, out)" in capsys.readouterr().out
    after = weights(keras_node)
    assert all(abs(after[name] - before[name]).max() <= 0.051 for name in before)  # one step of Adam, at rate 0.05


def test_a_base_model_that_fits_in_part_says_what_did_not(keras_node, tmp_path, capsys):
    import shutil

    keras_node.run()
    shutil.copytree(keras_node.model.uri, tmp_path / "base")
    keras_node.give("base_model", "Model", "base", {})
    keras_node.give("hyperparameters", "HyperParameters", "hp", {"best.txt": '{"rate": 0.01}'})
    keras_node.run(custom_config=json.dumps({"kind": "functional"}))
    capsys.readouterr()
    source = Path(keras_node.exec_properties["module_file"])
    source.write_text(source.read_text().replace('name="hidden"', 'name="other"'))
    keras_node.run()
    assert "1 layers loaded (out); 1 new (other); 1 unused (hidden)" in capsys.readouterr().out


def test_a_base_model_of_another_making_is_refused(keras_node):
    from polytrainer.executors.errors import PreflightError

    keras_node.give("base_model", "Model", "base", {"Format-Serving/saved_model.pb": "x"})
    with pytest.raises(PreflightError, match="base_model: got no Format-Keras in"):
        keras_node.run()


# ---- clear errors before training


TWO_INPUTS = '{"x": tf.keras.Input((1,), name="x"), "y": tf.keras.Input((1,), name="y")}\n            x ='
UNKNOWN_LABEL = r"label_key: got 'lable'; expected one of the features, \['label', 'x'\]"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('label_key="label"', 'label_key="lable"', UNKNOWN_LABEL),
        ("model.compile(", "(lambda *_, **__: None)(", "a model that is not compiled"),
        ("return model\n", "return 7\n", r"what model_fn returned: got builtins\.int; expected a tf\.keras\.Model"),
        ('{"x": tf.keras.Input((1,), name="x")}\n            x =', TWO_INPUTS, r"the model's inputs: got \['y'\]"),
        ('label_key="label",', 'label_key="label", defaults={"z": 0.0},', r"defaults: got \['z'\]"),
    ],
)
def test_what_does_not_fit_is_said_before_training(keras_node, module_file, old, new, match):
    assert old in MODULE
    with pytest.raises(ValueError, match=match):
        keras_node.run(module_file=module_file(MODULE.replace(old, new), "wrong_module"))
    assert not Path(keras_node.model.uri, "Format-Serving").exists()


def test_a_feature_that_the_data_lacks_is_named(keras_node):
    from polytrainer.executors.errors import PreflightError

    more = 'feature { name: "z" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }'
    keras_node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA + more})
    with pytest.raises(
        PreflightError, match=r"feature 'z' of the training data: got no value in 8 examples.*defaults="
    ):
        keras_node.run()


def test_a_feature_of_another_type_is_named(keras_node):
    from polytrainer.executors.errors import PreflightError

    wrong = SCHEMA.replace('name: "x" type: FLOAT', 'name: "x" type: INT')
    keras_node.give("schema", "Schema", "schema", {"schema.pbtxt": wrong})
    with pytest.raises(
        PreflightError, match=r"feature 'x' in record 0 of .*: got a value in its float_list; expected int64_list"
    ):
        keras_node.run()


def test_without_schema_and_spec_it_asks_for_one(keras_node):
    from polytrainer.executors.errors import PreflightError

    del keras_node.input_dict["schema"]
    with pytest.raises(PreflightError, match=r"no schema, no transform graph, no feature_spec.*Mine\(feature_spec="):
        keras_node.run()


def test_a_feature_spec_of_ones_own_is_enough(keras_node, module_file):
    spec = 'feature_spec={"x": tf.io.FixedLenFeature([1], tf.float32), "label": tf.io.FixedLenFeature([1], tf.int64)}'
    del keras_node.input_dict["schema"]
    keras_node.run(module_file=module_file(MODULE.replace('"label", hid', f'"label", {spec}, hid'), "with_spec"))
    assert state(keras_node)["step"] == 6


def test_ragged_and_bytes_features_train_and_serve(node, module_file):
    import tensorflow as tf

    schema = """
        feature { name: "ids" type: INT }
        feature { name: "word" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
        feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
        represent_variable_length_as_ragged: true
    """
    node.give("schema", "Schema", "schema", {"schema.pbtxt": schema})
    rows = [{"ids": [number] * (number % 3), "word": [b"odd" if number % 2 else b"even"]} for number in range(8)]
    for split in ("train", "eval"):
        path = str(node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz")
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for number, row in enumerate(rows):
                features = {name: values for name, values in row.items() if values}
                writer.write(serialized(**features, label=[number % 2]))
    source = """
        import tensorflow as tf
        from polytrainer import KerasTrainer

        class Model(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.words = tf.keras.layers.StringLookup(vocabulary=["odd", "even"])
                self.out = tf.keras.layers.Dense(1, activation="sigmoid")

            def call(self, features, training=False):
                total = tf.cast(tf.reduce_sum(features["ids"], axis=1), tf.float32)
                word = tf.cast(tf.reshape(self.words(features["word"]), [-1]), tf.float32)
                return self.out(tf.stack([total, word], axis=1))

        class Mine(KerasTrainer):
            def model_fn(self):
                model = Model()
                model.compile("adam", "binary_crossentropy")
                return model

        run_fn = Mine(label_key="label").run_fn
    """
    node.run(module_file=module_file(source, "ragged_module"))
    signatures = loaded(node).signatures
    by_example = signatures["serving_default"](examples=tf.constant([serialized(ids=[1, 2], word=[b"odd"])]))
    none = tf.int64.min
    by_name = signatures["predict"](ids=tf.constant([[1, 2, none]], tf.int64), word=tf.constant([["odd"]]))
    assert by_example["outputs"].numpy().tolist() == by_name["outputs"].numpy().tolist()
