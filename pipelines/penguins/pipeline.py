"""CSV → Examples → statistics, schema, anomalies → Transform → three Trainers → Evaluators → comparison → a Pusher."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tfx import v1 as tfx

from polytrainer.components.model_comparator import ModelComparator
from polytrainer.components.trainer import Trainer
from polytrainer.pipelines import downstream
from polytrainer.pipelines.penguins.features import CATEGORICAL, ISLAND, NUMERIC, TRANSFORMED_LABEL, transformed
from polytrainer.proto.comparator_pb2 import ComparatorArgs
from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

HERE = Path(__file__).parent
MODULES = {
    "keras": HERE / "keras" / "penguins_keras.py",
    "estimator": HERE / "estimator" / "penguins_estimator.py",
    "torch": HERE / "torch" / "penguins_torch.py",
}
COMPARATOR = "ModelComparator"
LEAST_ACCURACY = 0.9
COMPARED = ComparatorArgs(
    task="MULTICLASS",
    label_key=TRANSFORMED_LABEL,
    # the best is the best by the first: by accuracy, good models of so few rows are all alike
    metrics=["log_loss", "accuracy"],
    # no two penguins measure alike, and numbers that Transform has scaled anew are the same to six digits
    key_features=[transformed(name) for name in (*NUMERIC, *CATEGORICAL)],
    slices=[{"features": [transformed(ISLAND)]}],
    # as an Evaluator has it, which asks for it of each slice, so that none is pushed that its Evaluator refuses
    thresholds=[
        {"metric": "accuracy", "lower": LEAST_ACCURACY},
        {"metric": "accuracy", "lower": LEAST_ACCURACY, "slice_features": [transformed(ISLAND)]},
    ],
)


def create_pipeline(
    data: Path,
    root: Path,
    backends: tuple[str, ...] = tuple(MODULES),
    num_epochs: int = 20,
    beam_pipeline_args: list[str] | None = None,
    unlabelled: Path | None = None,
) -> tfx.dsl.Pipeline:
    """The pipeline.

    The data are prepared once. Each Trainer's model is evaluated as it is served; an Evaluator that fails ends the run
    before anything is compared. The ModelComparator then takes all of them, and, from the second run on, the winner
    that it blessed last; what it blesses is pushed. A model that its Evaluator does not bless takes part in the
    comparison, so that one sees by how much it is behind, but cannot win the blessing: the same thresholds stand there.

    Args:
        data: Folder with penguins.csv.
        root: Folder for artifacts (`artifacts/`), the winners that were pushed (`pushed/penguins/<version>`) and
            metadata (`metadata.sqlite`).
        backends: Which of "keras", "estimator" and "torch" to train.
        num_epochs: Passes over the training split for each of them.
        beam_pipeline_args: Passed to Beam.
        unlabelled: Folder with a penguins.csv without species. With it each model, and not the best alone, goes all
            the way: BulkInferrers name these penguins, and each that its Evaluator blesses is pushed to
            `pushed/<backend>/<version>`.
    """
    example_gen = tfx.components.CsvExampleGen(input_base=str(data))
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        module_file=str(HERE / "transform" / "penguins_transform.py"),
    )
    trainers = {
        backend: Trainer(
            module_file=str(MODULES[backend]),
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            schema=schema_gen.outputs["schema"],
            statistics=statistics_gen.outputs["statistics"],
            train_args=TrainArgs(num_epochs=num_epochs, batch_size=32, seed=7),
            eval_args=EvalArgs(splits=["eval"]),
        ).with_id(f"Trainer.{backend}")
        for backend in backends
    }
    evaluators = {backend: _evaluator(backend, examples, trainer) for backend, trainer in trainers.items()}
    latest = downstream.latest_blessed_by(COMPARATOR)
    comparator = ModelComparator(
        candidates=trainers, baseline=(latest.outputs["test_results"], latest.outputs["model"]), args=COMPARED
    ).with_id(COMPARATOR)
    comparator.add_upstream_nodes(evaluators.values())
    pusher = downstream.pusher(
        comparator.outputs["best_model"], comparator.outputs["blessing"], root / "pushed" / "penguins"
    )
    prepared = [example_gen, statistics_gen, schema_gen, example_validator, transform]
    return tfx.dsl.Pipeline(
        pipeline_name="penguins",
        pipeline_root=str(root / "artifacts"),
        components=[
            *prepared,
            *trainers.values(),
            *evaluators.values(),
            *(_all_the_way(trainers, evaluators, unlabelled, root) if unlabelled else ()),
            latest,
            comparator,
            pusher,
        ],
        enable_cache=False,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        beam_pipeline_args=beam_pipeline_args or local_beam_args(),
    )


def _evaluator(backend: str, examples: Any, trainer: Trainer) -> Any:
    config = downstream.classification_config(backend, TRANSFORMED_LABEL, [ISLAND], LEAST_ACCURACY, transformed=True)
    return downstream.evaluator(backend, examples, trainer, config)


def _all_the_way(trainers: dict[str, Trainer], evaluators: dict[str, Any], unlabelled: Path, root: Path) -> list[Any]:
    """What each model by itself can be used for: to be pushed, and to name penguins."""
    example_gen = tfx.components.CsvExampleGen(input_base=str(unlabelled)).with_id("CsvExampleGen.unlabelled")
    nodes = [example_gen]
    for backend, trainer in trainers.items():
        blessing = evaluators[backend].outputs["blessing"]
        pusher = downstream.pusher(trainer.outputs["model"], blessing, root / "pushed" / backend)
        nodes += [
            pusher.with_id(f"Pusher.{backend}"),
            downstream.predictions_of(backend, example_gen.outputs["examples"], trainer),
        ]
    return nodes


def local_beam_args() -> list[str]:
    """Beam in this process, with one worker: the fastest for small data.

    FnApiRunner is what DirectRunner comes down to; asked for by that name, Beam 2.7x first tries to download another
    runner, Prism. dill, because cloudpickle, Beam's newer default, cannot pickle Transform's own module on TFX 1.15.
    Unless told of an image, TFX takes seconds to build a package for workers elsewhere, of which there are none.
    """
    args = ["--runner=FnApiRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"]
    args += ["--sdk_container_image=none"]
    return [*args, "--pickle_library=dill"] if find_spec("dill") else args
