"""Estimators by the contract of TFX up to 1.15, natively there and through the shim after it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.line

ESTIMATOR = """
    import tensorflow as tf

    def trainer_fn(fn_args, schema):
        spec = {"x": tf.io.FixedLenFeature([1], tf.float32), "label": tf.io.FixedLenFeature([1], tf.int64)}

        def batches(pattern):
            def parsed(batch):
                features = tf.io.parse_example(batch, spec)
                return features, features.pop("label")
            return tf.data.TFRecordDataset(tf.io.gfile.glob(pattern), "GZIP").repeat().batch(4).map(parsed)

        estimator = tf.estimator.DNNClassifier(
            [4], [tf.feature_column.numeric_column("x")],
            config=tf.estimator.RunConfig(model_dir=fn_args.serving_model_dir),
        )
        receiver = tf.estimator.export.build_parsing_serving_input_receiver_fn({"x": spec["x"]})
        exporter = tf.estimator.FinalExporter("exporter", receiver)
        return {
            "estimator": estimator,
            "train_spec": tf.estimator.TrainSpec(lambda: batches(fn_args.train_files), max_steps=fn_args.train_steps),
            "eval_spec": tf.estimator.EvalSpec(lambda: batches(fn_args.eval_files), steps=1, exporters=[%s]),
        }
"""


def is_native():
    import tensorflow as tf

    return tf.__version__ < "2.16"


def test_it_trains_exports_and_tells_steps_and_metrics(node, module_file):
    node.run(module_file=module_file(ESTIMATOR % "exporter"))
    told = node.model.mlmd_artifact.custom_properties
    assert told["framework"].string_value == "estimator"
    assert told["train_steps"].int_value == 3
    assert 0 <= told["metric.accuracy"].double_value <= 1
    assert "predict" in told["signatures"].string_value
    assert (Path(node.model.uri) / "Format-Serving" / "saved_model.pb").exists()
    assert (Path(node.model_run.uri) / "Format-Serving" / "checkpoint").exists()


def test_a_worker_that_is_not_the_chief_leaves_no_model(node, module_file, monkeypatch):
    from polytrainer.executors.backends import estimator
    from polytrainer.executors.distributed import ranks

    monkeypatch.setattr(ranks, "is_chief_by_environment", lambda: False)
    monkeypatch.setattr(estimator, "is_chief_of_cluster", lambda: False)
    node.run(module_file=module_file(ESTIMATOR % "exporter"))
    assert not list(Path(node.model.uri).iterdir())
    assert (Path(node.model_run.uri) / "Format-Serving" / "checkpoint").exists()


def test_it_trains_without_a_schema_which_tfx_own_executor_cannot(node, module_file):
    assert "schema" not in node.input_dict
    node.run(module_file=module_file(ESTIMATOR % "exporter"))


def test_tf_keras_is_what_it_was_after_an_estimator(node, module_file):
    import tensorflow as tf

    before = tf.keras.Model
    node.run(module_file=module_file(ESTIMATOR % "exporter"))
    assert tf.keras.Model is before
    assert is_native() or not hasattr(tf, "estimator")


def test_without_an_exporter_it_says_which_to_add(node, module_file):
    from polytrainer.executors.errors import TrainingError

    with pytest.raises(TrainingError, match=r"exports of 0 exporters in .*FinalExporter"):
        node.run(module_file=module_file(ESTIMATOR % ""))


@pytest.mark.parametrize(
    ("returned", "match"),
    [("None", "NoneType: None"), ("{'estimator': 1}", r"a dict without \['train_spec', 'eval_spec'\]")],
)
def test_what_is_no_estimator_spec_is_shown(node, module_file, returned, match):
    from polytrainer.executors.errors import TrainingError

    source = f"import tensorflow as tf\ntf.estimator\ndef trainer_fn(fn_args, schema): return {returned}\n"
    with pytest.raises(TrainingError, match=f"what trainer_fn returned: got {match}"):
        node.run(module_file=module_file(source))


def test_without_its_extra_installed_it_says_what_to_install(node, module_file, monkeypatch):
    if is_native():
        pytest.skip("this TensorFlow brings Estimator")
    import sys

    from polytrainer.executors.errors import PreflightError

    monkeypatch.setitem(sys.modules, "tf_keras.api._v1", None)
    monkeypatch.delitem(sys.modules, "tf_keras.api._v1.keras", raising=False)
    with pytest.raises(PreflightError, match=r"pip install 'polytrainer\[estimator\]'"):
        node.run(module_file=module_file(ESTIMATOR % "exporter"))
