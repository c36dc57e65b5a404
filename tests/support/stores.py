"""A store of ML Metadata as LocalDagRunner leaves it behind, with runs of each kind."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

# accuracy grows with the steps; the loss does not tell anything
MODULE = """
    import json
    import tensorflow as tf
    from polytrainer import TrainResult
    from polytrainer.executors.run_record import write_state

    def run_fn(fn_args):
        if (fn_args.custom_config or {}).get("fails"):
            raise RuntimeError("no model today")
        module = tf.Module()
        module.double = tf.function(lambda x: {"y": 2.0 * x}, input_signature=[tf.TensorSpec([None], tf.float32)])
        tf.saved_model.save(module, fn_args.serving_model_dir, signatures={"serving_default": module.double})
        steps = fn_args.train_steps
        write_state(fn_args.model_run_dir, {
            "timings": {"training": 2.0 * steps, "evaluation": 1.5, "export": 0.25},
            "arguments": {"color": "'red'", "size": repr(steps)},
        })
        return TrainResult(
            {"accuracy": 1 - 1 / steps, "loss": float("nan"), "test.accuracy": 0.25, "spread": 1.0 / steps},
            steps=steps,
            framework="abacus",
            framework_version="1.2",
            parity={"saved_model": 1e-7, "onnx": 3e-6},
            best_step=steps - 1,
        )
"""


@pytest.fixture(scope="session")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """`path` of a SQLite file, and the runs in it from old to new, by execution id.

    `short` (4 steps), `long` (8 steps, and another custom_config), `failed`, and `cached` (as `long`), of the pipeline
    "ours" and the node "Trainer.abacus"; `theirs`, of TFX's own Trainer in the pipeline "theirs".
    """
    from tfx import v1 as tfx

    from polytrainer import Trainer
    from polytrainer.pipelines.metadata import runs
    from polytrainer.pipelines.metadata_connection import connect

    root = tmp_path_factory.mktemp("trained_store")
    path, module = root / "metadata.sqlite", root / "code" / "user_module.py"
    module.parent.mkdir()
    module.write_text(dedent(MODULE))

    def train(kind: type[Any], steps: int, node: str = "", cache: bool = False, **told: Any) -> int:
        importer = _examples(root / "examples")
        trainer = kind(
            module_file=str(module),
            examples=importer.outputs["result"],
            train_args=tfx.proto.TrainArgs(num_steps=steps),
            eval_args=tfx.proto.EvalArgs(num_steps=1),
            **told,
        )
        pipeline = tfx.dsl.Pipeline(
            "ours" if node else "theirs",
            str(root / "artifacts"),
            components=[importer, trainer.with_id(node) if node else trainer],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(path)),
            enable_cache=cache,
        )
        expected = pytest.raises(RuntimeError, match="no model today") if "fails" in str(told) else nullcontext()
        with expected:
            tfx.orchestration.LocalDagRunner().run(pipeline)
        return next(iter(runs(connect(path)))).id

    node = "Trainer.abacus"
    return SimpleNamespace(
        path=path,
        short=train(Trainer, 4, node),
        long=train(Trainer, 8, node, custom_config={"beads": {"red": 3}}),
        failed=train(Trainer, 8, node, custom_config={"fails": True}),
        cached=train(Trainer, 8, node, cache=True, custom_config={"beads": {"red": 3}}),
        theirs=train(tfx.components.Trainer, 4),
    )


def _examples(uri: Path) -> Any:
    """A node that brings Examples of the splits train and eval."""
    from tfx import v1 as tfx

    write_examples(uri)
    return tfx.dsl.Importer(
        source_uri=str(uri),
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": '["train", "eval"]'},
    ).with_id("examples")


def write_examples(uri: Path) -> None:
    """An example of each of the splits train and eval, as TFX has them on disk."""
    import tensorflow as tf

    for split in ("train", "eval"):
        folder = uri / f"Split-{split}"
        if not folder.exists():
            folder.mkdir(parents=True)
            options = tf.io.TFRecordOptions(compression_type="GZIP")
            with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), options) as writer:
                feature = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))
                example = tf.train.Example(features=tf.train.Features(feature={"x": feature}))
                writer.write(example.SerializeToString())
