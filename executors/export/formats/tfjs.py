"""SavedModel → a graph model of TensorFlow.js, and a look at what was written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from absl import logging

from polytrainer.executors.export.formats import reason
from polytrainer.executors.export.formats.flat_function import FlatFunction, flatten
from polytrainer.executors.export.formats.source import Arrays
from polytrainer.proto import export_args
from polytrainer.proto.problems import Problem

# what TensorFlow.js reads; it computes with float32 and int32 in place of the wider ones
_TYPES = ("FLOAT", "HALF", "DOUBLE", "INT32", "INT64", "INT8", "UINT8", "BOOL", "STRING", "COMPLEX64", "COMPLEX128")


def missing_packages() -> list[Problem]:
    """What has to be installed first."""
    if find_spec("tensorflowjs") is not None:
        return []
    remedy = (
        "Install it: pip install 'polytrainer[tfjs]'. It resolves with TFX 1.15 and 1.16, not with 1.21, and works on "
        "1.15 alone: on 1.16 the tensorflow-hub that it imports needs tf.estimator, which TensorFlow 2.16 has not."
    )
    return [Problem("export_args.formats", "TFJS without tensorflowjs", "the package installed", remedy)]


def convert(saved_model: str, path: str, features: Arrays) -> None:
    """Writes a SavedModel's signature `SIGNATURE` as a graph model whose inputs and outputs keep their names.

    TFX's `TFJSRewriter` calls the same converter with the SavedModel. That one loses the names of inputs and outputs
    that have one shape and type, and those of outputs; so this gives it a frozen graph, and writes the signature.

    Args:
        saved_model: Its folder; of TensorFlow 1 or 2.
        path: Of the `model.json` to write; files of weights are written beside it.
        features: All that the model is given.

    Raises:
        TrainingError: If the model has a lookup table or a type that TensorFlow.js does not know.
        Exception: Whatever the converter raises.
    """
    from tensorflow.python.framework import convert_to_constants
    from tensorflowjs.converters import tf_saved_model_conversion_v2 as converter

    flat = flatten(saved_model, features)
    frozen = convert_to_constants.convert_variables_to_constants_v2(flat.concrete, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    _check_graph(graph, flat)
    outputs = ",".join(_node(name) for name in flat.output_names)
    with tempfile.NamedTemporaryFile(suffix=".pb") as file:
        file.write(graph.SerializeToString())
        file.flush()
        converter.convert_tf_frozen_model(file.name, outputs, str(Path(path).parent))
    _finish(path, flat)


def run(path: str, batches: Sequence[Arrays]) -> list[Arrays] | None:
    """Runs the graph of a model, with the weights read from its files, on batches of features: by TensorFlow.

    TensorFlow.js is not among what runs in Python. What this shows is that the files hold the graph, the weights and
    the names of the model.

    Returns:
        The outputs of each batch; None where the graph has operators of TensorFlow.js' own.
    """
    import tensorflow as tf

    model = json.loads(Path(path).read_text())
    signature = model["signature"]
    graph_def = _graph_with_weights(model, str(Path(path).parent))
    if own := _operators_of_tensorflowjs(graph_def):
        logging.warning("TFJS: the graph was not run, as TensorFlow has no operators %s.", ", ".join(own))
        return None
    fetches = {name: tensor["name"] for name, tensor in signature["outputs"].items()}
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    try:
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(graph_def, name="")
            with tf.compat.v1.Session(graph=graph, config=config) as session:
                return [
                    session.run(
                        fetches,
                        {signature["inputs"][name]["name"]: array for name, array in batch.items()},
                    )
                    for batch in batches
                ]
    except Exception as error:
        raise reason.inconvertible(export_args.TFJS, reason.of(error)) from error


def _finish(path: str, flat: FlatFunction) -> None:
    """Gives a model the signature of its function, and placeholders for features that nothing is computed from."""
    from google.protobuf.json_format import MessageToDict, ParseDict
    from tensorflow.core.framework import graph_pb2

    model = json.loads(Path(path).read_text())
    graph = ParseDict(model["modelTopology"], graph_pb2.GraphDef())
    known = {node.name for node in graph.node}
    for name, spec in flat.inputs.values():
        if _node(name) not in known:
            node = graph.node.add(name=_node(name), op="Placeholder")
            node.attr["dtype"].type = spec.dtype.as_datatype_enum
            node.attr["shape"].shape.CopyFrom(spec.shape.as_proto())
    model["modelTopology"] = MessageToDict(graph)
    model["signature"] = {"inputs": _tensor_infos(flat.inputs), "outputs": _tensor_infos(_in_order(flat.outputs))}
    # `predict` then returns the outputs by name
    model["userDefinedMetadata"] = {"structuredOutputKeys": list(_in_order(flat.outputs))}
    Path(path).write_text(json.dumps(model))


def _check_graph(graph: Any, flat: FlatFunction) -> None:
    """Refuses what TensorFlow.js would load, and then not compute.

    Raises:
        TrainingError: If there is such.
    """
    from tensorflow.core.framework import types_pb2

    # the handle of a table is an input of the frozen graph that nobody feeds
    fed = {_node(name) for name in flat.input_names}
    if any(node.op == "Placeholder" and node.name not in fed for node in graph.node):
        raise reason.inconvertible(export_args.TFJS, "lookup tables or other resources")
    known = {types_pb2.DataType.Value(f"DT_{name}") for name in _TYPES} | {types_pb2.DT_INVALID}  # no type at all
    types = {attribute.type for node in _nodes(graph) for attribute in node.attr.values()}
    if unknown := sorted(types_pb2.DataType.Name(number) for number in types - known):
        raise reason.inconvertible(export_args.TFJS, reason.no_form_for(unknown))


def _graph_with_weights(model: Mapping[str, Any], folder: str) -> Any:
    """The `GraphDef` of a model, its constants read from the files of weights."""
    import tensorflow as tf
    from google.protobuf.json_format import ParseDict
    from tensorflow.core.framework import graph_pb2
    from tensorflowjs.read_weights import read_weights

    graph = ParseDict(model["modelTopology"], graph_pb2.GraphDef())
    weights = {entry["name"]: entry["data"] for entry in read_weights(model["weightsManifest"], folder, flatten=True)}
    for node in _nodes(graph):
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            tensor.CopyFrom(tf.make_tensor_proto(weights[node.name], dtype=tensor.dtype))
    return graph


def _operators_of_tensorflowjs(graph: Any) -> list[str]:
    """The operators of a graph that the converter made and TensorFlow does not have."""
    from tensorflow.python.framework import op_def_registry

    operators = {node.op for node in _nodes(graph) if op_def_registry.get(node.op) is None}
    fusing = [node for node in _nodes(graph) if "fused_ops" in node.attr]
    fused = {name.decode() for node in fusing for name in node.attr["fused_ops"].list.s}
    return sorted(operators | (fused & {"Prelu"}))


def _nodes(graph: Any) -> list[Any]:
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def _node(tensor: str) -> str:
    return tensor.split(":", maxsplit=1)[0]


def _tensor_infos(tensors: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Half of a signature, as JSON."""
    from google.protobuf.json_format import MessageToDict
    from tensorflow.core.protobuf import meta_graph_pb2

    return {
        key: MessageToDict(
            meta_graph_pb2.TensorInfo(name=name, dtype=spec.dtype.as_datatype_enum, tensor_shape=spec.shape.as_proto())
        )
        for key, (name, spec) in tensors.items()
    }


def _in_order(outputs: Mapping[str, tuple[str, Any]]) -> dict[str, tuple[str, Any]]:
    """Outputs in the order in which JavaScript has the keys of an object: whole numbers come first."""

    def rank(name: str) -> tuple[bool, int]:
        whole = name.isascii() and name.isdigit() and name == str(int(name))
        return (not whole, int(name) if whole else 0)

    return {name: outputs[name] for name in sorted(outputs, key=rank)}
