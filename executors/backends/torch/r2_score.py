"""The coefficient of determination, which one example is too few for."""

from __future__ import annotations

from typing import Any

import torch
import torchmetrics.regression as r
from torch import Tensor

_FEWEST = 2


class R2Score(r.R2Score):
    """That of each number per example. NaN of fewer than two examples, as scikit-learn's: torchmetrics fails."""

    def __init__(self, **options: Any):
        super().__init__(multioutput="raw_values", **options)

    def compute(self) -> Tensor:
        """The values over all that was seen."""
        if self.total < _FEWEST:
            return torch.full_like(self.sum_error, torch.nan)
        return super().compute()
