"""metrics.csv grows by what is new, and is whole whoever wrote what was there before."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from polytrainer.executors.run_record import MetricsCsv

ROWS = [{"step": number, "loss": number / 2} for number in range(1, 5)]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "logs" / "metrics.csv")


def read(path):
    with Path(path).open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_each_row_is_appended_to_the_same_file(path):
    written, places = MetricsCsv(path), set()
    for count in range(1, 5):
        written.write(ROWS[:count])
        assert read(path) == ROWS[:count]
        places.add(os.stat(path).st_ino)  # noqa: PTH116
    assert len(places) == 1


def test_a_new_column_writes_it_whole_with_the_rows_before(path):
    written = MetricsCsv(path)
    written.write(ROWS[:2])
    rows = [*ROWS[:2], {**ROWS[2], "val_f1": 0.5}, ROWS[3]]
    written.write(rows[:3])
    written.write(rows)
    assert read(path) == rows
    assert Path(path).read_text().splitlines()[0] == "step,loss,val_f1"


def test_a_missing_column_is_empty(path):
    written = MetricsCsv(path)
    written.write(ROWS[:1])
    written.write([ROWS[0], {"step": 2}])
    assert Path(path).read_text().splitlines()[2] == "2,"


@pytest.mark.parametrize("torn", [b"", b"step,lo", b"step,loss\r\n1,0.5\r\n2,1"])
def test_a_resumed_run_mends_what_a_killed_one_has_left(path, torn):
    Path(path).parent.mkdir()
    Path(path).write_bytes(torn)
    written = MetricsCsv(path)
    written.write(ROWS[:3])
    written.write(ROWS)
    assert read(path) == ROWS


def test_fewer_rows_than_before_are_another_history(path):
    written = MetricsCsv(path)
    written.write(ROWS)
    written.write(ROWS[2:3])
    assert read(path) == ROWS[2:3]


def test_nothing_new_changes_nothing(path):
    written = MetricsCsv(path)
    written.write(ROWS)
    before = Path(path).read_bytes()
    written.write(ROWS)
    assert Path(path).read_bytes() == before
