"""The penguins, as `make demo` runs them: CSV to pushed models, three frameworks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.line]
BACKENDS = ("keras", "estimator", "torch")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(root folder, what appeared on the screen) of one run of the command line."""
    root = tmp_path_factory.mktemp("penguins")
    command = [sys.executable, "-m", "polytrainer.pipelines.local", "--root", str(root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return root, done.stdout


def rows(screen: str) -> dict[str, list[str]]:
    """Cells of the table at the end, by backend."""
    lines = [line.split("  ") for line in screen.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {row[0]: row[1:] for row in cells if row and row[0] in BACKENDS}


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_learns_the_species(demo, backend):
    framework, accuracy, seconds, _ = rows(demo[1])[backend]
    assert framework.split()[0] == {"torch": "pytorch"}.get(backend, backend)
    assert float(accuracy) > 0.9
    assert float(seconds) > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_blessed_model_is_pushed_and_predicts_from_raw_examples_with_missing_values(demo, backend):
    import tensorflow as tf

    root, screen = demo
    pushed = root / rows(screen)[backend][-1]
    model = tf.saved_model.load(str(pushed))
    signature = model.signatures["predict" if backend == "estimator" else "serving_default"]
    examples = records(root / "artifacts" / "CsvExampleGen" / "examples", "eval")
    without = tf.train.Example.FromString(examples[0])
    for name in ("sex", "body_mass_g", "species"):
        del without.features.feature[name]
    outputs = signature(examples=tf.constant([*examples, without.SerializeToString()]))
    probabilities = outputs["probabilities" if backend == "estimator" else "outputs"]
    if backend == "torch":
        probabilities = tf.nn.softmax(probabilities)
        assert set(outputs["classes"].numpy()[:, 0]) == {b"Adelie", b"Gentoo", b"Chinstrap"}
    assert probabilities.shape == (len(examples) + 1, 3)
    assert float(tf.reduce_max(tf.abs(tf.reduce_sum(probabilities, 1) - 1))) < 1e-5


def records(examples, split):
    """Serialized examples of a split of an artifact."""
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(tf.io.gfile.glob(f"{examples}/*/Split-{split}/*"), "GZIP").as_numpy_iterator())


@pytest.fixture(scope="module")
def unlabelled(demo):
    """Examples that nobody has named, and what PyTorch says of them: of its own program, by Transform's own graph."""
    import tensorflow as tf
    import tensorflow_transform as tft
    import torch

    artifacts = demo[0] / "artifacts"
    examples = [
        each for split in ("train", "eval") for each in records(artifacts / "CsvExampleGen.unlabelled/examples", split)
    ]
    [graph] = artifacts.glob("Transform/transform_graph/*")
    [path] = artifacts.glob("Trainer.torch/model/*/Format-Torch/model.pt2")
    output = tft.TFTransformOutput(str(graph))
    spec = {name: feature for name, feature in output.raw_feature_spec().items() if name != "species"}
    features = output.transform_features_layer()(tf.io.parse_example(examples, spec))
    with torch.no_grad():
        said = torch.export.load(path).module()({name: torch.tensor(value.numpy()) for name, value in features.items()})
    assert len(examples) == 344
    return examples, said.numpy()


def test_bulk_inferrer_says_what_pytorch_says_of_unlabelled_penguins(demo, unlabelled):
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    [file] = demo[0].glob("artifacts/BulkInferrer.torch/inference_result/*/*.gz")
    logs = [
        prediction_log_pb2.PredictionLog.FromString(log).predict_log
        for log in tf.data.TFRecordDataset([str(file)], "GZIP").as_numpy_iterator()
    ]

    def key(example):  # which a reader may have serialized anew, in another order
        return tf.train.Example.FromString(example).SerializeToString(deterministic=True)

    said = {key(log.request.inputs["examples"].string_val[0]): log.response.outputs["outputs"] for log in logs}
    examples, wanted = unlabelled
    got = np.concatenate([tf.make_ndarray(said[key(example)]) for example in examples])
    assert len(logs) == len(examples)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


PUSHED_ALONE = """
import sys
for name in ("torch", "polytrainer"):
    sys.modules[name] = None  # importing it raises
import numpy as np, tensorflow as tf
model, data, result = sys.argv[1:]
examples = list(tf.data.TFRecordDataset(tf.io.gfile.glob(data), "GZIP").as_numpy_iterator())
loaded = tf.saved_model.load(model)
np.savez(result, *(loaded.signatures["serving_default"](examples=tf.constant(batch))["outputs"].numpy()
                   for batch in (examples, examples[:1])))
"""


def test_what_is_pushed_needs_neither_torch_nor_polytrainer(demo, unlabelled, tmp_path):
    import numpy as np

    root, screen = demo
    data = root / "artifacts/CsvExampleGen.unlabelled/examples/*/Split-*/*"
    arguments = [str(root / rows(screen)["torch"][-1]), str(data), str(tmp_path / "said.npz")]
    done = subprocess.run([sys.executable, "-c", PUSHED_ALONE, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "said.npz") as said:
        all_of_them, first = said["arr_0"], said["arr_1"]
    wanted = sorted(unlabelled[1].tolist())
    np.testing.assert_allclose(sorted(all_of_them.tolist()), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(first, all_of_them[:1], rtol=1e-5, atol=1e-5)


def test_the_evaluator_looked_at_slices(demo):
    import tensorflow_model_analysis as tfma

    [evaluation] = demo[0].glob("artifacts/Evaluator.torch/evaluation/*")
    metrics = tfma.load_eval_result(str(evaluation)).get_metrics_for_all_slices()
    islands = ("Biscoe", "Dream", "Torgersen")
    assert set(metrics) == {(), *((("island", island),) for island in islands)}


def test_the_artifact_says_how_far_the_served_model_is_from_the_trained_one(demo):
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    source = mlmd.SqliteMetadataSourceConfig(filename_uri=str(demo[0] / "metadata.sqlite"))
    store = MetadataStore(mlmd.ConnectionConfig(sqlite=source))
    models = {model.uri: model.custom_properties for model in store.get_artifacts_by_type("Model")}
    [told] = [properties for uri, properties in models.items() if "Trainer.torch" in uri]
    assert 0 <= float(told["parity.torch"].string_value) <= 1e-5
    assert 0 <= float(told["parity.saved_model"].string_value) <= 1e-5
    assert told["signatures"].string_value == "predict,serving_default,transform_features"


def test_metadata_can_say_which_run_was_better(demo):
    from polytrainer.pipelines.penguins import summary

    results = summary.outcomes(demo[0] / "metadata.sqlite", ("keras", "estimator", "torch"))
    assert [result.blessed for result in results] == [True, True, True]
    assert all(result.accuracy > 0.9 for result in results)


def test_progress_is_on_the_screen_and_the_noise_in_a_file(demo):
    root, screen = demo
    assert "[18/18] " in screen
    assert "running bdist_wheel" not in screen
    assert "running bdist_wheel" in (root / "run.log").read_text()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_eval_model_is_there_too(demo, backend):
    import tensorflow as tf

    [model] = Path(demo[0]).glob(f"artifacts/Trainer.{backend}/model/*")
    assert tf.saved_model.contains_saved_model(str(model / "Format-TFMA"))
    assert not list(Path(demo[0]).glob(f"artifacts/Trainer.{backend}/.checkpoints/*"))


@pytest.mark.parametrize("backend", ["keras", "estimator"])
def test_an_unmodified_bulk_inferrer_reads_the_model(demo, backend):
    import tensorflow as tf

    [file] = demo[0].glob(f"artifacts/BulkInferrer.{backend}/inference_result/*/*.gz")
    assert len(list(tf.data.TFRecordDataset([str(file)], "GZIP").as_numpy_iterator())) == 344


def test_the_run_is_written_down_beside_the_logs(demo):
    for backend in ("keras", "estimator", "torch"):
        [run] = Path(demo[0]).glob(f"artifacts/Trainer.{backend}/model_run/*")
        assert (run / "trainer_state.json").exists()
        assert (run / "logs" / "metrics.csv").exists()
        assert list((run / "logs").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backends", "keras,jax"], "got 'jax'; known backends: keras, estimator, torch"),
        (["digits", "--backends", "keras"], "got 'keras'; known backends: torch"),
        (["--epochs", "0"], "got '0'; expected a number from 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_imported(arguments, said):
    command = [sys.executable, "-m", "polytrainer.pipelines.local", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert said in done.stderr


def test_torch_learns_the_same_from_raw_examples_and_the_transform_graph(demo, tmp_path):
    from torch import nn

    from polytrainer import Features, TorchTrainer
    from polytrainer.pipelines.penguins.features import TRANSFORMED_LABEL

    class Penguins(TorchTrainer):
        def model_fn(self):
            features = Features.from_schema(self.schema, exclude=[self.label_key])
            return nn.Sequential(features, nn.Linear(features.out_features, 3))

    artifacts = Path(demo[0]) / "artifacts"
    [graph] = artifacts.glob("Transform/transform_graph/*")
    losses = []
    for node in ("Transform/transformed_examples", "CsvExampleGen/examples"):
        [examples] = artifacts.glob(f"{node}/*")
        files = {split: f"{examples}/Split-{split}/*" for split in ("train", "eval")}
        result = Penguins(TRANSFORMED_LABEL).fit(
            files["train"], files["eval"], transform_graph=str(graph), num_epochs=1, seed=1
        )
        losses.append(result.metrics["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
