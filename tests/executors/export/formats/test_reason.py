"""What converters say, in one line."""

from __future__ import annotations

import pytest

from polytrainer.executors.export.formats import reason

pytestmark = pytest.mark.unit

PLACE = 'loc(callsite(fused["MatMul:", "m@__f"] at fused["Call:", "c"]))'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"Could not translate MLIR to FlatBuffer. UNKNOWN: <unknown>:0: error: {PLACE}: 'tf.Svd' op is neither a "
            f"custom op nor a flex op\n<unknown>:0: error: {PLACE}: 'tf.Qr' op is neither a custom op nor a flex op",
            "there is nothing for tf.Qr, tf.Svd",
        ),
        (
            f"Could not translate MLIR to FlatBuffer. UNKNOWN: <unknown>:0: error: {PLACE}: Failed to convert element "
            "type 'bf16': Unsupported type\n<unknown>:0: note: called from",
            "ValueError: Failed to convert element type 'bf16': Unsupported type",
        ),
        (
            "Could not translate MLIR to FlatBuffer.<unknown>:0: error: Failed to convert 'bf16'",
            "ValueError: Failed to convert 'bf16'",
        ),
        (
            "Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter. See "
            "https://tensorflow.org/ops_selectNode number 14 (FlexSparseReshape) failed to prepare.",
            "operators of TensorFlow itself, such as FlexSparseReshape, which this TensorFlow's interpreter cannot run",
        ),
        ("\n  more than one thing\n  went wrong", "ValueError: more than one thing"),
        ("", "ValueError"),
        ("x" * 500, f"ValueError: {'x' * 400}…"),
    ],
)
def test_it_is_what_a_person_can_use(text, said):
    assert reason.of(ValueError(text)) == said
