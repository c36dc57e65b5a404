"""tf.Examples of images → statistics, a schema written by hand → a Trainer → Evaluator → Pusher; no Transform."""

from __future__ import annotations

from pathlib import Path

from tfx import v1 as tfx

from polytrainer.components.trainer import Trainer
from polytrainer.pipelines import downstream
from polytrainer.pipelines.digits.data import LABEL, SPLITS
from polytrainer.pipelines.penguins.pipeline import local_beam_args
from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

MODULES = {"torch": Path(__file__).parent / "torch" / "digits_torch.py"}
LEAST_ACCURACY = 0.9


def create_pipeline(
    data: Path,
    root: Path,
    backends: tuple[str, ...] = tuple(MODULES),
    num_epochs: int = 20,
    beam_pipeline_args: list[str] | None = None,
) -> tfx.dsl.Pipeline:
    """The pipeline.

    Args:
        data: Folder with schema.pbtxt and, in a folder for each split, files of tf.Examples.
        root: Folder for artifacts (`artifacts/`), pushed models (`pushed/<backend>/`) and metadata (`metadata.sqlite`).
        backends: Of which there is one, "torch".
        num_epochs: Passes over the training split.
        beam_pipeline_args: Passed to Beam.
    """
    splits = [tfx.proto.Input.Split(name=split, pattern=f"{split}/*") for split in SPLITS]
    example_gen = tfx.components.ImportExampleGen(input_base=str(data), input_config=tfx.proto.Input(splits=splits))
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.ImportSchemaGen(schema_file=str(data / "schema.pbtxt"))
    nodes = [example_gen, statistics_gen, schema_gen]
    for backend in backends:
        trainer = Trainer(
            module_file=str(MODULES[backend]),
            examples=example_gen.outputs["examples"],
            schema=schema_gen.outputs["schema"],
            statistics=statistics_gen.outputs["statistics"],
            train_args=TrainArgs(num_epochs=num_epochs, batch_size=64, seed=7),
            eval_args=EvalArgs(splits=["eval"], test_splits=["test"]),
        ).with_id(f"Trainer.{backend}")
        config = downstream.classification_config(backend, LABEL, [LABEL], LEAST_ACCURACY, transformed=False)
        evaluator = downstream.evaluator(backend, example_gen.outputs["examples"], trainer, config)
        pusher = downstream.pusher(trainer.outputs["model"], evaluator.outputs["blessing"], root / "pushed" / backend)
        nodes += [trainer, evaluator, pusher.with_id(f"Pusher.{backend}")]
    return tfx.dsl.Pipeline(
        pipeline_name="digits",
        pipeline_root=str(root / "artifacts"),
        components=nodes,
        enable_cache=False,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        beam_pipeline_args=beam_pipeline_args or local_beam_args(),
    )
