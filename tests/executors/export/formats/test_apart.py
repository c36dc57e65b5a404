"""How far a file is from its model: exact, and quantized."""

from __future__ import annotations

import numpy as np
import pytest

from polytrainer.executors.export.formats.apart import apart

pytestmark = pytest.mark.unit

WANTED = [{"p": np.array([0.5]), "k": np.array([4])}, {"p": np.array([0.1, 0.9, 0.2]), "k": np.array([0, 4, 4])}]
GOT = [{"p": np.array([0.5]), "k": np.array([4])}, {"p": np.array([0.1, 0.7, 0.2]), "k": np.array([0, 4, 2])}]


def test_of_an_exact_file_whole_numbers_are_numbers():
    assert apart(WANTED, GOT, quantized=False) == pytest.approx(0.5)


def test_of_a_quantized_file_it_counts_how_many_whole_numbers_differ():
    assert apart(WANTED, GOT, quantized=True) == pytest.approx(0.25)
    assert apart(
        WANTED, [{**each, "k": want["k"]} for each, want in zip(GOT, WANTED, strict=True)], quantized=True
    ) == (pytest.approx(0.2))


@pytest.mark.parametrize("name", ["p", "k"])
def test_an_output_that_is_missing_or_has_another_shape_is_infinitely_far(name):
    missing = [{key: value for key, value in each.items() if key != name} for each in GOT]
    reshaped = [{**each, name: each[name][:, None]} for each in GOT]
    for got in (missing, reshaped):
        assert apart(WANTED, got, quantized=True) == apart(WANTED, got, quantized=False) == float("inf")
