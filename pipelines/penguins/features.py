"""The columns of the Palmer penguins, and what Transform calls them."""

from __future__ import annotations

NUMERIC = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
ISLAND = "island"
CATEGORICAL = (ISLAND, "sex")
LABEL = "species"
NUM_CLASSES = 3


def transformed(name: str) -> str:
    """The name of a column after Transform."""
    return f"{name}_xf"


TRANSFORMED_LABEL = transformed(LABEL)
