"""Writes a model in the formats beside the serving model that are asked for, each once it was seen to be right."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from polytrainer.executors import run_record
from polytrainer.executors.errors import TrainingError
from polytrainer.executors.export.formats import onnx, reason, tfjs, tflite
from polytrainer.executors.export.formats.apart import apart
from polytrainer.executors.export.formats.source import Arrays, Source
from polytrainer.executors.export.formats.tensors import CHECKED_EXAMPLES, asked_for
from polytrainer.proto import export_args
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import ExportArgs


@dataclass(frozen=True)
class Job:
    """A model to write, and a folder to work in.

    Attributes:
        source: The model.
        told: What is asked for.
        folder: A local one that is thrown away.
    """

    source: Source
    told: ExportArgs
    folder: Path

    @cached_property
    def saved_model(self) -> str:
        """Folder of the model as a SavedModel, which is written once."""
        path = str(self.folder / "SavedModel")
        self.source.write_saved_model(path)
        return path

    @cached_property
    def said(self) -> list[tuple[Arrays, Arrays]]:
        """Batches of real examples, and what the model says of each."""
        # more of them where it is a matter of how many are the same
        sizes = (1, CHECKED_EXAMPLES) if _quantized(self.told, export_args.TFLITE) else (1, 16)
        return [(batch, self.source.predict(batch)) for batch in self.source.batches(sizes)]


@dataclass(frozen=True)
class Format:
    """A format of one file, or of one file and those that it names.

    Attributes:
        key: What it is called in `ExportArgs` and in `TrainResult.parity`.
        path: Of its file, below that of the Model artifact, in a folder of its own.
        convert: Writes a file.
        run: What a file says of batches; None where nothing can run it.
        tolerance: The largest difference to what the model says.
        has_parity: Whether what runs the file here is what users run; otherwise `TrainResult.parity` is silent of it.
    """

    key: str
    path: str
    convert: Callable[[Job, str], None]
    run: Callable[[str, Sequence[Arrays]], list[Arrays] | None]
    tolerance: Callable[[ExportArgs], float]
    has_parity: bool = True


def _to_onnx(job: Job, path: str) -> None:
    opset = export_args.onnx_opset(job.told)
    if job.source.write_onnx:
        job.source.write_onnx(path, opset)
    else:
        onnx.from_saved_model(job.saved_model, path, opset, job.source.features)
    onnx.finish(path, job.source.features)


def _to_tflite(job: Job, path: str) -> None:
    count = export_args.tflite_calibration_examples(job.told)
    calibration = {name: array[:count] for name, array in job.source.calibration.items()}
    Path(path).write_bytes(tflite.convert(job.saved_model, export_args.tflite_quantization(job.told), calibration))


def _to_tfjs(job: Job, path: str) -> None:
    tfjs.convert(job.saved_model, path, job.source.features)


FORMATS: Mapping[str, Format] = {
    export_args.ONNX: Format("onnx", "Format-ONNX/model.onnx", _to_onnx, onnx.run, export_args.onnx_tolerance),
    export_args.TFLITE: Format(
        "tflite", "Format-TFLite/model.tflite", _to_tflite, tflite.run, export_args.tflite_tolerance
    ),
    export_args.TFJS: Format(
        "tfjs", "Format-TFJS/model.json", _to_tfjs, tfjs.run, export_args.tfjs_tolerance, has_parity=False
    ),
}


def write(source: Source, told: ExportArgs, root: str) -> dict[str, float]:
    """Writes those of ONNX, TFLite and TensorFlow.js that are asked for; all of them, or none.

    Args:
        source: The trained model.
        told: What is asked for.
        root: Folder of the Model artifact, on any file system that TensorFlow knows.

    Returns:
        By format, the largest difference between what its file and the model say of real examples; without formats
        that nothing runs in Python.

    Raises:
        TrainingError: If the model cannot be written as one of them, or one says something else.
    """
    names = asked_for(told)
    if not names:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        job = Job(source, told, Path(folder))
        found = {name: _made(job, name, FORMATS[name].tolerance(told)) for name in names}
        for name, (path, _) in found.items():
            folder_of_format = os.path.join(root, os.path.dirname(FORMATS[name].path))
            for file in sorted(Path(path).parent.iterdir()):
                run_record.write(os.path.join(folder_of_format, file.name), file.read_bytes())
    return {FORMATS[name].key: difference for name, (_, difference) in found.items() if FORMATS[name].has_parity}


def problems(source: Source, told: ExportArgs) -> list[Problem]:
    """What keeps a model from being written, found on one that is not trained yet: it is written and thrown away.

    Outputs must have their names and shapes, but may be any distance apart where there is quantization, which fits a
    trained model better.
    """
    names = asked_for(told)
    found: list[Problem] = []
    if export_args.ONNX in names:
        needed = ("onnx", "onnxruntime") if source.write_onnx else ("onnx", "onnxruntime", "tf2onnx")
        found += onnx.missing_packages(needed)
        names = [name for name in names if name != export_args.ONNX or not found]
    if export_args.TFJS in names and (missing := tfjs.missing_packages()):
        found += missing
        names.remove(export_args.TFJS)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(source, told, Path(folder))
        for name in names:
            finite = sys.float_info.max
            try:
                _made(job, name, finite if _quantized(told, name) else FORMATS[name].tolerance(told))
            except TrainingError as error:
                found += error.problems
    return found


def _made(job: Job, name: str, tolerance: float) -> tuple[str, float]:
    """Path of a file that was looked at, and how far it is from the model."""
    form = FORMATS[name]
    path = str(job.folder / form.path)
    Path(path).parent.mkdir()
    try:
        form.convert(job, path)
    except TrainingError:
        raise
    except Exception as error:  # whatever a converter may raise
        raise reason.inconvertible(name, reason.of(error)) from error
    got = form.run(path, [batch for batch, _ in job.said])
    if got is None:
        return path, 0.0
    found = apart([wanted for _, wanted in job.said], got, quantized=_quantized(job.told, name))
    if not found <= tolerance:
        missing = sorted(set(job.said[0][1]) - set(got[0]))
        raise TrainingError(_without(form, missing) if missing else _apart(form, job.told, found, tolerance))
    return path, found


def _quantized(told: ExportArgs, name: str) -> bool:
    return name in asked_for(told) and name == export_args.TFLITE and export_args.tflite_quantization(told) != "none"


def _without(form: Format, missing: Sequence[str]) -> Problem:
    """What to say of a file that lacks outputs."""
    remedy = "Are two of them one and the same tensor? Return it once."
    return Problem(form.path, f"a model without the outputs {missing}", "all of them", remedy)


def _apart(form: Format, told: ExportArgs, found: float, tolerance: float) -> Problem:
    """What to say of a file that does not say what the model says."""
    quantization = export_args.tflite_quantization(told) if form.key == "tflite" else "none"
    cause = (
        "Does the model draw at random when it predicts, or compute in half precision?"
        if quantization == "none"
        else f"Another quantization than {quantization!r} is more exact."
    )
    remedy = f"{cause}{_allowance(form)}"
    got = f"outputs that differ by {found:.2g} from those of the model"
    return Problem(form.path, got, f"at most {tolerance:g}, relative to the largest", remedy)


def _allowance(form: Format) -> str:
    """How a larger difference is allowed, where there is a field for it."""
    if form.key not in ExportArgs.DESCRIPTOR.fields_by_name:
        return ""
    return f" A difference that is meant to be is allowed with ExportArgs({form.key}={{'tolerance': …}})."
