"""The penguins in PyTorch for Kubeflow Pipelines: CSV → Examples → Transform → Trainer → Evaluator → Pusher."""

from __future__ import annotations

from pathlib import Path

from tfx import v1 as tfx

from polytrainer.components.trainer import Trainer
from polytrainer.pipelines import downstream
from polytrainer.pipelines.penguins.features import ISLAND, TRANSFORMED_LABEL
from polytrainer.pipelines.penguins.pipeline import LEAST_ACCURACY, local_beam_args
from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

_MODULES = "polytrainer.pipelines.penguins"
ROOT = "minio://mlpipeline/v2/artifacts"


def create_pipeline(
    data: str = "/data/penguins", pushed: str = "/data/pushed", root: str = ROOT, num_epochs: int = 20
) -> tfx.dsl.Pipeline:
    """The pipeline. The user's code is in the image, named by its path: nothing is packaged into a store.

    Args:
        data: Folder with penguins.csv, as the steps see it: in the image, or on a volume.
        pushed: Folder for `<version>`s of the model, likewise.
        root: URI below which artifacts are. The default is that of Kubeflow Pipelines.
        num_epochs: Passes over the training split.
    """
    example_gen = tfx.components.CsvExampleGen(input_base=data)
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        preprocessing_fn=f"{_MODULES}.transform.penguins_transform.preprocessing_fn",
    )
    trainer = Trainer(
        run_fn=f"{_MODULES}.torch.penguins_torch.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        train_args=TrainArgs(num_epochs=num_epochs, batch_size=32, seed=7),
        eval_args=EvalArgs(splits=["eval"]),
    )
    config = downstream.classification_config("torch", TRANSFORMED_LABEL, [ISLAND], LEAST_ACCURACY, transformed=True)
    evaluator = downstream.evaluator("torch", examples, trainer, config)
    pusher = downstream.pusher(trainer.outputs["model"], evaluator.outputs["blessing"], Path(pushed))
    return tfx.dsl.Pipeline(
        pipeline_name="penguins",
        pipeline_root=root,
        components=[example_gen, statistics_gen, schema_gen, transform, trainer, evaluator, pusher],
        beam_pipeline_args=local_beam_args(),
    )
