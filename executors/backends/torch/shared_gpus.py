"""GPUs that TensorFlow, which reads the data and writes the SavedModel, leaves to PyTorch."""

from __future__ import annotations

from absl import logging


def leave_to_torch() -> None:
    """Has TensorFlow take only the GPU memory that it needs; by itself it takes nearly all at once.

    It still sees the GPUs: nodes of a local pipeline run in one process, and the next may be one of TensorFlow's.
    """
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError as error:  # TensorFlow has begun already
            logging.warning("TensorFlow may have taken the memory of %s: %s", gpu.name, error)
