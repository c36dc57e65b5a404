"""What Examples can be, of which a transform graph was made or not: `examples_are` of the trainers."""

from __future__ import annotations

RAW = "raw"  # as they are when the model is served
TRANSFORMED = "transformed"  # outputs of Transform
EXAMPLES_ARE = (RAW, TRANSFORMED)
TRANSFORMED_EXAMPLES = "transformed_examples"  # the key of their output in TFX's Transform
