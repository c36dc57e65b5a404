"""The penguins, prepared on this machine by LocalDagRunner and trained by the pods of two training jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]
MODULES = "polytrainer.pipelines.penguins"


def test_two_pods_train_with_ddp_and_two_workers_with_multi_worker_mirrored_strategy(kubernetes, tmp_path, capfd):
    import own_executor
    from ml_metadata.metadata_store import MetadataStore
    from tfx import v1 as tfx
    from tfx.dsl.components.base import executor_spec

    from polytrainer import TFJob, Trainer, TrainerResources, TrainJob
    from polytrainer.pipelines.penguins.data import write_csv
    from polytrainer.pipelines.penguins.pipeline import local_beam_args

    class OwnTrainer(Trainer):
        EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(own_executor.OwnExecutor)

    example_gen = tfx.components.CsvExampleGen(input_base=str(write_csv(tmp_path / "data").parent))
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn=f"{MODULES}.transform.penguins_transform.preprocessing_fn",
    )

    image = TrainerResources(env={"PYTHONPATH": str(Path(own_executor.__file__).parent)})

    def trainer(kind, framework, **train_args):
        return OwnTrainer(
            run_fn=f"{MODULES}.{framework}.penguins_{framework}.run_fn",
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            schema=schema_gen.outputs["schema"],
            train_args={"num_epochs": 20, "batch_size": 16, "seed": 7, **train_args},
            cluster=kind(
                image="trainer:1", nodes=2, volumes={"runs": str(tmp_path)}, poll_seconds=0.2, resources=image
            ),
        ).with_id(f"Trainer.{framework}")

    trainers = [trainer(TrainJob, "torch"), trainer(TFJob, "keras", strategy="multi_worker_mirrored")]
    config = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    pipeline = tfx.dsl.Pipeline(
        "jobs",
        str(tmp_path / "runs"),
        components=[example_gen, statistics_gen, schema_gen, transform, *trainers],
        metadata_connection_config=config,
        beam_pipeline_args=local_beam_args(),
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)

    posted = [path.rpartition("/")[2] for method, path in kubernetes.requests if method == "POST"]
    assert sorted(posted) == ["tfjobs", "trainjobs"]
    assert "2 ranks (Ddp)" in capfd.readouterr().out
    models = {Path(each.uri).parents[1].name: each for each in MetadataStore(config).get_artifacts_by_type("Model")}
    assert sorted(models) == ["Trainer.keras", "Trainer.torch"]
    for model in models.values():
        told = model.custom_properties
        assert told["executor"].string_value == "OwnExecutor"  # a subclass of the user's, in the pods, too
        assert Path(model.uri, "Format-Serving", "saved_model.pb").exists()
        assert told["metric.accuracy"].double_value > 0.9
    assert [pod.env["TF_CONFIG"].count("127.0.0.1") for pod in kubernetes.past if "TF_CONFIG" in pod.env] == [2, 2]
    kubernetes.wait_for(lambda: not kubernetes.jobs)
