"""`polytrainer compare`."""

from __future__ import annotations

import json
import re

import pytest

from polytrainer.pipelines.cli import main

pytestmark = pytest.mark.line


@pytest.fixture
def compared(trained_store, capsys, monkeypatch):
    """Calls the command on runs, by what they are, and returns its lines."""

    def call(*runs: str, options: tuple[str, ...] = (), width: int = 200) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        wanted = [str(getattr(trained_store, run, run)) for run in runs]
        assert main(["compare", *wanted, "--metadata", str(trained_store.path), *options]) == 0
        return capsys.readouterr().out.splitlines()

    return call


def rows(lines: list[str]) -> dict[str, list[str]]:
    """Cells by the name of their row."""
    split = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {row[0]: row[1:] for row in split if row}


def test_metrics_stand_side_by_side_with_differences_and_the_best_marked(compared, trained_store):
    lines = compared("short", "long", "failed")
    found = rows(lines)
    assert found["metric"] == [f"run {getattr(trained_store, name)}" for name in ("short", "long", "failed")]
    assert found["accuracy"] == ["0.75", "0.875 (+0.125) *", "-"]
    assert found["train_steps"] == ["4", "8 (+4)", "-"]
    assert found["best_step"] == ["3", "7 (+4)", "-"]
    assert found["seconds.training"] == ["8", "16 (+8)", "-"]
    assert found["seconds.export"] == ["0.25", "0.25 (=)", "-"]
    assert found["parity.saved_model"] == ["1e-07", "1e-07 (=)", "-"]
    assert f"* best; (in brackets) the difference to run {trained_store.short}" in lines


def test_what_cannot_be_better_or_worse_has_no_mark(compared):
    found = rows(compared("short", "long"))
    assert found["spread"] == ["0.25", "0.125 (-0.125)"]  # only its author knows which is better
    assert found["loss"] == ["nan", "nan"]
    assert found["test.accuracy"] == ["0.25", "0.25 (=)"]


def test_arguments_that_differ_are_listed_and_no_others(compared, trained_store):
    lines = compared("short", "long")
    head = next(place for place, line in enumerate(lines) if line.startswith("told differently"))
    assert lines[head].split()[-3:] == [str(trained_store.short), "run", str(trained_store.long)]
    assert rows(lines[head + 2 :]) == {
        "train_args.num_steps": ["4", "8"],
        "custom_config.beads.red": ["-", "3"],
        "argument.size": ["4", "8"],
    }


def test_another_trainer_differs_in_what_it_is(compared):
    found = rows(compared("short", "theirs"))
    assert found["trainer"] == ["polytrainer.components.trainer.Trainer", "tfx.components.trainer.component.Trainer"]
    assert found["framework_version"] == ["1.2", "-"]
    assert "user_code" not in found


def test_a_cached_run_differs_in_nothing_from_what_it_took(compared):
    assert compared("long", "cached")[-1] == "nothing was told differently"


def test_runs_without_metrics_can_be_compared_too(compared):
    lines = compared("failed", "theirs")
    assert "no metric in any of them" in lines
    assert rows(lines)["state"] == ["failed", "complete"]


def test_where_there_is_no_room_runs_go_below_each_other_with_the_first_again(compared, trained_store):
    lines = compared("short", "long", "cached", "failed", "theirs", width=72)
    assert max(map(len, lines)) <= 72
    heads = [rows([line])["metric"] for line in lines if line.startswith("metric")]
    assert len(heads) > 1
    assert {head[0] for head in heads} == {f"run {trained_store.short}"}
    assert [run for head in heads for run in head[1:]] == [
        f"run {getattr(trained_store, name)}" for name in ("long", "cached", "failed", "theirs")
    ]


def test_json_holds_the_same(compared, trained_store):
    told = json.loads("\n".join(compared("short", "long", options=("--json",))))
    assert told["runs"] == [trained_store.short, trained_store.long]
    assert told["metrics"]["accuracy"] == {
        "values": [0.75, 0.875], "differences": [0.0, 0.125], "best": [trained_store.long],
    }  # fmt: skip
    assert told["metrics"]["loss"] == {"values": ["nan", "nan"], "differences": [None, None], "best": []}
    assert told["costs"]["train_steps"]["differences"] == [0, 4]
    assert told["differing"]["train_args.num_steps"] == [4, 8]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["soon"], r"polytrainer: run: got 'soon'; expected one of "),
        (["20"], r"polytrainer: run: got '20', with which the names of \d+ begin; expected one of "),
        (["short"], r"polytrainer: run: got \d+ more than once; expected different runs\."),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(trained_store, capsys, others, said):
    wanted = [str(getattr(trained_store, name, name)) for name in others]
    assert main(["compare", str(trained_store.short), *wanted, "--metadata", str(trained_store.path)]) == 1
    assert re.match(said, capsys.readouterr().err)


def test_one_run_is_not_enough(trained_store, capsys):
    with pytest.raises(SystemExit):
        main(["compare", "1", "--metadata", str(trained_store.path)])
    assert "the following arguments are required: RUN" in capsys.readouterr().err
