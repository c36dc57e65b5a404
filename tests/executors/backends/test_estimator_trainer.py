"""EstimatorTrainer: what a user gets for an Estimator and a label, on every TensorFlow line."""

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

MODULE = """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            return tf.estimator.DNNClassifier([self.hidden], [tf.feature_column.numeric_column("x")])

    run_fn = Mine(label_key="label", hidden=4).run_fn
"""


@pytest.fixture
def estimator_node(node, module_file):
    """The `node` with a schema and the module above."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 3, "batch_size": 4, "seed": 1})
    node.exec_properties["module_file"] = module_file(MODULE, "estimator_module")
    return node


def state(node):
    return json.loads(Path(node.model_run.uri, "trainer_state.json").read_text())


def serialized(x):
    import tensorflow as tf

    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()


def is_native():
    import tensorflow as tf

    return tf.__version__ < "2.16"


def test_it_serves_raw_examples_raw_features_and_tfmas_transform_features(estimator_node):
    import tensorflow as tf

    estimator_node.run(eval_args=json.dumps({"test_splits": ["test"]}))
    signatures = tf.saved_model.load(f"{estimator_node.model.uri}/Format-Serving").signatures
    assert {"predict", "raw:predict", "transform_features"} <= set(signatures)
    by_example = signatures["predict"](examples=tf.constant([serialized(1.0), serialized(2.0)]))
    by_name = signatures["raw:predict"](x=tf.constant([[1.0], [2.0]]))
    assert by_example["probabilities"].numpy().tolist() == by_name["probabilities"].numpy().tolist()
    features = signatures["transform_features"](examples=tf.constant([serialized(1.0)]))
    assert features["label"].numpy().tolist() == [[0]]
    told = state(estimator_node)
    assert told["step"] == 6
    assert {"accuracy", "test.accuracy"} <= set(told["metrics"])
    properties = estimator_node.model.mlmd_artifact.custom_properties
    assert properties["framework"].string_value == "estimator"
    assert properties["train_steps"].int_value == 6
    assert list(Path(estimator_node.model_run.uri, "logs").rglob("events.out.tfevents.*"))


def test_the_eval_model_is_an_eval_saved_model_where_tfma_has_one(estimator_node):
    from tensorflow.core.protobuf import saved_model_pb2

    estimator_node.run()
    path = Path(estimator_node.model.uri, "Format-TFMA", "saved_model.pb")
    [graph] = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs
    tags = list(graph.meta_info_def.tags)
    assert ("serve" in tags) is not is_native()


def test_a_worker_that_is_not_the_chief_leaves_no_model(estimator_node, monkeypatch):
    """It trains, and the chief evaluates, tests and saves."""
    from polytrainer.executors.backends import estimator_trainer
    from polytrainer.executors.distributed import ranks

    monkeypatch.setattr(ranks, "is_chief_by_environment", lambda: False)
    monkeypatch.setattr(estimator_trainer, "is_chief_of_cluster", lambda: False)
    estimator_node.run()
    assert not list(Path(estimator_node.model.uri).iterdir())
    assert not Path(estimator_node.model_run.uri, "trainer_state.json").exists()


def test_the_same_seed_gives_the_same_metrics(estimator_node):
    import shutil

    found = []
    for _ in range(2):
        for artifact in (estimator_node.model, estimator_node.model_run):
            shutil.rmtree(artifact.uri)
        estimator_node.run()
        found.append(state(estimator_node)["metrics"])
    assert found[0] == found[1]


def test_it_starts_from_a_base_model(estimator_node, tmp_path):
    import shutil

    import numpy as np
    import tensorflow as tf

    def kernel():
        variables = tf.train.load_checkpoint(f"{estimator_node.model.uri}/Format-Serving/variables/variables")
        return variables.get_tensor("dnn/hiddenlayer_0/kernel")

    estimator_node.run(train_args=json.dumps({"num_epochs": 20, "batch_size": 4, "seed": 1}))
    trained = kernel()
    shutil.move(estimator_node.model.uri, tmp_path / "base")
    estimator_node.give("base_model", "Model", "base", {})
    estimator_node.run(train_args=json.dumps({"num_steps": 1, "batch_size": 4, "seed": 9}))
    assert np.abs(kernel() - trained).max() < 0.1


def test_early_stopping_saves_the_best(estimator_node):
    stopping = {"metric": "accuracy", "patience": 2, "min_delta": 1.0}  # nothing is ever better than the first
    args = {"num_epochs": 50, "batch_size": 4, "seed": 1, "early_stopping": stopping}
    estimator_node.run(train_args=json.dumps(args), eval_args=json.dumps({"test_splits": ["eval"]}))
    told = state(estimator_node)
    assert [row["step"] for row in told["history"]] == [2, 4, 6]
    assert told["metrics"]["loss"] == pytest.approx(told["history"][0]["loss"])
    assert told["metrics"]["eval.loss"] == told["metrics"]["loss"]  # the test is of the best too


SCORED = MODULE.replace(
    "return tf.estimator.DNN",
    """values = self.fn_args.custom_config["scores"]

            def score(labels):
                evaluation = tf.compat.v1.train.get_global_step() // 2 - 1
                return {"score": tf.compat.v1.metrics.mean(tf.gather(tf.constant(values), evaluation))}

            return tf.estimator.add_metrics(self.estimator(), score)

        def estimator(self):
            return tf.estimator.DNN""",
)


@pytest.mark.parametrize(
    ("mode", "scores", "best_step", "evaluations"),
    [
        pytest.param("max", [float("nan"), 0.1, 0.2, 0.3, 0.4], 10, 5, marks=pytest.mark.exhaustive),
        ("max", [float("nan"), 0.5, float("inf"), 0.3, 0.2], 4, 5),  # infinity is no improvement either
    ],
)
def test_a_score_that_is_not_finite_is_never_the_best(
    estimator_node, module_file, caplog, mode, scores, best_step, evaluations
):
    stopping = {"metric": "score", "mode": mode, "patience": 3}
    estimator_node.run(
        module_file=module_file(SCORED, "scored"),
        train_args=json.dumps({"num_epochs": 5, "batch_size": 4, "seed": 1, "early_stopping": stopping}),
        custom_config=json.dumps({"scores": scores}),
    )
    assert len(state(estimator_node)["history"]) == evaluations
    assert estimator_node.model.mlmd_artifact.custom_properties["best_step"].int_value == best_step
    assert caplog.text.count("The metric 'score' of an evaluation is") == 1


def test_a_metric_to_watch_that_is_none_is_refused_before_training(estimator_node):
    from polytrainer.executors.errors import PreflightError

    stopping = {"early_stopping": {"metric": "acuracy", "mode": "max"}}
    expected = r"early_stopping\.metric: got 'acuracy'; expected one of \['accuracy', .*'average_loss', .*'loss', "
    with pytest.raises(PreflightError, match=expected):
        estimator_node.run(train_args=json.dumps({"num_epochs": 3, "batch_size": 4, **stopping}))


def test_a_metric_to_watch_may_have_keras_name(estimator_node):
    stopping = {"early_stopping": {"metric": "val_accuracy", "patience": 1, "min_delta": 1.0}}
    estimator_node.run(train_args=json.dumps({"num_epochs": 3, "batch_size": 4, **stopping}))
    assert [row["step"] for row in state(estimator_node)["history"]] == [2, 4]


def test_a_metric_of_an_evaluate_of_ones_own_may_be_watched(estimator_node, module_file):
    source = MODULE.replace(
        "def model_fn(self):",
        """def evaluate(self, model, files):
            return {**super().evaluate(model, files), "half": 0.5}

        def model_fn(self):""",
    )
    stopping = {"early_stopping": {"metric": "half", "mode": "min", "patience": 1}}
    estimator_node.run(
        module_file=module_file(source, "evaluates"),
        train_args=json.dumps({"num_epochs": 3, "batch_size": 4, **stopping}),
    )
    assert [row["half"] for row in state(estimator_node)["history"]] == [0.5, 0.5]


def test_an_optimizer_made_in_model_fn_trains_epoch_by_epoch(estimator_node, module_file):
    source = MODULE.replace(
        '[tf.feature_column.numeric_column("x")]',
        '[tf.feature_column.numeric_column("x")], optimizer=tf.keras.optimizers.legacy.Adam()',
    )
    stopping = {"early_stopping": {"metric": "loss", "patience": 5}}
    estimator_node.run(
        module_file=module_file(source, "adam"), train_args=json.dumps({"num_epochs": 3, "batch_size": 4, **stopping})
    )
    assert [row["step"] for row in state(estimator_node)["history"]] == [2, 4, 6]


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"drop_last": True}, [2, 4, 6]),
        ({"max_steps_per_epoch": 1}, [1, 2, 3]),
        pytest.param({}, [3, 6, 9], marks=pytest.mark.exhaustive),
    ],
)
def test_an_epoch_is_as_long_as_train_args_say(estimator_node, limits, steps):
    stopping = {"early_stopping": {"metric": "loss", "patience": 5}}
    estimator_node.run(train_args=json.dumps({"num_epochs": 3, "batch_size": 3, **stopping, **limits}))
    assert [row["step"] for row in state(estimator_node)["history"]] == steps
    with Path(estimator_node.model_run.uri, "logs", "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == steps
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.001] * 3)


def test_a_killed_training_goes_on_where_it_was(estimator_node, module_file):
    """The kill itself is tried with KerasTrainer; here the process fails after some steps."""
    import shutil

    failing = MODULE.replace(
        "def model_fn(self):",
        """def input_fn(self, files, *, training, first_step=0):
            batches = super().input_fn(files, training=training, first_step=first_step)
            if training and self.fn_args.custom_config == {"die": True} and first_step == 0:
                def die(features, label):
                    nan = tf.math.log(-tf.abs(features["x"]) - 1.0)
                    return features, label + tf.cast(tf.debugging.check_numerics(nan, "died"), tf.int64)
                return batches.take(5).concatenate(batches.map(die))
            return batches

        def model_fn(self):""",
    )
    module = module_file(failing, "dies")
    args = {"num_epochs": 6, "batch_size": 4, "seed": 1, "checkpoint_every_n_steps": 2}
    estimator_node.run(module_file=module, train_args=json.dumps(args), custom_config="null")
    uninterrupted = state(estimator_node)
    for artifact in (estimator_node.model, estimator_node.model_run):
        shutil.rmtree(artifact.uri)
    with pytest.raises(Exception, match="died"):
        estimator_node.run(module_file=module, train_args=json.dumps(args), custom_config='{"die": true}')
    shutil.rmtree(estimator_node.model_run.uri, ignore_errors=True)
    estimator_node.run(module_file=module, train_args=json.dumps(args), custom_config='{"die": true}')
    assert state(estimator_node)["resumed_from"] == 4
    assert state(estimator_node)["step"] == uninterrupted["step"] == 12
    assert state(estimator_node)["metrics"] == pytest.approx(uninterrupted["metrics"])


@pytest.mark.parametrize(
    ("train_args", "match"),
    [
        (
            {"precision": "bf16-mixed"},
            r"train_args\.precision: got 'bf16-mixed'; expected one of 32, which are those of Est",
        ),
        ({"strategy": "mirrored"}, r"train_args\.strategy: got 'mirrored'; expected one of default, which"),
    ],
)
def test_what_only_keras_trainer_has_is_refused(estimator_node, train_args, match):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=match):
        estimator_node.run(train_args=json.dumps(train_args))


def test_a_loss_that_is_no_number_ends_the_training_with_its_step(estimator_node, module_file):
    from polytrainer.executors.errors import TrainingError

    source = MODULE.replace(
        "def model_fn(self):",
        """def input_fn(self, files, **how):
            nan = float("nan")
            return super().input_fn(files, **how).map(lambda f, label: ({"x": f["x"] * nan}, label))

        def model_fn(self):""",
    )
    source = source.replace("DNNClassifier([self.hidden], ", "LinearClassifier(")  # a relu makes 0 of NaN
    source = source.replace(", hidden=4", "")
    with pytest.raises(TrainingError, match=r"the loss: got nan at step \d; expected a finite number"):
        estimator_node.run(module_file=module_file(source, "nan_estimator"))


def test_what_is_no_estimator_is_refused(estimator_node, module_file):
    from polytrainer.executors.errors import PreflightError

    source = MODULE.replace("return tf.estimator.DNNClassifier", "return tuple").replace(", hidden=4", "")
    source = source.replace('([self.hidden], [tf.feature_column.numeric_column("x")])', "((tf.estimator, 1))")
    with pytest.raises(PreflightError, match=r"what model_fn returned: got builtins\.tuple; expected a tf\.estimator"):
        estimator_node.run(module_file=module_file(source, "no_estimator"))


TRANSFORMED = """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            return tf.estimator.LinearClassifier([tf.feature_column.numeric_column("size_xf")])

    run_fn = Mine(label_key="kind_xf").run_fn
"""


@pytest.mark.exhaustive
def test_raw_examples_beside_a_transform_graph_train_the_same_model(transformed_node, module_file):
    import shutil

    metrics = []
    for raw in (True, False):
        transformed_node.use(raw=raw)
        transformed_node.run(
            module_file=module_file(TRANSFORMED, f"raw_{raw}"),
            train_args=json.dumps({"num_epochs": 2, "batch_size": 4, "seed": 1, "early_stopping": {}}),
        )
        metrics.append(state(transformed_node)["metrics"])
        for artifact in (transformed_node.model, transformed_node.model_run):
            shutil.rmtree(artifact.uri)
    assert metrics[0] == pytest.approx(metrics[1])
