"""What callbacks remember, through JSON and arrays and back."""

from __future__ import annotations

import json
import random
from collections import deque

import numpy as np
import pytest

pytestmark = pytest.mark.line

VALUES = [
    None, True, 3, 0.1, float("inf"), "text", b"\0", (1, [2.5, {"a": {1, 2}}]), {3: (None,)}, deque([1, 2], 4),
    np.float32(0.1), np.arange(6.0).reshape(2, 3), [np.zeros(2), np.ones(1, np.int64)],
]  # fmt: skip


def there_and_back(value, present=None):
    from polytrainer.executors.backends.keras.plain_values import decode, encode

    arrays = []
    text = json.dumps(encode(value, arrays))
    return decode(json.loads(text), {str(number): array for number, array in enumerate(arrays)}, present)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_with_its_type(value):
    back = there_and_back(value)
    assert type(back) is type(value)
    assert repr(back) == repr(value)


@pytest.mark.parametrize("make", [random.Random, np.random.RandomState, np.random.default_rng])
def test_a_random_generator_goes_on_where_it_was(make):
    generator, other = make(1), make(2)
    generator.random()
    back = there_and_back(generator, other)
    assert back is other
    assert back.random() == generator.random()


def test_variables_are_changed_in_their_place():
    import tensorflow as tf

    before, after = tf.Variable([1.0, 2.0]), tf.Variable([0.0, 0.0])
    assert there_and_back([before], [after])[0] is after
    assert after.numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("value", [lambda: None, object(), [print]], ids=["function", "object", "nested"])
def test_anything_else_is_refused(value):
    from polytrainer.executors.backends.keras.plain_values import NotPlainError

    with pytest.raises(NotPlainError, match=r"a (test_plain_values|builtins)\."):
        there_and_back(value)
