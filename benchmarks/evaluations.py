"""What evaluations cost that follow one another: seconds of trainings with more and more of them.

    python benchmarks/evaluations.py [--counts 500 1000 2000]

A tiny model is evaluated on ten examples after each step. What is measured is what is done with the result:
metrics.csv, TensorBoard, trainer_state.json, and a checkpoint every tenth step. Seconds for each further evaluation
stay the same where nothing is written anew each time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from polytrainer.executors.backends import triton_beside_tensorflow

triton_beside_tensorflow.install()

import tensorflow as tf  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from polytrainer import TorchTrainer  # noqa: E402

SCHEMA = """
feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 2 } } }
feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


class Network(nn.Module):
    """A layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, [batch, 2]."""
        return self.layer(x)  # type: ignore[no-any-return]


class Trainer(TorchTrainer):
    """Trains it, and exports nothing."""

    def model_fn(self) -> nn.Module:
        """The network."""
        return Network()

    def save(self, model: nn.Module | None = None) -> dict[str, float]:
        """Nothing."""
        return {}


def write_examples(path: Path, count: int) -> str:
    """Writes examples of two numbers, labelled by their sign."""
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for x in torch.randn(count, 2).tolist():
            example = tf.train.Example()
            example.features.feature["x"].float_list.value.extend(x)
            example.features.feature["label"].int64_list.value.append(int(sum(x) > 0))
            writer.write(example.SerializeToString())
    return str(path)


def seconds(count: int, folder: Path) -> float:
    """Of a training with so many evaluations, from its first step to its last one."""
    trainer = Trainer("label", metrics=["accuracy"])
    train, held = write_examples(folder / "train.gz", 64), write_examples(folder / "eval.gz", 10)
    (folder / "schema.pbtxt").write_text(SCHEMA)
    options: dict[str, Any] = {"num_steps": count, "eval_every_n_steps": 1, "checkpoint_every_n_steps": 10}
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(train, held, schema=str(folder / "schema.pbtxt"), output_dir=str(folder / "out"), **options)
    assert len(trainer.engine.state.history) == count
    return trainer.timings.seconds["training"] + sum(
        trainer.timings.seconds.get(phase, 0.0) for phase in ("evaluation", "checkpoints")
    )


def main() -> None:
    """Prints a line for each number of evaluations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 1000, 2000])
    torch.set_num_threads(1)
    before: tuple[int, float] = (0, 0.0)
    for count in parser.parse_args().counts:
        with tempfile.TemporaryDirectory() as folder:
            taken = seconds(count, Path(folder))
        further = (taken - before[1]) / (count - before[0])
        print(f"{count:6} evaluations  {taken:7.1f} s  {1000 * further:6.1f} ms for each further one", flush=True)
        before = (count, taken)


if __name__ == "__main__":
    main()
