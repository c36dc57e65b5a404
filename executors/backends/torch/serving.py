"""A trained model as a SavedModel of plain TensorFlow, with all that stands between a raw example and its answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from absl import logging
from torch import nn

from polytrainer.executors.backends.torch.losses import LOGITS
from polytrainer.executors.backends.torch.modes import evaluating
from polytrainer.executors.backends.torch.program_inputs import arguments_read
from polytrainer.executors.data.encoders import Vocabulary
from polytrainer.executors.data.errors import DataError
from polytrainer.executors.data.examples import first_examples
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.export import argument_names, parity, preprocessing, saved_model
from polytrainer.executors.export.loadable import copy
from polytrainer.executors.export.program_features import ProgramFeatures
from polytrainer.executors.export.signatures import named_outputs, signatures
from polytrainer.proto import export_args
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer

CHECKED_EXAMPLES = 64
CLASSES = "classes"
INSTEAD = (
    'ExportArgs(formats=["TORCH"]) publishes the torch.export program alone, which TFX\'s Evaluator reads with '
    'module_path="polytrainer.executors.evaluation.torch_extractor".'
)


@dataclass(frozen=True)
class Servable:
    """A converted model, to be written.

    Attributes:
        module: A `tf.Module` with the converted program as `model`.
        signatures: Of the SavedModel.
        features: From examples to the program's arguments.
    """

    module: Any
    signatures: Mapping[str, Any]
    features: ProgramFeatures


def servable(trainer: TorchTrainer, program: torch.export.ExportedProgram) -> Servable:
    """Converts a program.

    Raises:
        PreflightError: With everything that has no counterpart in TensorFlow, or does not fit the examples.
    """
    import tensorflow as tf

    from polytrainer.executors.export.aten_to_tf import ConversionError, convert

    names = class_names(trainer)
    try:
        with tf.device("CPU:0"):  # a GPU's memory is for the training
            features = program_features(trainer)
            features.serve_only(arguments_read(program))
            module = tf.Module(name="Model")
            module.model, module.resources = convert(program), features.resources

            def predict(given: dict[str, Any]) -> dict[str, Any]:
                outputs = named_outputs(module.model(features.of_served(given)))
                return outputs if names is None else {**outputs, CLASSES: _classes(outputs, names)}

            # makes `predict` on named tensors at once: what does not fit shows here
            made = signatures(module, predict, features.between, trainer._label_encoders)
            return Servable(module, made, features)
    except PreflightError:
        raise
    except TrainingError as error:  # what `interface` says after a training
        raise PreflightError(error.problems) from error
    except ConversionError as error:
        problems = list(error.problems)
        last = problems[-1]
        remedy = " ".join(part for part in (last.remedy, INSTEAD) if part)
        problems[-1] = Problem(last.where, last.got, last.expected, remedy)
        raise PreflightError(problems) from error
    except (DataError, KeyError, ValueError) as error:
        got = f"features that cannot be made of a raw example ({type(error).__name__}: {error})"
        expected = "those of the schema or the transform graph, as input_fn's default gives them"
        raise PreflightError([Problem("the serving signature", got, expected, INSTEAD)]) from error


def program_features(trainer: TorchTrainer) -> ProgramFeatures:
    """How an example becomes the arguments of the trainer's program."""
    between = trainer.interface()
    if between.transform is not None:
        trainer._transform_layer = between.transform  # the one that is saved
    return ProgramFeatures(between, trainer._stored_spec, trainer.not_given, trainer.encoders, is_raw=trainer._is_raw)


def save(trainer: TorchTrainer, predictor: nn.Module, program: torch.export.ExportedProgram) -> float:
    """Writes `Format-Serving` and `Format-TFMA`, and compares the first with the model on real examples.

    Returns:
        The largest difference.

    Raises:
        TrainingError: If it is too large, or the SavedModel fails.
    """
    import tensorflow as tf

    told = trainer.fn_args
    try:
        made = servable(trainer, program)
    except PreflightError as error:  # of a model that could not be looked at before it was trained
        raise TrainingError(*error.problems) from error
    with tf.device("CPU:0"):
        saved_model.write(made.module, told.serving_model_dir, made.signatures)
        argument_names.write(told.serving_model_dir, made.features.between.argument_names)
        stored = stored_examples(trainer, CHECKED_EXAMPLES)
        worst = saved_model.check(
            told.serving_model_dir,
            stored,
            lambda some: predicted(predictor, made.features, some),
            trainer.raw_rows,
            lambda some: outputs_of(predictor, _arrays(made.features.of_raw(tf.constant(list(some))))),
            export_args.tolerance(told.export_args, told.train_args.precision),
            lambda loaded, some: loaded.model(made.features.of_stored(tf.constant(list(some)))),
        )
    copy(told.serving_model_dir, told.eval_model_dir)
    return worst


