"""Tables that fit."""

from __future__ import annotations

import pytest

from polytrainer.pipelines.cli import terminal
from polytrainer.pipelines.cli.terminal import Column, table

pytestmark = pytest.mark.unit

BIRDS = [
    Column("run", ["7", "12"], rank=0, right=True),
    Column("species", ["Adelie penguin", "Gentoo"], rank=1, cut="end", least=6),
    Column("where", ["/data/islands/torgersen", ""], rank=2, cut="start", least=8),
]


def test_with_room_for_all_of_it_nothing_is_cut():
    shown, left_out = table(BIRDS, 80)
    assert shown.splitlines() == [
        "run  species         where",
        "---  --------------  -----------------------",
        "  7  Adelie penguin  /data/islands/torgersen",
        " 12  Gentoo          -",
    ]
    assert left_out == []


def test_texts_are_cut_at_the_end_that_says_less_the_less_important_column_first():
    shown, left_out = table(BIRDS, 32)
    assert shown.splitlines()[2:] == ["  7  Adelie penguin  …/torgersen", " 12  Gentoo          -"]
    assert table(BIRDS, 25)[0].splitlines()[2] == "  7  Adelie pe…  …rgersen"
    assert left_out == []


def test_what_would_say_too_little_is_left_out_and_named():
    shown, left_out = table(BIRDS, 18)
    assert shown.splitlines()[2] == "  7  Adelie pengu…"
    assert left_out == ["where"]
    assert table(BIRDS, 3)[1] == ["species", "where"]


@pytest.mark.parametrize("limit", range(3, 60))
def test_no_line_is_longer_than_the_terminal_is_wide(limit):
    assert max(map(len, table(BIRDS, limit)[0].splitlines())) <= limit


def test_a_long_title_is_cut_to_what_its_cells_need():
    numbers = [Column("sparse_categorical_accuracy", ["0.5", "0.75"], right=True)]
    assert table(numbers, 10)[0].splitlines() == ["sparse_ca…", "-" * 10, "       0.5", "      0.75"]


def test_a_column_that_says_nothing_is_neither_shown_nor_missed():
    assert table([BIRDS[0], Column("best", ["", ""])], 80) == ("run\n---\n  7\n 12", [])


def test_a_name_cannot_move_the_cursor():
    assert table([Column("run", ["\x1b[2Ja\nb"])], 80)[0].splitlines()[-1] == "?[2Ja?b"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (0.98113, "0.9811"), (1234567, "1234567"), (0.0000123, "1.23e-05"), (float("nan"), "nan"), (0.0, "0")],
)
def test_numbers_are_short(value, shown):
    assert terminal.number(value) == shown


def test_the_width_is_that_of_the_terminal_and_unlimited_without_one(monkeypatch):
    monkeypatch.setenv("COLUMNS", "97")
    assert terminal.width() == 97
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("os.get_terminal_size", lambda *_: (_ for _ in ()).throw(OSError))
    assert terminal.width() > 10_000
