"""What stands behind Trainers in the ready pipelines: TFX's own Evaluator, Pusher, BulkInferrer and Resolver."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx

from polytrainer.components.latest_blessed import LatestBlessedResults
from polytrainer.components.trainer import Trainer
from polytrainer.proto import comparator_keys
from polytrainer.proto.artifacts import TestResults

# signature, output and whether it is one of logits, by backend; Estimator calls its own so
SIGNATURES = {
    "keras": ("serving_default", "outputs", False),
    "estimator": ("predict", "probabilities", False),
    "torch": ("serving_default", "outputs", True),
}


def classification_config(
    backend: str, label_key: str, slices: Sequence[str], least_accuracy: float, *, transformed: bool
) -> tfma.EvalConfig:
    """How a classifier is judged: accuracy with a threshold, and cross entropy, over all and by slices.

    Args:
        backend: Of `SIGNATURES`.
        label_key: Name of the label, after Transform if there is one.
        slices: Features to slice by, one at a time.
        least_accuracy: What it takes to be blessed.
        transformed: Whether the label is one that Transform made.
    """
    signature, output, from_logits = SIGNATURES[backend]
    threshold = tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={"value": least_accuracy}))
    cross_entropy = json.dumps({"from_logits": from_logits})
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=signature,
                label_key=label_key,
                prediction_key=output,
                preprocessing_function_names=["transform_features"] if transformed else [],
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[feature]) for feature in slices)],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(class_name="SparseCategoricalCrossentropy", config=cross_entropy),
                    tfma.MetricConfig(class_name="SparseCategoricalAccuracy", threshold=threshold),
                ]
            )
        ],
    )


def evaluator(backend: str, examples: Any, trainer: Trainer, eval_config: tfma.EvalConfig) -> Any:
    """An Evaluator of what a Trainer publishes, as it is served."""
    return tfx.components.Evaluator(examples=examples, model=trainer.outputs["model"], eval_config=eval_config).with_id(
        f"Evaluator.{backend}"
    )


def pusher(model: Any, blessing: Any, folder: Path) -> Any:
    """A Pusher into `<folder>/<version>`, as TensorFlow Serving wants it, that obeys a blessing."""
    filesystem = tfx.proto.PushDestination.Filesystem(base_directory=str(folder))
    return tfx.components.Pusher(
        model=model, model_blessing=blessing, push_destination=tfx.proto.PushDestination(filesystem=filesystem)
    )


def predictions_of(backend: str, examples: Any, trainer: Trainer) -> Any:
    """A BulkInferrer over all splits of some examples."""
    return tfx.components.BulkInferrer(
        examples=examples,
        model=trainer.outputs["model"],
        model_spec=tfx.proto.ModelSpec(model_signature_name=[SIGNATURES[backend][0]]),
    ).with_id(f"BulkInferrer.{backend}")


def latest_blessed_by(comparator: str) -> Any:
    """A Resolver of the latest model that a ModelComparator has blessed, and its test results; of nothing before.

    Args:
        comparator: Id of the node. Evaluators bless models, too, all that are good enough; a baseline is the winner.
    """
    artifacts = tfx.types.standard_artifacts
    blessing = tfx.dsl.Channel(
        type=artifacts.ModelBlessing, producer_component_id=comparator, output_key=comparator_keys.BLESSING
    )
    return tfx.dsl.Resolver(
        strategy_class=LatestBlessedResults,
        model=tfx.dsl.Channel(type=artifacts.Model),
        model_blessing=blessing,
        test_results=tfx.dsl.Channel(type=TestResults),
    ).with_id("latest_blessed")
