"""polytrainer: one TFX Trainer for Keras, Estimator and PyTorch.

`import polytrainer` imports no framework: each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polytrainer.components.model_comparator import ModelComparator
    from polytrainer.components.trainer import Trainer
    from polytrainer.executors.backends.estimator_trainer import EstimatorTrainer
    from polytrainer.executors.backends.fit_result import FitResult
    from polytrainer.executors.backends.keras.export_keras import export_keras
    from polytrainer.executors.backends.keras.trainer import KerasTrainer
    from polytrainer.executors.backends.served_model import predict
    from polytrainer.executors.backends.torch.export_torch import export_torch
    from polytrainer.executors.backends.torch.features import Features
    from polytrainer.executors.backends.torch.reading import torch_batches
    from polytrainer.executors.backends.torch.trainer import TorchTrainer
    from polytrainer.executors.data.encoders import Hashing, Vocabulary
    from polytrainer.executors.data.torch_batches import TorchBatches
    from polytrainer.executors.fn_args import FnArgs
    from polytrainer.executors.result import TrainResult
    from polytrainer.executors.test_results.public import write_test_results
    from polytrainer.proto.artifacts import TestResults
    from polytrainer.proto.cluster import PyTorchJob, TFJob, TrainJob
    from polytrainer.proto.comparator_pb2 import ComparatorArgs
    from polytrainer.proto.resources import TrainerResources
    from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs

__all__ = [
    "ComparatorArgs",
    "EstimatorTrainer",
    "EvalArgs",
    "ExportArgs",
    "Features",
    "FitResult",
    "FnArgs",
    "Hashing",
    "KerasTrainer",
    "ModelComparator",
    "PyTorchJob",
    "TFJob",
    "TestResults",
    "TorchBatches",
    "TorchTrainer",
    "TrainArgs",
    "TrainJob",
    "TrainResult",
    "Trainer",
    "TrainerResources",
    "Vocabulary",
    "export_keras",
    "export_torch",
    "predict",
    "torch_batches",
    "write_test_results",
]

try:
    __version__ = version("polytrainer")
except PackageNotFoundError:  # a checkout on PYTHONPATH that nobody installed
    __version__ = "0.0.0"

_HOMES = {
    "ComparatorArgs": "polytrainer.proto.comparator_pb2",
    "EstimatorTrainer": "polytrainer.executors.backends.estimator_trainer",
    "EvalArgs": "polytrainer.proto.trainer_pb2",
    "ExportArgs": "polytrainer.proto.trainer_pb2",
    "Features": "polytrainer.executors.backends.torch.features",
    "FitResult": "polytrainer.executors.backends.fit_result",
    "FnArgs": "polytrainer.executors.fn_args",
    "Hashing": "polytrainer.executors.data.encoders",
    "KerasTrainer": "polytrainer.executors.backends.keras.trainer",
    "ModelComparator": "polytrainer.components.model_comparator",
    "PyTorchJob": "polytrainer.proto.cluster",
    "TFJob": "polytrainer.proto.cluster",
    "TestResults": "polytrainer.proto.artifacts",
    "TorchBatches": "polytrainer.executors.data.torch_batches",
    "TorchTrainer": "polytrainer.executors.backends.torch.trainer",
    "TrainArgs": "polytrainer.proto.trainer_pb2",
    "TrainJob": "polytrainer.proto.cluster",
    "TrainResult": "polytrainer.executors.result",
    "Trainer": "polytrainer.components.trainer",
    "TrainerResources": "polytrainer.proto.resources",
    "Vocabulary": "polytrainer.executors.data.encoders",
    "export_keras": "polytrainer.executors.backends.keras.export_keras",
    "export_torch": "polytrainer.executors.backends.torch.export_torch",
    "predict": "polytrainer.executors.backends.served_model",
    "torch_batches": "polytrainer.executors.backends.torch.reading",
    "write_test_results": "polytrainer.executors.test_results.public",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'polytrainer' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
