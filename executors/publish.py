"""What MLMD remembers of a training: custom properties of its output artifacts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tfx.types import Artifact, artifact_utils

import polytrainer
from polytrainer.executors import properties
from polytrainer.executors.frameworks import framework_of, version_of
from polytrainer.executors.result import TrainResult
from polytrainer.executors.test_results.shards import written_splits
from polytrainer.executors.user_code import UserCode
from polytrainer.executors.verify import WrittenModel


def describe_test_results(artifact: Artifact) -> None:
    """Names the splits that were written, which may be none, and says what is in their files, as TFX's Examples do."""
    artifact.split_names = artifact_utils.encode_split_names(written_splits(artifact.uri))
    artifact.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")


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
    metric, `parity.<format>` for each written format that was compared with the trained model. A metric that is
    not finite is kept as a string, as MLMD's databases cannot hold NaN; parity too, as of a number they keep six digits
    after the point.
    """
    framework = result.framework or framework_of(user_code.location)
    texts = {
        properties.FRAMEWORK: framework,
        properties.FRAMEWORK_VERSION: result.framework_version or version_of(framework),
        properties.POLYTRAINER_VERSION: polytrainer.__version__,
        properties.USER_CODE: user_code.location.fingerprint,
        properties.SIGNATURES: ",".join(models[0].signatures) if models else "",
    }
    for name, text in texts.items():
        artifact.set_string_custom_property(name, text)
    artifact.set_float_custom_property(properties.TRAIN_SECONDS, round(seconds, 3))
    counts = {
        properties.TRAIN_STEPS: result.steps,
        properties.BEST_STEP: result.best_step,
        properties.SERVING_ROWS: result.serving_rows,
    }
    for name, count in counts.items():
        if count is not None:
            artifact.set_int_custom_property(name, int(count))
    for name, difference in result.parity.items():
        artifact.set_string_custom_property(properties.PARITY + name, f"{difference:.3g}")
    for name, value in result.metrics.items():
        if math.isfinite(value):
            artifact.set_float_custom_property(properties.METRIC + name, float(value))
        else:
            artifact.set_string_custom_property(properties.METRIC + name, str(float(value)))
