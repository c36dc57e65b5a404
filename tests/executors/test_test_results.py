"""test_results: every held-out example once with what the model says of it, for every reader of TFX Examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from results import TORCH, publish_as_examples, read

pytestmark = pytest.mark.line

KERAS = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            inputs = {"x": tf.keras.Input((2,), name="x")}
            model = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(inputs["x"]))
            loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(tf.keras.optimizers.Adam(0.1), loss, metrics=["sparse_categorical_accuracy"])
            return model

    run_fn = Mine(label_key="label").run_fn
"""
ESTIMATOR = """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            return tf.estimator.DNNClassifier([8], [tf.feature_column.numeric_column("x", (2,))], n_classes=3)

    run_fn = Mine(label_key="label").run_fn
"""
BACKENDS = {"keras": KERAS, "estimator": ESTIMATOR, "torch": TORCH}
CONFIG = {
    "model_specs": [{"label_key": "label", "prediction_key": "prediction"}],
    "slicing_specs": [{}, {"feature_keys": ["city"]}],
    "metrics_specs": [{"metrics": [{"class_name": "SparseCategoricalAccuracy"}, {"class_name": "ExampleCount"}]}],
}


def train(node, module_file, source, name="results_module", **changes):
    node.run(module_file=module_file(source, name), **changes)
    return node.told()


def probabilities_served(node):
    """What the SavedModel says of the stored examples of the test split, as probabilities."""
    import tensorflow as tf

    files = sorted(map(str, (node.examples_uri / "Split-test").iterdir()))
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    signatures = tf.saved_model.load(f"{node.model.uri}/Format-Serving").signatures
    if "predict" in signatures and "raw:predict" in signatures:
        return signatures["predict"](examples=tf.constant(records))["probabilities"].numpy()
    [logits] = [v for k, v in signatures["serving_default"](tf.constant(records)).items() if k != "classes"]
    return tf.nn.softmax(logits).numpy()


# ---- what the trainer classes write, and who reads it


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_example_is_there_once_with_what_the_model_says_of_it(tested_node, module_file, without_model, backend):
    publish_as_examples(tested_node)
    told = train(tested_node, module_file, BACKENDS[backend])
    added = {"prediction", "predicted_class", "predicted_class_name"}
    assert [{k: v for k, v in row.items() if k not in added} for row in told] == tested_node.stored()
    predictions = np.array([row["prediction"] for row in told])
    assert np.allclose(predictions, probabilities_served(tested_node), rtol=0, atol=1e-6)
    assert np.allclose(predictions.sum(1), 1)
    classes = np.array([row["predicted_class"] for row in told])
    assert classes[:, 0].tolist() == predictions.argmax(1).tolist()

    labels = np.array([row["label"] for row in told])
    accuracy = (classes == labels).mean()
    reported = "sparse_categorical_accuracy" if backend == "keras" else "accuracy"
    assert tested_node.metric(f"test.{reported}") == pytest.approx(accuracy, abs=1e-6)
    assert 0 < accuracy < 1
    if backend == "torch":
        names = [[b"low", b"mid", b"high"][each] for each in classes[:, 0]]
        assert [row["predicted_class_name"] for row in told] == [[name] for name in names]

    # TFX's own Evaluator, which is given no model
    found = without_model(tested_node.test_results, CONFIG)
    assert found[()].sparse_categorical_accuracy == pytest.approx(accuracy, abs=1e-6)
    cities = np.array([row["city"][0] for row in told])
    assert set(found) == {(), *((("city", city.decode()),) for city in set(cities))}
    for city in set(cities):
        sliced = found[(("city", city.decode()),)]
        assert sliced.example_count == (cities == city).sum()
        assert sliced.sparse_categorical_accuracy == pytest.approx((classes == labels)[cities == city].mean(), abs=1e-6)


def test_two_classes_are_one_probability_and_statistics_gen_reads_them(tested_node, module_file, splits, tmp_path):
    from tfx.components.statistics_gen import stats_artifact_utils
    from tfx.components.statistics_gen.executor import Executor
    from tfx.types import standard_artifacts

    source = KERAS.replace("Dense(3)", 'Dense(1, activation="sigmoid")')
    source = source.replace("SparseCategoricalCrossentropy(from_logits=True)", "BinaryCrossentropy()")
    source = source.replace("sparse_categorical_accuracy", "accuracy")
    for path in tested_node.examples_uri.rglob("*.gz"):
        splits.write(path, [{**row, "label": [min(*row["label"], 1)]} for row in read(path)])
    publish_as_examples(tested_node)
    told = train(tested_node, module_file, source, "binary")
    wide = {len(row["prediction"]) for row in told}
    assert wide == {1}
    assert [row["predicted_class"] for row in told] == [[int(row["prediction"][0] > 0.5)] for row in told]
    accuracy = np.mean([row["predicted_class"] == row["label"] for row in told])
    assert tested_node.metric("test.accuracy") == pytest.approx(accuracy, abs=1e-6)

    artifact = tested_node.test_results
    assert artifact.split_names == '["test"]'
    assert artifact.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(tmp_path / "statistics")
    context = Executor.Context(tmp_dir=str(tmp_path), unique_id="1")
    Executor(context).Do({"examples": [artifact]}, {"statistics": [statistics]}, {"exclude_splits": "[]"})
    [dataset] = stats_artifact_utils.load_statistics(statistics, "test").proto().datasets
    assert dataset.num_examples == 23
    assert {"prediction", "predicted_class", "id", "note"} <= {f.path.step[0] for f in dataset.features}


