"""The keys of a Trainer's inputs, outputs and execution properties: TFX's own, and ours beside them."""

from __future__ import annotations

EXAMPLES = "examples"
RAW_EXAMPLES = "raw_examples"
TRANSFORM_GRAPH = "transform_graph"
SCHEMA = "schema"
STATISTICS = "statistics"
BASE_MODEL = "base_model"
HYPERPARAMETERS = "hyperparameters"

TRAIN_ARGS = "train_args"
EVAL_ARGS = "eval_args"
EXPORT_ARGS = "export_args"
MODULE_FILE = "module_file"
MODULE_PATH = "module_path"
RUN_FN = "run_fn"
TRAINER_FN = "trainer_fn"
CUSTOM_CONFIG = "custom_config"
RESUME = "resume"
CLUSTER = "cluster"

MODEL = "model"
MODEL_RUN = "model_run"
TEST_RESULTS = "test_results"

_EXTRA_INPUT = "extra_inputs_"


def extra_input(name: str) -> str:
    """The input key of `Trainer(extra_inputs={name: channel})`."""
    return _EXTRA_INPUT + name


def extra_input_name(key: str) -> str | None:
    """The name behind an input key, or None if the key is not one of an extra input."""
    return key[len(_EXTRA_INPUT) :] if key.startswith(_EXTRA_INPUT) else None
