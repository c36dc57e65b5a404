"""The penguins in PyTorch, compiled and run whole as on open-source Kubeflow Pipelines, to a pushed model."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import emulation
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.line]
OF_THEIR_OWN = ("Trainer",)  # steps that are a process each, as all are from the command line


@pytest.fixture(scope="module")
def penguins(tmp_path_factory):
    """The penguins in PyTorch, compiled and run. Most steps run in this process, to save the time to import TFX."""
    from polytrainer.pipelines import kubeflow
    from polytrainer.pipelines.kubeflow.local.contract import OSS
    from polytrainer.pipelines.kubeflow.local.pipeline_spec import CompiledPipeline
    from polytrainer.pipelines.kubeflow.local.run import LocalRun
    from polytrainer.pipelines.penguins import data
    from polytrainer.pipelines.penguins.kubeflow import create_pipeline

    root = tmp_path_factory.mktemp("penguins")
    csv = data.write_csv(root / "data")
    pipeline = create_pipeline(str(csv.parent), str(root / "pushed"), num_epochs=10)
    compiled = kubeflow.compile(pipeline, root / "pipeline.yaml", image="registry.example.com/penguins:1")
    with mock.patch.dict(os.environ, PYTHONPATH=str(image_without_kfp(root))):
        run = LocalRun(CompiledPipeline.read(compiled, OSS), root)
        published = {}
        for name in run.pipeline.order:
            with nullcontext() if name in OF_THEIR_OWN else emulation.in_this_process():
                published[name] = run.step(name).artifacts
    return SimpleNamespace(root=root, store=run.store, published=published)


def image_without_kfp(root):
    """A folder for Python's path that leaves of kfp what an image needs: the protos of kfp-pipeline-spec."""
    import kfp.pipeline_spec

    folder = root / "site-packages" / "kfp"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "pipeline_spec").symlink_to(Path(kfp.pipeline_spec.__file__).parent)
    return folder.parent


def test_the_penguins_run_whole_as_on_open_source_kubeflow_pipelines(penguins):
    steps = ["CsvExampleGen", "StatisticsGen", "SchemaGen", "Transform", "Trainer", "Evaluator-torch", "Pusher"]
    assert list(penguins.published) == steps
    assert all(each.uri.startswith("minio://") for step in penguins.published.values() for each in step.values())


def test_the_penguins_end_in_a_pushed_model_that_predicts(penguins):
    import tensorflow as tf

    [pushed] = (penguins.root / "pushed").iterdir()
    files = kept(penguins, "CsvExampleGen", "examples").glob("Split-eval/*")
    records = list(tf.data.TFRecordDataset([str(file) for file in files], "GZIP").as_numpy_iterator())
    signature = tf.saved_model.load(str(pushed)).signatures["serving_default"]
    predicted = signature(examples=tf.constant(records))["classes"].numpy()[:, 0]
    species = [
        tf.train.Example.FromString(record).features.feature["species"].bytes_list.value[0] for record in records
    ]
    assert sum(predicted == species) > 0.9 * len(records)


def test_what_the_penguins_leave_is_in_the_store_alone(penguins):
    assert {path.name for path in penguins.root.glob("runs/*/*/*")} == {"log.txt"}
    assert kept(penguins, "Trainer", "model").joinpath("Format-Serving", "saved_model.pb").exists()
    assert kept(penguins, "Trainer", "model_run").joinpath("trainer_state.json").exists()
    assert kept(penguins, "Evaluator-torch", "blessing").joinpath("BLESSED").exists()
    assert list(kept(penguins, "Pusher", "pushed_model").rglob("saved_model.pb"))
    assert "Trained in" in kept(penguins, "Trainer", "executor-logs").read_text()


def test_what_the_penguins_say_of_themselves_is_kept(penguins):
    model = penguins.published["Trainer"]["model"]
    assert model.metadata["framework"] == "pytorch"
    assert model.metadata["metric.accuracy"] > 0.9
    assert penguins.published["Evaluator-torch"]["blessing"].metadata["current_model"] == model.uri
    assert penguins.published["Pusher"]["pushed_model"].metadata["pushed"] == 1


def kept(penguins, task, output):
    """Where an artifact lies in the store."""
    return penguins.store.path(penguins.published[task][output].uri)
