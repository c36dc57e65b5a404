"""What MLMD calls the things that it remembers of a training: custom properties of `model` and of `model_run`."""

from __future__ import annotations

FRAMEWORK = "framework"
FRAMEWORK_VERSION = "framework_version"
POLYTRAINER_VERSION = "polytrainer_version"
USER_CODE = "user_code_sha256"
SIGNATURES = "signatures"
TRAIN_SECONDS = "train_seconds"
TRAIN_STEPS = "train_steps"
BEST_STEP = "best_step"

METRIC = "metric."  # prefix of a metric's property
PARITY = "parity."  # and of a written format's difference to the trained model
SERVING_ROWS = "parity.serving_rows"  # on how many real raw examples the served model was compared
