"""What stands behind a Trainer in the ready pipelines: TFX's own Evaluator, Pusher and BulkInferrer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx

from polytrainer.components.trainer import Trainer

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


def evaluated_and_pushed(
    backend: str, examples: Any, trainer: Trainer, eval_config: tfma.EvalConfig, root: Path
) -> list[Any]:
    """An Evaluator, and a Pusher that obeys it."""
    evaluator = tfx.components.Evaluator(
        examples=examples, model=trainer.outputs["model"], eval_config=eval_config
    ).with_id(f"Evaluator.{backend}")
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(root / "pushed" / backend))
        ),
    ).with_id(f"Pusher.{backend}")
    return [evaluator, pusher]


def predictions_of(backend: str, examples: Any, trainer: Trainer) -> Any:
    """A BulkInferrer over all splits of some examples."""
    return tfx.components.BulkInferrer(
        examples=examples,
        model=trainer.outputs["model"],
        model_spec=tfx.proto.ModelSpec(model_signature_name=[SIGNATURES[backend][0]]),
    ).with_id(f"BulkInferrer.{backend}")
