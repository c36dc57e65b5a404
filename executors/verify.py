"""Is what was written a model? Looked at before it is published."""

from __future__ import annotations

import os
from dataclasses import dataclass

from absl import logging
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from polytrainer.executors.errors import TrainingError
from polytrainer.executors.export.loadable import loadable
from polytrainer.executors.export.torch_program import UntrustedProgramError, load_program
from polytrainer.executors.fn_args import FnArgs
from polytrainer.proto.problems import Problem

_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")


@dataclass(frozen=True)
class WrittenModel:
    """A model on disk that has been loaded once.

    Attributes:
        path: Its folder.
        kind: "saved_model", "torch_export" or "files" (anything else: it is there, and not empty).
        signatures: Names of a SavedModel's signatures, sorted.
    """

    path: str
    kind: str
    signatures: tuple[str, ...] = ()


def verify(fn_args: FnArgs) -> list[WrittenModel]:
    """Loads each model that the user's code wrote.

    Returns:
        The serving model, and the eval model where there is one.

    Raises:
        TrainingError: If there is no serving model, a folder holds nothing, or a model does not load.
    """
    if not fileio.exists(fn_args.serving_model_dir):
        raise TrainingError(
            Problem(
                "run_fn",
                f"no model at {fn_args.serving_model_dir}",
                "a model there when run_fn returns",
                "run_fn failed to generate model: save it to fn_args.serving_model_dir.",
            )
        )
    serving = _verified(_serving_path(fn_args.serving_model_dir), "fn_args.serving_model_dir")
    if not fileio.exists(fn_args.eval_model_dir):
        return [serving]
    return [serving, _verified(fn_args.eval_model_dir, "fn_args.eval_model_dir")]


def _serving_path(serving_model_dir: str) -> str:
    """The model itself, which an Estimator's exporter leaves some folders further down."""
    try:
        return path_utils.serving_model_path(os.path.dirname(serving_model_dir))  # type: ignore[no-any-return]
    except (ValueError, RuntimeError) as error:
        raise TrainingError(
            Problem(
                "fn_args.serving_model_dir",
                f"an export folder that TFX cannot choose from: {error}",
                "one exporter with one export in it",
                "Remove all exports but one, or write the model to fn_args.serving_model_dir itself.",
            )
        ) from error


def _verified(path: str, where: str) -> WrittenModel:
    if not fileio.isdir(path):
        files = [path]  # TFX takes a model that is one file, too
    else:
        files = [os.path.join(folder, name) for folder, _, names in fileio.walk(path) for name in names]
    if not files:
        raise TrainingError(
            Problem(where, f"an empty folder, {path}", "a model in it", "Was the model saved elsewhere?")
        )
    if any(os.path.join(path, name) in files for name in _SAVED_MODEL):
        return WrittenModel(path, "saved_model", _load_saved_model(path, where))
    programs = [file for file in files if file.endswith(".pt2")]
    for program in programs:
        _load_torch_export(program, where)
    return WrittenModel(path, "torch_export" if programs else "files")


def _load_saved_model(path: str, where: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(_signatures(path)))
    except Exception as error:
        raise TrainingError(
            Problem(
                where,
                f"a SavedModel that does not load, {path} ({type(error).__name__}: {error})",
                "a SavedModel that TensorFlow reads",
                "Was it written whole? Does it need custom ops that only the training process has?",
            )
        ) from error


def _signatures(path: str) -> list[str]:
    """Loads a SavedModel and returns the names of its signatures.

    One of TF1's kind is loaded as TF1 loads it: `tf.saved_model.load` fails on an EvalSavedModel that lists a tensor
    twice among its inputs ("appears more than once in the input list"), and TFMA does not load it that way either.
    """
    with loadable(path) as folder:
        return _signatures_in(folder)


def _signatures_in(path: str) -> list[str]:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    binary = os.path.join(path, _SAVED_MODEL[0])
    if fileio.exists(binary):
        with fileio.open(binary, "rb") as file:
            graphs = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs
        if graphs and not graphs[0].object_graph_def.nodes:
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                loaded = tf.compat.v1.saved_model.load(session, list(graphs[0].meta_info_def.tags), path)
                return list(loaded.signature_def)
    return list(tf.saved_model.load(path).signatures)


def _load_torch_export(path: str, where: str) -> None:
    from tfx.utils import io_utils

    try:
        load_program(io_utils.ensure_local(path), path)
    except UntrustedProgramError as error:
        logging.warning("%s It is published without having been read.", error)
    except Exception as error:
        raise TrainingError(
            Problem(
                where, f"a program that does not load, {path} ({type(error).__name__}: {error})", "a torch.export one"
            )
        ) from error
