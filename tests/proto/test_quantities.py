"""Amounts as Kubernetes writes them."""

from __future__ import annotations

import pytest

from polytrainer.proto import quantities

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("amount", "cores"), [(4, 4.0), (0.5, 0.5), ("4", 4.0), ("500m", 0.5), ("1.5", 1.5)])
def test_cores(amount, cores):
    assert quantities.cores(amount) == cores


@pytest.mark.parametrize("amount", [0, "0", -1, "4 cores", "", "m", True, "1e3", float("nan"), float("inf"), None])
def test_what_is_no_number_of_cores(amount):
    with pytest.raises(ValueError, match=r"expected (cores, e\.g\. 4, 0\.5 or '500m'|more than 0)"):
        quantities.cores(amount)


@pytest.mark.parametrize(
    ("amount", "size"),
    [
        ("16G", 16.0),
        ("16Gi", 17.179869184),
        ("512Mi", 0.536870912),
        ("500M", 0.5),
        ("2000k", 0.002),
        ("2000Ki", 0.002048),
        ("1.5T", 1500.0),
        ("1Ti", 1099.511627776),
        (4_000_000_000, 4.0),
        ("4000000000", 4.0),
    ],
)
def test_gigabytes_are_powers_of_a_thousand_but_with_an_i(amount, size):
    assert quantities.gigabytes(amount) == size


@pytest.mark.parametrize("amount", ["16X", "16GB", "16gi", "2000K", ".5G", "G", "", "-1G", True, None])
def test_what_is_no_size(amount):
    with pytest.raises(ValueError, match=r"expected memory, e\.g\. '16G' or '512Mi'"):
        quantities.gigabytes(amount)


def test_a_size_whose_unit_was_forgotten():
    with pytest.raises(ValueError, match=r"expected a megabyte at least.*a number without a suffix is bytes"):
        quantities.gigabytes(16)
