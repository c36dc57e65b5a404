"""A terminal with what a person asked for, and not what libraries say of themselves."""

from __future__ import annotations

import os
import warnings


def quieten() -> None:
    """Silences what TFX's dependencies say at import and in their native code; must come before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("PIP_QUIET", "1")
    os.environ.setdefault("PIP_ROOT_USER_ACTION", "ignore")
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(google|apache_beam|tensorflow|tfx|torch|keras)")