def test_without_test_splits_the_eval_splits_are_written(tested_node, module_file):
    tested_node.run(module_file=module_file(TORCH, "eval_only"), eval_args="{}")
    assert tested_node.test_results.split_names == '["eval"]'
    assert [row["id"] for row in tested_node.told("eval")] == [row["id"] for row in tested_node.stored("eval")]
    metrics = [name for name in tested_node.model.mlmd_artifact.custom_properties if name.startswith("metric.")]
    assert not [name for name in metrics if "eval" in name]


def test_an_input_fn_of_ones_own_is_followed_batch_by_batch(tested_node, module_file):
    source = TORCH.replace(
        "    run_fn =",
        """
        def input_fn(self, files, **options):
            return [({**f, "twice": 2 * f["x"]}, y) for f, y in super().input_fn(files, **options)][::-1]

        def predict_fn(self, model, features):
            return model(features["x"])

    run_fn =""",
    )
    told = train(tested_node, module_file, source, export_args=json.dumps({"formats": ["TORCH"]}))
    assert set(told[0]) == {"x", "twice", "label", "prediction", "predicted_class", "predicted_class_name"}
    stored = tested_node.stored()
    assert sorted(row["x"] for row in told) == sorted(row["x"] for row in stored)
    assert [row["x"] for row in told] != [row["x"] for row in stored]
    right = np.mean([row["predicted_class"] == row["label"] for row in told])
    assert tested_node.metric("test.accuracy") == pytest.approx(right, abs=1e-6)


def test_weights_of_an_input_fn_of_ones_own_are_there_beside_its_dense_features(tested_node, module_file):
    source = KERAS.replace(
        "    run_fn =",
        """
        def input_fn(self, files, **options):
            def weighted(features, label):
                weight = tf.cast(label[:, 0] + 1, tf.float32)
                words = tf.strings.as_string(features["x"], precision=1)
                return {**features, "words": words, "ragged": tf.RaggedTensor.from_tensor(words)}, label, weight
            return super().input_fn(files, **options).map(weighted)

    run_fn =""",
    )
    told = train(tested_node, module_file, source, "weighted")
    expected = [(row["x"], row["label"], [row["label"][0] + 1]) for row in tested_node.stored()]
    assert [(row["x"], row["label"], row["example_weight"]) for row in told] == expected
    assert [row["words"] for row in told] == [[f"{each:.1f}".encode() for each in row["x"]] for row in told]
    assert [row["ragged"] for row in told] == [row["words"] for row in told]


def test_a_feature_of_a_name_that_is_needed_is_refused_before_training(tested_node, module_file, splits):
    from polytrainer.executors.errors import PreflightError

    path = tested_node.examples_uri / "Split-test" / "data_tfrecord-00001-of-00002.gz"
    splits.write(path, [{**row, "prediction": [0.5]} for row in tested_node.stored()[:3]])
    with pytest.raises(PreflightError, match=r"got a feature 'prediction'; expected a name .*override test_fn"):
        tested_node.run(module_file=module_file(TORCH, "collides"))


# ---- what is no trainer class


def test_a_run_fn_of_ones_own_writes_its_own(tested_node, module_file):
    source = """
        import tensorflow as tf, pathlib, polytrainer
        def run_fn(fn_args):
            pathlib.Path(fn_args.serving_model_dir).mkdir(parents=True)
            pathlib.Path(fn_args.serving_model_dir, "model.txt").write_text("a model")
            for split, patterns in fn_args.test_files.items():
                files = sorted(tf.io.gfile.glob(patterns))
                with polytrainer.write_test_results(fn_args, split) as write:
                    for example in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
                        write(example, prediction=[0.25, 0.75], predicted_class=1)
                    write({"id": 7, "city": "Oslo", "x": [[0.5], [1]]}, prediction=2.0, words=[b"\\0a", "b"])
    """
    *told, last = train(tested_node, module_file, source, "own_results")
    assert [row["id"] for row in told] == [row["id"] for row in tested_node.stored()]
    assert told[0]["prediction"] == [0.25, 0.75]
    assert last == {"id": [7], "city": [b"Oslo"], "x": [0.5, 1], "prediction": [2.0], "words": [b"\0a", b"b"]}
    assert tested_node.test_results.split_names == '["test"]'


def test_a_run_fn_that_writes_none_leaves_no_split(tested_node, saves_a_model):
    tested_node.run(module_file=saves_a_model)
    assert tested_node.test_results.split_names == "[]"
    assert not list(Path(tested_node.test_results.uri).iterdir())


def test_a_node_without_this_output_trains_as_before(tested_node, module_file):
    """Behind TFX's own Trainer; `test_swap.py` has the pipeline."""
    del tested_node.output_dict["test_results"]
    tested_node.run(module_file=module_file(TORCH + "\n    trained = run_fn\n", "no_output"))
    assert tested_node.metric("test.accuracy") > 0


def test_a_split_that_was_not_finished_is_not_there_and_the_next_try_is_whole(tmp_path):
    from polytrainer.executors.test_results.shards import shard, written_splits

    def write(records):
        with shard(str(tmp_path), "test") as write_record:
            for each in records:
                write_record(each)
                if each == b"fail":
                    raise ArithmeticError

    with pytest.raises(ArithmeticError):
        write([b"1", b"fail"])
    assert written_splits(str(tmp_path)) == []
    for _ in range(2):
        write([b"1", b"2"])
    assert written_splits(str(tmp_path)) == ["test"]
    assert [path.name for path in tmp_path.rglob("*.gz")] == ["test_results-00000-of-00001.gz"]
