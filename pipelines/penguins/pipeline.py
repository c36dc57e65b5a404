"""CSV → Examples → statistics, schema, anomalies → Transform → three Trainers → Evaluators → Pushers, BulkInferrers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tfx import v1 as tfx

from polytrainer.components.trainer import Trainer
from polytrainer.pipelines import downstream
from polytrainer.pipelines.penguins.features import TRANSFORMED_LABEL
from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

HERE = Path(__file__).parent
MODULES = {
    "keras": HERE / "keras" / "penguins_keras.py",
    "estimator": HERE / "estimator" / "penguins_estimator.py",
    "torch": HERE / "torch" / "penguins_torch.py",
}
LEAST_ACCURACY = 0.9


def create_pipeline(
    data: Path,
    root: Path,
    backends: tuple[str, ...] = tuple(MODULES),
    num_epochs: int = 20,
    beam_pipeline_args: list[str] | None = None,
    unlabelled: Path | None = None,
) -> tfx.dsl.Pipeline:
    """The pipeline.

    Args:
        data: Folder with penguins.csv.
        root: Folder for artifacts (`artifacts/`), pushed models (`pushed/<backend>/`) and metadata (`metadata.sqlite`).
        backends: Which of "keras", "estimator" and "torch" to train.
        num_epochs: Passes over the training split for each of them.
        beam_pipeline_args: Passed to Beam.
        unlabelled: Folder with a penguins.csv without species, for BulkInferrers.
    """
    example_gen = tfx.components.CsvExampleGen(input_base=str(data))
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        module_file=str(HERE / "transform" / "penguins_transform.py"),
    )
    nodes = [example_gen, statistics_gen, schema_gen, example_validator, transform]
    if unlabelled:
        new_examples = tfx.components.CsvExampleGen(input_base=str(unlabelled)).with_id("CsvExampleGen.unlabelled")
        nodes.append(new_examples)
    for backend in backends:
        trainer = Trainer(
            module_file=str(MODULES[backend]),
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            schema=schema_gen.outputs["schema"],
            statistics=statistics_gen.outputs["statistics"],
            train_args=TrainArgs(num_epochs=num_epochs, batch_size=32, seed=7),
            eval_args=EvalArgs(splits=["eval"]),
        ).with_id(f"Trainer.{backend}")
        nodes.append(trainer)
        config = downstream.classification_config(
            backend, TRANSFORMED_LABEL, ["island"], LEAST_ACCURACY, transformed=True
        )
        nodes += downstream.evaluated_and_pushed(backend, example_gen.outputs["examples"], trainer, config, root)
        if unlabelled:
            nodes.append(downstream.predictions_of(backend, new_examples.outputs["examples"], trainer))
    return tfx.dsl.Pipeline(
        pipeline_name="penguins",
        pipeline_root=str(root / "artifacts"),
        components=nodes,
        enable_cache=False,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        beam_pipeline_args=beam_pipeline_args or local_beam_args(),
    )


def local_beam_args() -> list[str]:
    """Beam in this process, with one worker: the fastest for small data.

    FnApiRunner is what DirectRunner comes down to; asked for by that name, Beam 2.7x first tries to download another
    runner, Prism. dill, because cloudpickle, Beam's newer default, cannot pickle Transform's own module on TFX 1.15.
    """
    args = ["--runner=FnApiRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"]
    return [*args, "--pickle_library=dill"] if find_spec("dill") else args
