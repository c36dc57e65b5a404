"""Names of the features that test results have beside those of the examples."""

from __future__ import annotations

PREDICTION = "prediction"
PREDICTED_CLASS = "predicted_class"
PREDICTED_CLASS_NAME = "predicted_class_name"
EXAMPLE_WEIGHT = "example_weight"
ADDED = (PREDICTION, PREDICTED_CLASS, PREDICTED_CLASS_NAME)


def prediction_of(output: str) -> str:
    """The prediction of one output, of a model that has several and none that is the main one."""
    return f"{PREDICTION}_{output}"


def stored_label(label_key: str) -> str:
    """Where the label is kept as it was read, if the model learned it in another form under the same name."""
    return f"{label_key}_stored"
