"""Small pipelines to compile: nothing that they name has to be there."""

from __future__ import annotations

from typing import Any

IMAGE = "registry.example.com/team/trainer:1.4"
ROOT = "minio://mlpipeline/v2/artifacts"


def nodes(trainer: dict[str, Any] | None = None) -> list[Any]:
    """CsvExampleGen → StatisticsGen → SchemaGen → Transform → Trainer.torch, with modules that are in the image.

    Args:
        trainer: Further arguments of the Trainer.
    """
    from tfx import v1 as tfx

    from polytrainer import TrainArgs, Trainer

    example_gen = tfx.components.CsvExampleGen(input_base="gs://bucket/data")
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="package.features.preprocessing_fn",
    )
    trained = Trainer(
        **{
            "run_fn": "package.model.run_fn",
            "examples": transform.outputs["transformed_examples"],
            "transform_graph": transform.outputs["transform_graph"],
            "train_args": TrainArgs(num_steps=4),
            **(trainer or {}),
        }
    ).with_id("Trainer.torch")
    return [example_gen, statistics_gen, schema_gen, transform, trained]


def pipeline(components: list[Any], name: str = "small", root: Any = ROOT, **arguments: Any) -> Any:
    """A pipeline of these nodes."""
    from tfx import v1 as tfx

    return tfx.dsl.Pipeline(pipeline_name=name, pipeline_root=root, components=components, **arguments)


def small(trainer: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """A pipeline of `nodes`."""
    return pipeline(nodes(trainer), **arguments)


def run_fn(fn_args: Any) -> None:
    """Saves a model and does nothing else, as a function of an installed package."""
    import tensorflow as tf

    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2.0 * x}, input_signature=[tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(module, fn_args.serving_model_dir, signatures={"serving_default": module.double})
