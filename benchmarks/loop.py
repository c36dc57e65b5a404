"""What a training step costs: ours beside the fixed-batch limit, a hand-written loop, Lightning, accelerate and Keras.

    python benchmarks/loop.py [--steps 2000] [--repeats 3]

CPU microseconds a step on one thread, the median of several runs in one process that take turns; ratios are to
the fixed-batch limit with torch's default Adam. Ours runs with logs, progress and checkpoints on, its peers bare.
What a run of ours costs once (a model exported to see that it can be, logs opened) is not counted, nor is that of
peers, where they let it be told apart. A peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from polytrainer.executors.backends import triton_beside_tensorflow

triton_beside_tensorflow.install()

import tensorflow as tf  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from polytrainer import TorchTrainer  # noqa: E402

SIZES = {"tiny MLP, B=32": (6, (16,), 32), "MLP 256-128, B=1024": (40, (256, 128), 1024)}


class Network(nn.Module):
    """A perceptron over one feature of several numbers."""

    def __init__(self, width: int, hidden: tuple[int, ...]):
        super().__init__()
        sizes = (width, *hidden)
        layers = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, [batch, 2]."""
        return self.layers(x)


class Ours(TorchTrainer):
    """The network, trained as a user would."""

    def model_fn(self) -> nn.Module:
        """The network."""
        return Network(self.width, self.hidden)


class Task:
    """Data of a size, and the ways to train on it."""

    def __init__(self, folder: Path, width: int, hidden: tuple[int, ...], batch_size: int, steps: int):
        self.width, self.hidden, self.batch_size, self.steps = width, hidden, batch_size, steps
        generator = torch.Generator().manual_seed(0)
        count = min(batch_size * steps, 64_000)
        self.x = torch.randn(count, width, generator=generator)
        self.y = (self.x.sum(1) > 0).long()
        self.path = str(folder / f"{width}-{batch_size}.gz")
        with tf.io.TFRecordWriter(self.path, "GZIP") as writer:
            for x, y in zip(self.x.tolist(), self.y.tolist(), strict=True):
                example = tf.train.Example()
                example.features.feature["x"].float_list.value.extend(x)
                example.features.feature["y"].int64_list.value.append(y)
                writer.write(example.SerializeToString())

    def limit(self, **options: Any) -> float:
        """One batch over and over: what no loop can be faster than."""
        model, x, y = Network(self.width, self.hidden), self.x[: self.batch_size], self.y[: self.batch_size]
        optimizer = torch.optim.Adam(model.parameters(), **options)

        def train(steps: int) -> None:
            for _ in range(steps):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()

        train(50)
        return self.timed(lambda: train(self.steps))

    def hand_written(self) -> float:
        """A DataLoader over tensors, and the loop of the tutorials."""
        model = Network(self.width, self.hidden)
        optimizer = torch.optim.Adam(model.parameters())
        dataset = torch.utils.data.TensorDataset(self.x, self.y)
        loader = torch.utils.data.DataLoader(dataset, self.batch_size, shuffle=True)

        def train() -> None:
            done = 0
            while done < self.steps:
                for x, y in loader:
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(x), y).backward()
                    optimizer.step()
                    done += 1
                    if done == self.steps:
                        break

        return self.timed(train)

    def ours(self) -> float:
        """TorchTrainer, from the first step to the last; its data is decoded already."""
        from polytrainer.executors.backends import local_fit

        spec = {"x": tf.io.FixedLenFeature([self.width], tf.float32), "y": tf.io.FixedLenFeature([1], tf.int64)}
        trainer = Ours(
            "y", feature_spec=spec, optimizer="adam", metrics=["accuracy"], width=self.width, hidden=self.hidden
        )

        def bound(steps: int) -> None:
            trainer.bind(
                local_fit.run_args(trainer, self.path, None, num_steps=steps, batch_size=self.batch_size, seed=1)
            )
            trainer.train_batches.prepare()

        with contextlib.redirect_stdout(io.StringIO()):
            bound(10)
            trainer.train()  # imports, and what is made once
            bound(self.steps)
            trainer.begin()
            return self.timed(trainer.engine.train)

    def lightning(self) -> float:
        """lightning.Trainer without logs and checkpoints."""
        import logging
        import warnings

        import lightning

        warnings.filterwarnings("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        network = Network(self.width, self.hidden)

        class Module(lightning.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def training_step(self, batch: Any, index: int) -> torch.Tensor:
                return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.Adam(self.parameters())

        dataset = torch.utils.data.TensorDataset(self.x, self.y)
        loader = torch.utils.data.DataLoader(dataset, self.batch_size, shuffle=True)
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = lightning.Trainer(max_steps=self.steps, max_epochs=-1, accelerator="cpu", **quiet)
        return self.timed(lambda: trainer.fit(Module(), loader))

    def accelerate(self) -> float:
        """A loop with accelerate."""
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True)
        model = Network(self.width, self.hidden)
        dataset = torch.utils.data.TensorDataset(self.x, self.y)
        loader = torch.utils.data.DataLoader(dataset, self.batch_size, shuffle=True)
        model, optimizer, loader = accelerator.prepare(model, torch.optim.Adam(model.parameters()), loader)

        def train() -> None:
            done = 0
            while done < self.steps:
                for x, y in loader:
                    optimizer.zero_grad()
                    accelerator.backward(nn.functional.cross_entropy(model(x), y))
                    optimizer.step()
                    done += 1
                    if done == self.steps:
                        break

        return self.timed(train)

    def keras(self) -> float:
        """`Model.fit` on tensors."""
        layers = [tf.keras.layers.Dense(size, activation="relu") for size in self.hidden]
        model = tf.keras.Sequential([tf.keras.Input((self.width,)), *layers, tf.keras.layers.Dense(2)])
        model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        data = tf.data.Dataset.from_tensor_slices((self.x.numpy(), self.y.numpy()))
        data = data.shuffle(len(self.x)).batch(self.batch_size).repeat()
        model.fit(data, steps_per_epoch=10, epochs=1, verbose=0)
        return self.timed(lambda: model.fit(data, steps_per_epoch=self.steps, epochs=1, verbose=0))

    def timed(self, train: Callable[[], Any]) -> float:
        """CPU microseconds a step, of all threads of the process."""
        started = time.process_time()
        train()
        return (time.process_time() - started) / self.steps * 1e6


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            task = Task(Path(folder), *size, max(options.steps * 32 // size[2], 200))
            ways: dict[str, Callable[[], float]] = {
                "fixed batch, default Adam (limit)": task.limit,
                "fixed batch, fused Adam": lambda task=task: task.limit(fused=True),
                "polytrainer": task.ours,
                "hand-written loop, DataLoader": task.hand_written,
                **({"lightning": task.lightning} if find_spec("lightning") else {}),
                **({"accelerate": task.accelerate} if find_spec("accelerate") else {}),
                "keras fit": task.keras,
            }
            found = {way: [] for way in ways}
            for _ in range(options.repeats):  # in turns, so that a noisy minute is everybody's
                for way, measure in ways.items():
                    found[way].append(measure())
            limit = statistics.median(found["fixed batch, default Adam (limit)"])
            print(f"\n{name}: CPU µs a step")
            for way, values in found.items():
                middle = statistics.median(values)
                print(f"  {way:36}{middle:8.0f}{middle / limit:7.2f}x{middle - limit:+8.0f}")


if __name__ == "__main__":
    main()
