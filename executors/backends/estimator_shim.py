"""Estimator on TensorFlow 2.16 and later, which dropped what tensorflow-estimator 2.15 builds on.

Nothing is patched for good but a few names that TensorFlow no longer has: `tf.keras`, which Keras 3 code in the same
process goes on using, is lent to Keras 2 only while an Estimator trains.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import logging

from polytrainer.executors.errors import UserCodeError
from polytrainer.proto.problems import Problem

_OPTIMIZER_PARAMETERS = (
    "AdagradParameters",
    "AdamParameters",
    "FtrlParameters",
    "MomentumParameters",
    "ProximalAdagradParameters",
    "RMSPropParameters",
    "StochasticGradientDescentParameters",
)
_warned = False


@contextmanager
def available() -> Iterator[None]:
    """Makes `tf.estimator` usable within the context; where there is one already, does nothing.

    Raises:
        UserCodeError: If tensorflow-estimator or tf-keras is not installed.
    """
    import tensorflow as tf

    if _is_native(tf) or hasattr(tf, "estimator"):
        yield
        return
    _stand_in_for_what_is_gone()
    keras_v1, keras_v2 = _module("tf_keras.api._v1.keras", tf), _module("tf_keras.api._v2.keras", tf)
    homes = [(tf, keras_v2), (tf.compat.v1, keras_v1), (tf.compat.v2, keras_v2)]
    before = [(home, vars(home).get("keras")) for home, _ in homes]
    try:
        for home, keras in homes:
            home.keras = keras
        # only now: its models are subclasses of what tf.keras.Model is while it is imported
        tf.estimator = _module("tensorflow_estimator.python.estimator.api._v2.estimator", tf)
        _warn_once(tf.__version__)
        yield
    finally:
        vars(tf).pop("estimator", None)
        for home, keras in before:
            home.keras = keras


def _is_native(tf: types.ModuleType) -> bool:
    return tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 16)


def _module(name: str, tf: types.ModuleType) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserCodeError(
            Problem(
                "an Estimator",
                f"TensorFlow {tf.__version__}, which has none of its own, and no {error.name!r}",
                "tensorflow-estimator 2.15 and the tf-keras of this TensorFlow",
                "Install them: pip install 'polytrainer[estimator]'.",
            )
        ) from error


def _stand_in_for_what_is_gone() -> None:
    """For modules of TPU and multi-worker training, that tensorflow-estimator imports and one worker never calls."""
    from tensorflow.python.util import tf_export

    _stand_in(
        "tensorflow.python.distribute.estimator_training",
        init_run_config=lambda *_args, **_kwargs: None,
        should_run_distribute_coordinator=lambda _config: False,
        estimator_train=None,
        estimator_evaluate=None,
        train_and_evaluate=None,
    )
    inert = {name: type(name, (), {}) for name in (*_OPTIMIZER_PARAMETERS, "TPUEmbedding")}
    _stand_in("tensorflow.python.tpu.tpu_embedding", **inert)
    _stand_in("tensorflow.python.tpu.tpu_embedding_gradient")
    _stand_in("tensorflow.python.tpu.session_support")
    if not hasattr(tf_export, "ESTIMATOR_API_NAME"):
        attributes = type(tf_export.API_ATTRS[tf_export.TENSORFLOW_API_NAME])
        tf_export.ESTIMATOR_API_NAME = "estimator"
        tf_export.API_ATTRS["estimator"] = attributes("_estimator_api_names", "_estimator_api_constants")
        tf_export.API_ATTRS_V1["estimator"] = attributes("_estimator_api_names_v1", "_estimator_api_constants_v1")


def _stand_in(name: str, **attributes: Any) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        module = types.ModuleType(name, "An inert stand-in for a module that TensorFlow no longer has.")
        vars(module).update(attributes)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        setattr(importlib.import_module(parent), child, module)


def _warn_once(version: str) -> None:
    global _warned  # noqa: PLW0603
    if not _warned:
        logging.warning(
            "Estimator left TensorFlow in 2.16; on %s it runs on legacy Keras (tf-keras), in a single worker only. To "
            "move on: make model_fn return a compiled tf.keras.Model, and its class a polytrainer.KerasTrainer.",
            version,
        )
    _warned = True
