"""Amounts as Kubernetes writes them: "500m" of a core, "16Gi" of memory."""

from __future__ import annotations

import re

_NUMBER = r"(\d+(?:\.\d+)?)"
_CORES = re.compile(_NUMBER + "(m?)")
_BYTES = re.compile(_NUMBER + "(|k|[MGTPE]|[KMGTPE]i)")
_GIGA = 1000**3


def cores(amount: float | str) -> float:
    """CPU cores: 4, 0.5, "4" or "500m", which is half of one.

    Raises:
        ValueError: If it is none of these, or not above 0.
    """
    matched = _CORES.fullmatch(_text(amount))
    if not matched:
        raise ValueError("expected cores, e.g. 4, 0.5 or '500m'")
    return _positive(float(matched[1]) / (1000 if matched[2] else 1))


def gigabytes(amount: float | str) -> float:
    """Memory in units of 10⁹ bytes, of "16G", "16Gi", "500M" … or a plain number of bytes.

    The suffixes are those of Kubernetes: k, M, G, T, P and E are powers of 1000, Ki, Mi, … of 1024.

    Raises:
        ValueError: If it is none of these, or below a megabyte, which nobody means.
    """
    matched = _BYTES.fullmatch(_text(amount))
    if not matched:
        raise ValueError("expected memory, e.g. '16G' or '512Mi'")
    suffix = matched[2]
    power = " KMGTPE".index(suffix[0].upper()) if suffix else 0
    size = float(matched[1]) * float(1024 if suffix.endswith("i") else 1000) ** power
    if size < 1000**2:
        raise ValueError("expected a megabyte at least, e.g. '16G'; a number without a suffix is bytes")
    return size / _GIGA


def _text(amount: float | str) -> str:
    return "" if isinstance(amount, bool) else str(amount)


def _positive(number: float) -> float:
    if not number > 0:
        raise ValueError("expected more than 0")
    return number
