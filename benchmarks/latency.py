"""What a prediction costs: a converted model beside PyTorch, torch.compile, ONNX Runtime and the same model in Keras.

    python benchmarks/latency.py [--models tabular cnn transformer] [--batches 1 1024] [--rounds 15] [--threads 1]

Milliseconds a call, on the wall and of all CPUs: the median of rounds in which all take turns, after each said the same
as PyTorch. Inputs are in memory as each likes them (Keras has channels last). `signature` is a SavedModel's, read
back from disk; what parsing tf.Examples costs is not in it. torch.compile gets each batch size as a fixed one. 0
threads means as many as each takes by itself. A peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from polytrainer.executors.backends import triton_beside_tensorflow

triton_beside_tensorflow.install()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402
from latency_models import TASKS, Task  # noqa: E402

from polytrainer.executors.export.aten_to_tf import convert, export  # noqa: E402

Call = Callable[[], Any]
SECONDS = 0.1
"""How long a contender's turn is, at least."""
TOLERANCE = 1e-4


class Contenders:
    """A model in all its forms."""

    def __init__(self, task: Task, folder: Path, threads: int):
        torch.manual_seed(0)
        self.task, self.threads, self.network = task, threads, task.network().eval()
        self.keras = task.keras(self.network)
        examples = {name: torch.from_numpy(value) for name, value in task.inputs(2).items()}
        self.converted = convert(export(self.network, (), examples))
        self.signatures = {}
        specs = {name: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for name, value in task.inputs(2).items()}
        keras_specs = {
            name: tf.TensorSpec([None, *value.shape[1:]], value.dtype)
            for name, value in task.for_keras(task.inputs(2)).items()
        }
        self.keras_function = tf.function(
            lambda inputs: self.keras(inputs, training=False), input_signature=[keras_specs]
        )
        for name, module, function, its_specs in (
            ("converted", self.converted, self.converted, specs),
            ("keras", self.keras, lambda **inputs: self.keras_function(inputs), keras_specs),
        ):
            holder = tf.Module()
            holder.module = module
            signature = tf.function(
                lambda function=function, **inputs: {"outputs": function(**inputs)}, autograph=False
            )
            concrete = signature.get_concrete_function(**{key: _named(key, spec) for key, spec in its_specs.items()})
            tf.saved_model.save(holder, str(folder / name), signatures={"serving_default": concrete})
            self.signatures[name] = tf.saved_model.load(str(folder / name)).signatures["serving_default"]
        self.onnx = self._onnx(examples) if find_spec("onnxruntime") and find_spec("onnx") else None

    def _onnx(self, examples: dict[str, torch.Tensor]) -> Any:
        import onnxruntime

        file, axes = io.BytesIO(), {name: {0: "batch"} for name in examples}
        names = {"input_names": list(examples), "output_names": ["outputs"]}
        torch.onnx.export(
            self.network, (), file, kwargs=examples, dynamic_axes=axes, dynamo=False, opset_version=17, **names
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

    def calls(self, batch: int) -> dict[str, Call]:
        """Each with a batch of this size."""
        arrays = self.task.inputs(batch)
        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        ours = {name: tf.constant(value) for name, value in arrays.items()}
        keras = {name: tf.constant(value) for name, value in self.task.for_keras(arrays).items()}
        torch._dynamo.reset()
        compiled = torch.compile(self.network, dynamic=False)
        signatures = self.signatures
        return {
            "PyTorch": lambda: self.network(**tensors),
            "torch.compile": lambda: compiled(**tensors),
            **({"ONNX Runtime": lambda: self.onnx.run(None, arrays)[0]} if self.onnx else {}),
            "Keras, tf.function": lambda: self.keras_function(keras),
            "Keras, signature": lambda: signatures["keras"](**keras)["outputs"],
            "converted, tf.function": lambda: self.converted(**ours),
            "converted, signature": lambda: signatures["converted"](**ours)["outputs"],
        }


def _named(name: str, spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec(spec.shape, spec.dtype, name)


def measured(calls: dict[str, Call], rounds: int) -> dict[str, tuple[float, float]]:
    """Milliseconds on the wall and of the CPU."""
    wanted = np.asarray(calls["PyTorch"]())
    repeats = {}
    for way, call in calls.items():
        np.testing.assert_allclose(np.asarray(call()), wanted, TOLERANCE, TOLERANCE, err_msg=way)
        for _ in range(3):
            call()
        repeats[way] = max(1, round(SECONDS / _timed(call, 3)[0]))
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in calls}
    for _ in range(rounds):  # in turns, so that a noisy minute is everybody's
        for way, call in calls.items():
            found[way].append(_timed(call, repeats[way]))
    return {
        way: tuple(1e3 * statistics.median(each) for each in zip(*values, strict=True)) for way, values in found.items()
    }


def _timed(call: Call, repeats: int) -> tuple[float, float]:
    """Seconds a call on the wall and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        result = call()
    np.asarray(result)  # TensorFlow's calls may return before they are done
    return (time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats


def table(model: str, found: dict[int, dict[str, tuple[float, float]]]) -> str:
    """Markdown: a row for each way, three columns for each batch size."""
    heads = "".join(f" B={batch}: ms | CPU ms | ratio |" for batch in found)
    lines = [f"| {model} |{heads}", "|---|" + "---:|" * 3 * len(found)]
    for way in next(iter(found.values())):
        cells = (
            f" {times[way][0]:.3g} | {times[way][1]:.3g} | {times[way][0] / times['PyTorch'][0]:.2f} |"
            for times in found.values()
        )
        lines.append(f"| {way} |{''.join(cells)}")
    return "\n".join(lines)


def main() -> None:
    """Measures, and prints a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 1024])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if not find_spec("onnxruntime"):
        print("ONNX Runtime is not installed and left out")
    with torch.inference_mode():
        for model in options.models:
            with tempfile.TemporaryDirectory() as folder:
                contenders = Contenders(TASKS[model], Path(folder), options.threads)
                found = {batch: measured(contenders.calls(batch), options.rounds) for batch in options.batches}
            print(f"\n{table(model, found)}", flush=True)


if __name__ == "__main__":
    main()
