"""SavedModel → ONNX; and ONNX files as we publish them, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from polytrainer.executors.export.formats import reason
from polytrainer.executors.export.formats.flat_function import flatten
from polytrainer.executors.export.formats.source import Arrays
from polytrainer.proto import export_args
from polytrainer.proto.problems import Problem

BATCH = "batch"  # name of the first axis, where an exporter has not named it
_UNNAMED = "unk__"  # what tf2onnx names begin with


def missing_packages(needed: Sequence[str] = ("onnx", "onnxruntime", "tf2onnx")) -> list[Problem]:
    """What has to be installed first."""
    missing = [name for name in needed if find_spec(name) is None]
    if not missing:
        return []
    remedy = "Install them: pip install 'polytrainer[onnx]'."
    return [Problem("export_args.formats", f"ONNX without {' and '.join(missing)}", "the packages installed", remedy)]


def from_saved_model(saved_model: str, path: str, opset: int, features: Arrays) -> None:
    """Writes a SavedModel's signature `SIGNATURE` as an ONNX file with its names.

    Args:
        saved_model: Its folder; of TensorFlow 1 or 2.
        path: Where to write.
        opset: Version of the operator set.
        features: Its inputs by name.

    Raises:
        Exception: Whatever tf2onnx raises.
    """
    from tf2onnx import convert, tf_loader

    flat = flatten(saved_model, features)
    names = [*flat.input_names, *flat.output_names]
    convert.from_graph_def(
        tf_loader.from_function(flat.concrete, flat.input_names, flat.output_names),
        input_names=flat.input_names,
        output_names=flat.output_names,
        opset=opset,
        tensors_to_rename=dict(zip(names, [*flat.inputs, *flat.outputs], strict=True)),
        output_path=path,
    )


def finish(path: str, features: Arrays) -> None:
    """Makes a file one that we publish: it takes all features, its batch has a name, and its operators exist.

    Args:
        path: The file, which is written anew.
        features: All that the model is given; an exporter leaves out those that nothing is computed from.

    Raises:
        TrainingError: If it has operators that ONNX does not.
        onnx.checker.ValidationError: If anything else is wrong with it.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    if unknown := sorted({node.op_type for node in graph.node if not node.domain and not onnx.defs.has(node.op_type)}):
        raise reason.inconvertible(export_args.ONNX, reason.no_form_for(unknown))
    known = {value.name for value in graph.input}
    for name, array in features.items():
        if name not in known:
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(array.dtype))
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, [BATCH, *array.shape[1:]]))
    for value in (*graph.input, *graph.output):
        for axis in value.type.tensor_type.shape.dim[:1]:
            if not axis.HasField("dim_value") and (not axis.dim_param or axis.dim_param.startswith(_UNNAMED)):
                axis.dim_param = BATCH
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def run(path: str, batches: Sequence[Arrays]) -> list[Arrays]:
    """What a file says of batches of features by name, of any size, on ONNX Runtime.

    Raises:
        TrainingError: If ONNX Runtime cannot run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; a feature that nothing is computed from is worth a warning to it
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return [dict(zip(names, session.run(None, dict(batch)), strict=True)) for batch in batches]
    except Exception as error:
        raise reason.inconvertible(export_args.ONNX, reason.of(error)) from error
