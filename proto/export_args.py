"""What an ExportArgs means: its defaults, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection

from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import ExportArgs

SAVED_MODEL, TORCH, ONNX, TFLITE, TFJS = "SAVED_MODEL", "TORCH", "ONNX", "TFLITE", "TFJS"
QUANTIZATIONS = ("none", "dynamic", "float16", "full_integer")
OPSETS = range(13, 19)  # those that PyTorch's exporter and tf2onnx both know
_TFLITE_TOLERANCES = {"none": 1e-4, "float16": 0.01, "dynamic": 0.1, "full_integer": 0.1}


def formats(export_args: ExportArgs) -> frozenset[str]:
    """Names of the formats that are asked for."""
    return frozenset(ExportArgs.Format.Name(each) for each in export_args.formats) or frozenset([SAVED_MODEL])


def tolerance(export_args: ExportArgs, precision: str = "") -> float:
    """Largest difference of a SavedModel or a program.

    Args:
        export_args: What is asked for.
        precision: `TrainArgs.precision`: bfloat16 has three digits, and each framework sums up in its own order.
    """
    return export_args.tolerance or (0.05 if precision == "bf16-true" else 1e-5)


def onnx_opset(export_args: ExportArgs) -> int:
    """Version of ONNX's operator set."""
    return export_args.onnx.opset or 17


def onnx_tolerance(export_args: ExportArgs) -> float:
    """Largest difference of an ONNX model."""
    return export_args.onnx.tolerance or 1e-4


def tflite_quantization(export_args: ExportArgs) -> str:
    """One of QUANTIZATIONS."""
    return export_args.tflite.quantization or "none"


def tflite_calibration_examples(export_args: ExportArgs) -> int:
    """Examples that ranges of values are found with."""
    return export_args.tflite.calibration_examples or 100


def tflite_tolerance(export_args: ExportArgs) -> float:
    """Largest difference of a TFLite model."""
    return export_args.tflite.tolerance or _TFLITE_TOLERANCES[tflite_quantization(export_args)]


def tfjs_tolerance(export_args: ExportArgs) -> float:
    """Largest difference of a TensorFlow.js model's graph."""
    return 1e-4


def check(export_args: ExportArgs) -> list[Problem]:
    """What no export could be meant by."""
    known = ", ".join(name for name in ExportArgs.Format.keys() if name != "FORMAT_UNSPECIFIED")  # noqa: SIM118
    names = ExportArgs.Format.values()
    problems = [
        Problem("export_args.formats", f"{each}", f"some of {known}")
        for each in export_args.formats
        if each == ExportArgs.FORMAT_UNSPECIFIED or each not in names
    ]
    numbers = {
        "export_args.tolerance": export_args.tolerance,
        "export_args.onnx.tolerance": export_args.onnx.tolerance,
        "export_args.tflite.tolerance": export_args.tflite.tolerance,
        "export_args.tflite.calibration_examples": export_args.tflite.calibration_examples,
    }
    problems += [
        Problem(name, str(value), "a positive number, or 0", "0 means that the field is not set.")
        for name, value in numbers.items()
        if not value >= 0  # NaN too
    ]
    if export_args.onnx.opset and export_args.onnx.opset not in OPSETS:
        expected = f"a number from {OPSETS.start} to {OPSETS.stop - 1}"
        problems.append(Problem("export_args.onnx.opset", str(export_args.onnx.opset), expected))
    if tflite_quantization(export_args) not in QUANTIZATIONS:
        got, expected = repr(export_args.tflite.quantization), f"one of {', '.join(QUANTIZATIONS)}"
        problems.append(Problem("export_args.tflite.quantization", got, expected))
    return problems + _without_its_format(export_args)


def refused(export_args: ExportArgs, known: Collection[str], who: str) -> list[Problem]:
    """The formats that somebody's models cannot be written as."""
    return [
        Problem("export_args.formats", each, f"some of {', '.join(known)}, which are those of {who}")
        for each in sorted(formats(export_args) - set(known))
    ]


def _without_its_format(export_args: ExportArgs) -> list[Problem]:
    """Options of a format that is not asked for."""
    return [
        Problem(f"export_args.{field}", "options", f"none, as {name} is not among export_args.formats")
        for field, name in (("onnx", ONNX), ("tflite", TFLITE))
        if export_args.HasField(field) and name not in formats(export_args)
    ]
