"""What a Keras model was compiled with, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

OWN = "its own"


def loss_name(loss: Any) -> str:
    """What a loss is called that was given to `compile`: by name, as a function or an object, or several of them."""
    if isinstance(loss, Mapping):
        return ", ".join(f"{output}: {loss_name(each)}" for output, each in loss.items())
    if isinstance(loss, (list, tuple)):
        return ", ".join(map(loss_name, loss))
    if loss is None or isinstance(loss, str):
        return loss or OWN
    return getattr(loss, "__name__", None) or getattr(loss, "name", None) or type(loss).__name__


def learning_rate(optimizer: Any) -> str:
    """An optimizer's learning rate; of one that follows a schedule, the schedule's name."""
    schedule = getattr(optimizer, "_learning_rate", None)
    if isinstance(schedule, tf.keras.optimizers.schedules.LearningRateSchedule):
        return type(schedule).__name__
    try:
        return f"{float(optimizer.learning_rate):g}"
    except (AttributeError, TypeError, ValueError):  # an optimizer around another one, or one of the user's
        return OWN


def learning_rate_value(optimizer: Any) -> float | None:
    """The learning rate that an optimizer is at, also by a schedule; None where it does not say."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # one with loss scaling is around another one
    schedule = getattr(optimizer, "_learning_rate", None)
    try:
        if isinstance(schedule, tf.keras.optimizers.schedules.LearningRateSchedule):
            return float(schedule(optimizer.iterations))
        return float(optimizer.learning_rate)
    except (AttributeError, TypeError, ValueError):  # an optimizer around another one, or one of the user's
        return None