def save_preprocessing(trainer: TorchTrainer, arguments: Mapping[str, torch.Tensor]) -> None:
    """Writes what makes the program's arguments of raw examples, for TFX's Evaluator where there is no SavedModel.

    Args:
        trainer: Whose features they are.
        arguments: The program's, by name.
    """
    import tensorflow as tf

    told = trainer.fn_args
    try:
        with tf.device("CPU:0"):
            features = program_features(trainer)
            made = features.of_stored(tf.constant(stored_examples(trainer, 1)))
            if set(made) != set(arguments):
                raise ValueError(f"input_fn gives {sorted(arguments)}, the schema or transform graph {sorted(made)}")
            path = os.path.join(os.path.dirname(told.serving_model_dir), *preprocessing.FOLDER)
            preprocessing.write(path, features, trainer._label_encoders)
    except (ValueError, KeyError, TrainingError) as error:
        logging.warning("TFX's Evaluator will not be able to evaluate %s: %s", told.serving_model_dir, error)


def stored_examples(trainer: TorchTrainer, count: int) -> list[bytes]:
    """Some examples of the eval splits, as they lie on disk; of the training splits, where there are none."""
    told = trainer.fn_args
    return first_examples(trainer.files(told.eval_files or told.train_files), count)


def predicted(
    predictor: nn.Module, features: ProgramFeatures, serialized: Sequence[bytes]
) -> dict[str, np.ndarray[Any, Any]]:
    """What the model in memory says of stored examples, outputs by name."""
    import tensorflow as tf

    return outputs_of(predictor, _arrays(features.of_stored(tf.constant(list(serialized)))))


def _arrays(arguments: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.array(value) for name, value in arguments.items()}


def outputs_of(predictor: nn.Module, arguments: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """What the model in memory says, outputs by name."""
    with torch.no_grad(), evaluating(predictor):
        found = predictor({name: torch.from_numpy(value) for name, value in arguments.items()})
    return {name: value.numpy() for name, value in named_outputs(found).items()}


def warn_of_skew(trainer: TorchTrainer, features: ProgramFeatures, arguments: Mapping[str, torch.Tensor]) -> None:
    """Says so where an `input_fn` of the user's makes something else of examples than the SavedModel will.

    Args:
        trainer: With the `input_fn`.
        features: What the SavedModel makes of examples.
        arguments: What `input_fn` made of the first ones.
    """
    import tensorflow as tf

    count = next(iter(arguments.values())).shape[0]
    served = features.of_stored(tf.constant(stored_examples(trainer, count)))
    if parity.difference({name: value.numpy() for name, value in arguments.items()}, served) > saved_model.TOLERANCE:
        logging.warning(
            "input_fn gives other features of the first examples than the serving signature will compute from them. "
            "If it only shuffles, all is well; if it changes values, do that in Transform or in the model instead."
        )


def class_names(trainer: TorchTrainer) -> list[bytes] | None:
    """The names of the classes, by default the words of `label_vocabulary`; None if there are none.

    Raises:
        PreflightError: If they cannot be found.
    """
    classes: Any = trainer.label_words if trainer.classes is None else trainer.classes
    if classes is None:
        return None
    if isinstance(classes, str):
        graph = trainer.transform_output
        if graph is None or not graph.vocabulary_file_by_name(classes):
            got, remedy = f"{classes!r}", "The names themselves may be given, too: classes=[…]."
            raise PreflightError([Problem(CLASSES, got, "the name of a vocabulary of the transform graph", remedy)])
        names = [bytes(name) for name in graph.vocabulary_by_name(classes)]
    else:
        words = classes.words if isinstance(classes, Vocabulary) else classes
        names = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return names


def _classes(outputs: Mapping[str, Any], names: Sequence[bytes]) -> Any:
    """Each example's likeliest class by its name; of one score, the second class where it is positive.

    `[batch, 1]`, as Estimator has it: BulkInferrer fails on bytes without a dimension of their own.
    """
    import tensorflow as tf

    named = [name for name in LOGITS if name in outputs] or (list(outputs) if len(outputs) == 1 else [])
    if CLASSES in outputs or not named:
        got = f"outputs called {', '.join(outputs)}"
        expected = f"one of scores, called {' or '.join(LOGITS)} where there are several, and none called {CLASSES}"
        raise PreflightError([Problem(CLASSES, got, expected)])
    scores = outputs[named[0]]
    width = scores.shape[-1] if scores.shape.rank > 1 else 1
    if scores.shape.rank > 2 or (len(names) != width and (len(names), width) != (2, 1)):  # noqa: PLR2004
        got = f"{len(names)} names for scores {scores.shape}"
        raise PreflightError([Problem(CLASSES, got, "a name for each class that the model scores")])
    best = tf.argmax(scores, -1) if width > 1 else tf.cast(tf.reshape(scores, [-1]) > 0, tf.int64)
    return tf.gather(tf.constant(list(names)), tf.reshape(best, [-1, 1]))
