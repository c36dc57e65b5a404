"""SavedModel → TFLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from polytrainer.executors.export.formats import reason
from polytrainer.executors.export.formats.signature import inputs as inputs_of_signature
from polytrainer.executors.export.formats.source import SIGNATURE, Arrays
from polytrainer.proto import export_args


def convert(saved_model: str, quantization: str, calibration: Arrays) -> bytes:
    """Makes a model with one signature, the SavedModel's, whose inputs and outputs keep their names, types and batch.

    Args:
        saved_model: Folder of a SavedModel with the signature `SIGNATURE`, of TensorFlow 1 or 2.
        quantization: One of `export_args.QUANTIZATIONS`.
        calibration: Examples that "full_integer" finds ranges of values with.

    Raises:
        TrainingError: If TensorFlow cannot convert it.
    """
    import tensorflow as tf

    if quantization == "full_integer" and _has_half_precision(saved_model):
        raise reason.inconvertible(export_args.TFLITE, "half precision, which ranges of values cannot be found of")
    arguments = inputs_of_signature(saved_model, calibration)
    first = last = None
    for operators, consequence in _operator_sets(quantization):
        converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = operators
        if quantization != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization == "full_integer":
            converter.representative_dataset = lambda: _one_by_one(
                {arguments[name]: array for name, array in calibration.items()}
            )
        try:
            content: bytes = converter.convert()
        except Exception as raised:  # of many kinds
            first, last = first or raised, raised
            continue
        if first:
            logging.warning("TFLite, %s: %s", consequence, reason.of(first))
        return _with_input_names(content, {argument: name for name, argument in arguments.items()})
    assert last is not None
    raise reason.inconvertible(export_args.TFLITE, reason.of(last)) from last


def run(path: str, batches: Sequence[Arrays]) -> list[Arrays]:
    """What a model says of batches of features by name, of any size.

    Raises:
        TrainingError: If TensorFlow's interpreter cannot run it.
    """
    import tensorflow as tf

    try:
        runner = tf.lite.Interpreter(model_path=path).get_signature_runner(SIGNATURE)
        return [runner(**batch) for batch in batches]
    except Exception as error:
        raise reason.inconvertible(export_args.TFLITE, reason.of(error)) from error


def _with_input_names(content: bytes, names: Mapping[str, str]) -> bytes:
    """A model whose signature calls its inputs otherwise."""
    if all(before == after for before, after in names.items()):
        return content
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for signature in model.signatureDefs:
        for tensor in signature.inputs:
            name = tensor.name.decode()
            tensor.name = names.get(name, name).encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _operator_sets(quantization: str) -> list[tuple[list[Any], str]]:
    """Which operators a model may have, the best first, and what it means where those did not suffice."""
    import tensorflow as tf

    sets = tf.lite.OpsSet
    ways = [([sets.TFLITE_BUILTINS], "")]
    if quantization == "full_integer":
        eight_bits = [sets.TFLITE_BUILTINS_INT8, sets.TFLITE_BUILTINS]
        ways = [([sets.TFLITE_BUILTINS_INT8], ""), (eight_bits, "some of it not computed in 8 bits")]
    return [
        *ways,
        ([*ways[-1][0], sets.SELECT_TF_OPS], "to be run with the Flex delegate (TensorFlow's own operators)"),
    ]


def _has_half_precision(saved_model: str) -> bool:
    """Whether anything in it is computed so: TensorFlow ends the whole process when it calibrates such a model."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    content = (Path(saved_model) / "saved_model.pb").read_bytes()
    half = (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16)
    return any(
        attribute.type in half
        for graph in saved_model_pb2.SavedModel.FromString(content).meta_graphs
        for nodes in (graph.graph_def.node, *(each.node_def for each in graph.graph_def.library.function))
        for node in nodes
        for attribute in node.attr.values()
    )


def _one_by_one(examples: Arrays) -> Any:
    count = min(len(array) for array in examples.values())
    for number in range(count):
        yield {name: np.ascontiguousarray(array[number : number + 1]) for name, array in examples.items()}
