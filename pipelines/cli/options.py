"""Options that commands share, and what they write for programs."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any


def add_metadata(parser: argparse.ArgumentParser) -> None:
    """Where ML Metadata is, and whether a program is to read the answer."""
    parser.add_argument(
        "--metadata",
        type=Path,
        required=True,
        metavar="FILE",
        help="a pipeline's SQLite file of ML Metadata; or a file with a ConnectionConfig or MetadataStoreClientConfig, "
        "as text proto or JSON",
    )
    parser.add_argument("--json", action="store_true", help="write JSON, with all that is known")


def as_json(value: Any) -> str:
    """JSON in the strict sense: times by ISO 8601, and numbers that it has no form for as "nan", "inf" or "-inf"."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
