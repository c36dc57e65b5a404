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
BASE_MODEL = "base_model"  # the address of the model that the training began with

METRIC = "metric."  # prefix of a metric's property
ARGUMENT = "argument."  # of an argument of the trainer's constructor
HYPERPARAMETER = "hyperparameter."  # of a tuned value
SECONDS = "seconds."  # of the time that a phase of the training took
PARITY = "parity."  # and of a written format's difference to the trained model
SERVING_ROWS = "parity.serving_rows"  # on how many real raw examples the served model was compared
