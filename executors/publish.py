"""What MLMD remembers of a training: custom properties of its output artifacts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tfx.types import Artifact

import polytrainer
from polytrainer.executors.frameworks import framework_of, version_of
from polytrainer.executors.result import TrainResult
from polytrainer.executors.user_code import UserCode
from polytrainer.executors.verify import WrittenModel

METRIC = "metric."  # prefix of a metric's property
PARITY = "parity."  # and of a written format's difference to the trained model


def describe(
    artifact: Artifact,
    result: TrainResult,
    user_code: UserCode,
    models: Sequence[WrittenModel],
    seconds: float,
) -> None:
    """Writes what is known of the training into an artifact's custom properties.

    They are: `framework`, `framework_version`, `polytrainer_version`, `user_code_sha256`, `signatures` (of the serving
    model, comma-separated), `train_seconds`, `train_steps` where the user's code told them, `metric.<name>` for each
    metric, and `parity.<format>` for each written format that was compared with the trained model. A metric that is not
    finite is kept as a string: MLMD's databases cannot hold NaN.
    """
    framework = result.framework or framework_of(user_code.location)
    texts = {
        "framework": framework,
        "framework_version": result.framework_version or version_of(framework),
        "polytrainer_version": polytrainer.__version__,
        "user_code_sha256": user_code.location.fingerprint,
        "signatures": ",".join(models[0].signatures) if models else "",
    }
    for name, text in texts.items():
        artifact.set_string_custom_property(name, text)
    artifact.set_float_custom_property("train_seconds", round(seconds, 3))
    if result.steps is not None:
        artifact.set_int_custom_property("train_steps", int(result.steps))
    for name, difference in result.parity.items():
        artifact.set_float_custom_property(PARITY + name, float(difference))
    for name, value in result.metrics.items():
        if math.isfinite(value):
            artifact.set_float_custom_property(METRIC + name, float(value))
        else:
            artifact.set_string_custom_property(METRIC + name, str(float(value)))
