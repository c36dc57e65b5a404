"""The penguins, as `make demo` runs them: CSV to pushed models, three frameworks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.line]


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
    return {row[0]: row[1:] for row in cells if row and row[0] in ("keras", "estimator", "torch")}


@pytest.mark.parametrize("backend", ["keras", "estimator", "torch"])
def test_every_backend_learns_the_species(demo, backend):
    framework, accuracy, seconds, _ = rows(demo[1])[backend]
    assert framework.split()[0] == {"torch": "pytorch"}.get(backend, backend)
    assert float(accuracy) > 0.9
    assert float(seconds) > 0


@pytest.mark.parametrize("backend", ["keras", "estimator"])
def test_a_blessed_model_is_pushed_and_predicts_from_raw_examples_with_missing_values(demo, backend):
    import tensorflow as tf

    root, screen = demo
    pushed = root / rows(screen)[backend][-1]
    model = tf.saved_model.load(str(pushed))
    signature = model.signatures["predict" if backend == "estimator" else "serving_default"]
    records = tf.data.TFRecordDataset(tf.io.gfile.glob(f"{root}/artifacts/CsvExampleGen/*/*/Split-eval/*"), "GZIP")
    examples = list(records.as_numpy_iterator())
    without = tf.train.Example.FromString(examples[0])
    for name in ("sex", "body_mass_g", "species"):
        del without.features.feature[name]
    probabilities = signature(examples=tf.constant([*examples, without.SerializeToString()]))[
        "probabilities" if backend == "estimator" else "outputs"
    ]
    assert probabilities.shape == (len(examples) + 1, 3)
    assert float(tf.reduce_max(tf.abs(tf.reduce_sum(probabilities, 1) - 1))) < 1e-5


def test_a_torch_model_is_a_program_with_a_dynamic_batch(demo):
    import torch

    root, screen = demo
    assert rows(screen)["torch"][-1] == "not pushed: no Evaluator yet"
    [path] = Path(root).glob("artifacts/Trainer.torch/model/*/Format-Serving/model.pt2")
    program = torch.export.load(path).module()
    from polytrainer.pipelines.penguins.features import CATEGORICAL, NUMERIC, transformed

    for batch in (1, 2, 7):
        features = {transformed(name): torch.zeros(batch, 1) for name in NUMERIC}
        features.update({transformed(name): torch.zeros(batch, 1, dtype=torch.int64) for name in CATEGORICAL})
        assert program(features).shape == (batch, 3)


def test_metadata_can_say_which_run_was_better(demo):
    from polytrainer.pipelines.penguins import summary

    results = summary.outcomes(demo[0] / "metadata.sqlite", ("keras", "estimator", "torch"))
    assert [result.blessed for result in results] == [True, True, None]
    assert all(result.accuracy > 0.9 for result in results)


def test_progress_is_on_the_screen_and_the_noise_in_a_file(demo):
    root, screen = demo
    assert "[12/12] " in screen
    assert "running bdist_wheel" not in screen
    assert "running bdist_wheel" in (root / "run.log").read_text()


@pytest.mark.parametrize("backend", ["keras", "estimator"])
def test_the_eval_model_is_there_too(demo, backend):
    import tensorflow as tf

    [model] = Path(demo[0]).glob(f"artifacts/Trainer.{backend}/model/*")
    assert tf.saved_model.contains_saved_model(str(model / "Format-TFMA"))
    assert not list(Path(demo[0]).glob(f"artifacts/Trainer.{backend}/.checkpoints/*"))


@pytest.mark.parametrize("backend", ["keras", "estimator"])
def test_an_unmodified_bulk_inferrer_reads_the_model(demo, backend, tmp_path):
    import tensorflow as tf
    from tfx.components.bulk_inferrer.executor import Executor
    from tfx.types import standard_artifacts

    root, _ = demo
    examples, model, result = (
        standard_artifacts.Examples(),
        standard_artifacts.Model(),
        standard_artifacts.InferenceResult(),
    )
    [examples.uri] = map(str, Path(root).glob("artifacts/CsvExampleGen/examples/*"))
    examples.split_names = '["train", "eval"]'
    [model.uri] = map(str, Path(root).glob(f"artifacts/Trainer.{backend}/model/*"))
    result.uri = str(tmp_path / "inference")
    signature = "predict" if backend == "estimator" else "serving_default"
    properties = {
        "data_spec": '{"example_splits": ["eval"]}',
        "model_spec": f'{{"model_signature_name": ["{signature}"]}}',
        "component_id": "BulkInferrer",
    }
    executor = Executor(Executor.Context(beam_pipeline_args=beam_args(), tmp_dir=str(tmp_path), unique_id="1"))
    executor.Do({"examples": [examples], "model": [model]}, {"inference_result": [result]}, properties)
    [file] = Path(result.uri).glob("*.gz")
    logs = list(tf.data.TFRecordDataset([str(file)], "GZIP").as_numpy_iterator())
    records = tf.data.TFRecordDataset(tf.io.gfile.glob(f"{examples.uri}/Split-eval/*"), "GZIP")
    assert len(logs) == len(list(records)) > 90


def beam_args():
    from polytrainer.pipelines.penguins.pipeline import local_beam_args

    return local_beam_args()


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
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
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
