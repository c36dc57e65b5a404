"""PyTorch programs as plain TensorFlow: what `torch.export` gives → a `tf.Module` that any TensorFlow can serve.

Importing this package imports TensorFlow and PyTorch.
"""

from polytrainer.executors.export.aten_to_tf.convert import convert
from polytrainer.executors.export.aten_to_tf.errors import ConversionError, UnsupportedOperators
from polytrainer.executors.export.aten_to_tf.exporting import export
from polytrainer.executors.export.aten_to_tf.model import TfModel
from polytrainer.executors.export.aten_to_tf.targets import Unsupported, unsupported

__all__ = ["ConversionError", "TfModel", "Unsupported", "UnsupportedOperators", "convert", "export", "unsupported"]
