"""A PyTorch program as TFMA sees a model: with signatures, as a SavedModel that was loaded has them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polytrainer.executors.backends import triton_beside_tensorflow
from polytrainer.executors.export.preprocessing import FOLDER
from polytrainer.executors.export.signatures import SERVING, TRANSFORM, named_outputs
from polytrainer.executors.export.torch_program import load_program
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

PROGRAM = "model.pt2"


class EvaluationError(ValueError):
    """A model cannot be evaluated.

    Attributes:
        problem: Where, what was got, what was expected, how to mend it.
    """

    def __init__(self, problem: Problem):
        super().__init__(str(problem))
        self.problem = problem

    def __reduce__(self) -> tuple[type[EvaluationError], tuple[Problem]]:
        return type(self), (self.problem,)  # Beam's worker sends its errors to the runner


def has_program(path: str) -> bool:
    """Whether a model, `Format-Serving`, is a PyTorch program."""
    from tensorflow.io import gfile

    return bool(gfile.exists(os.path.join(path, PROGRAM)))


def transforms(path: str) -> bool:
    """Whether a model, a program or a SavedModel, answers to `transform_features`."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.io import gfile

    if has_program(path):
        return True
    with gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        graphs = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs
    return any(TRANSFORM in graph.signature_def for graph in graphs)


def check(path: str) -> None:
    """Looks whether all is there that an evaluation needs.

    Args:
        path: The model, `Format-Serving`.

    Raises:
        EvaluationError: If it is not.
    """
    import tensorflow as tf

    if not has_program(path):
        is_saved_model = tf.saved_model.contains_saved_model(path)
        got = "a SavedModel" if is_saved_model else f"no {PROGRAM}"
        remedy = (
            "The Evaluator reads a SavedModel by itself: leave module_path and module_file out."
            if is_saved_model
            else "Is this the model of a Trainer that ran a TorchTrainer?"
        )
        raise EvaluationError(Problem(path, got, f"{PROGRAM}, as ExportArgs(formats=['TORCH']) has it written", remedy))
    if not tf.saved_model.contains_saved_model(preprocessing := _preprocessing_of(path)):
        raise EvaluationError(
            Problem(
                preprocessing,
                "no such folder, or no SavedModel in it",
                "what makes the program's features of raw examples, which the Trainer writes beside the program",
                "Was only a part of the model copied, or was it trained before this was written? Then train it again.",
            )
        )


class TorchModel:
    """A PyTorch program, and what makes its features of serialized examples.

    Attributes:
        signatures: By the names that TFMA asks for them: `serving_default`, serialized raw examples `[n]` → outputs;
            `transform_features`, the same → transformed features and label.
    """

    def __init__(self, path: str):
        """Loads both.

        Args:
            path: `Format-Serving`, with `Format-Torch` beside it.
        """
        triton_beside_tensorflow.install()  # before PyTorch is imported, which may be now
        import tensorflow as tf

        with tf.io.gfile.GFile(os.path.join(path, PROGRAM), "rb") as file:
            program = load_program(io.BytesIO(file.read()), file.name)
        [self._example], _ = program.example_inputs
        self._program = program.module()
        self._preprocessing = tf.saved_model.load(_preprocessing_of(path))
        self.signatures = {
            SERVING: Signature(self._predict),
            TRANSFORM: Signature(self._preprocessing.transform_features),
        }

    def _predict(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized raw examples `[n]` → outputs by name, `[n, …]`, those that are no integers in float32."""
        import tensorflow as tf
        import torch

        count = int(examples.shape[0])
        made = self._preprocessing.program_features(examples)
        if missing := sorted(set(self._example) - set(made)):
            remedy = "Does an input_fn of your own make them? Do so in Transform, or in the model."
            raise EvaluationError(
                Problem("the program's features", f"no {missing} among {sorted(made)}", "all that it takes", remedy)
            )
        # in the order that the program was exported with; no program takes no examples at all
        features = {name: _as_torch(made[name]) for name in self._example} if count else self._example
        with torch.inference_mode():
            outputs = named_outputs(self._program(features))
        arrays = {name: _as_array(value) for name, value in outputs.items() if hasattr(value, "shape")}
        for name, array in arrays.items():
            if count and array.shape[:1] != (count,):
                got = f"a tensor of shape {list(array.shape)} for {count} examples"
                remedy = "Leave it out of what predict_fn, or the model, returns."
                raise EvaluationError(Problem(f"the output {name!r}", got, "a row for each example", remedy))
        return {name: tf.constant(array if count else array[:0]) for name, array in arrays.items()}


class Signature:
    """What TFMA takes for a signature that takes serialized examples."""

    structured_input_signature = None  # of no names, to be filled from features

    def __init__(self, call: Callable[[Any], Any]):
        self._call = call

    def __call__(self, examples: Any) -> Any:
        """Serialized examples `[n]` → tensors by name."""
        return self._call(examples)


def _preprocessing_of(path: str) -> str:
    return os.path.join(os.path.dirname(path.rstrip("/")), *FOLDER)


def _as_torch(tensor: tf.Tensor) -> torch.Tensor:
    import torch

    array = tensor.numpy()
    if array.dtype.name == "bfloat16":  # which NumPy has no name for
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def _as_array(tensor: torch.Tensor) -> Any:
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
