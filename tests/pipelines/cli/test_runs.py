"""`polytrainer runs`."""

from __future__ import annotations

import json
import shutil

import pytest

from polytrainer.pipelines.cli import main

pytestmark = pytest.mark.line


@pytest.fixture
def listed(trained_store, capsys, monkeypatch):
    """Calls the command and returns its lines."""

    def call(*options: object, width: int = 500) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["runs", "--metadata", str(trained_store.path), *map(str, options)]) == 0
        return capsys.readouterr().out.splitlines()

    return call


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_row_has_all_that_was_measured(listed, trained_store):
    head, _, *rows = listed()
    assert cells(head) == [
        "run", "started (UTC)", "pipeline", "node", "state", "framework", "seconds", "training s",
        "evaluation s", "export s", "steps", "best step",
        "accuracy", "loss", "spread", "test.accuracy", "parity", "model",
    ]  # fmt: skip
    short = dict(zip(cells(head), cells(rows[-1]), strict=True))
    assert short["run"] == str(trained_store.short)
    assert (short["framework"], short["steps"], short["best step"]) == ("abacus 1.2", "4", "3")
    assert (short["training s"], short["evaluation s"], short["export s"]) == ("8", "1.5", "0.25")
    assert (short["accuracy"], short["loss"], short["parity"]) == ("0.75", "nan", "3e-06")
    assert short["model"].endswith(f"Trainer.abacus/model/{trained_store.short}")


def test_states_are_told_and_what_is_not_known_is_a_dash(listed):
    rows = [cells(line) for line in listed()[2:]]
    assert [row[4] for row in rows] == ["complete", "cached", "failed", "complete", "complete"]
    assert rows[2][5:] == ["-"] * 13
    assert rows[0][2:6] == ["theirs", "Trainer", "complete", "-"]


def test_the_first_things_to_go_are_those_that_one_can_do_without(listed):
    lines = listed("--pipeline", "ours", width=80)
    assert cells(lines[0])[:5] == ["run", "started (UTC)", "node", "state", "framework"]
    assert lines[-1].startswith("no room for: pipeline, ")
    assert lines[-1].endswith("parity, model (a wider terminal or --json has them)")
    assert max(map(len, lines[:-1])) <= 80


def test_the_list_can_be_cut_to_the_newest(listed, trained_store):
    lines = listed("--limit", 2)
    assert [cells(line)[0] for line in lines[2:4]] == [str(trained_store.theirs), str(trained_store.cached)]
    assert lines[-1] == "the newest 2; --limit 0 lists all"
    assert len(listed("--limit", 5)) == len(listed("--limit", 0)) == 7


@pytest.mark.parametrize("limit", ["-1", "few", "1.5"])
def test_a_limit_is_a_number(listed, capsys, limit):
    with pytest.raises(SystemExit):
        listed(f"--limit={limit}")
    assert f"argument --limit: got '{limit}'; expected a number from 0" in capsys.readouterr().err


def test_the_list_can_be_of_one_pipeline_and_one_node(listed, trained_store):
    assert [cells(line)[0] for line in listed("--pipeline", "theirs", "--node", "Trainer")[2:]] == [
        str(trained_store.theirs)
    ]
    assert listed("--node", "Pusher") == [f"no run of a Trainer of node 'Pusher' in {trained_store.path}"]


def test_json_is_strict_and_holds_everything(listed, trained_store):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    told = json.loads("\n".join(listed("--json")), parse_constant=refuse)
    assert [run["id"] for run in told][::-1] == [
        getattr(trained_store, name) for name in ("short", "long", "failed", "cached", "theirs")
    ]
    assert told[-1]["metrics"] == {"accuracy": 0.75, "loss": "nan", "spread": 0.25, "test.accuracy": 0.25}
    assert told[-1]["arguments"]["train_args"] == {"num_steps": 4}
    assert told[-1]["started"].endswith("+00:00")
    assert listed("--json", "--node", "Pusher") == ["[]"]


def test_an_unknown_pipeline_is_an_error_that_says_which_there_are(trained_store, capsys):
    assert main(["runs", "--metadata", str(trained_store.path), "--pipeline", "mine"]) == 1
    assert capsys.readouterr().err == "polytrainer: pipeline: got 'mine'; expected one of ours, theirs.\n"


def test_an_empty_store_is_no_error(tmp_path, capsys):
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    path = tmp_path / "empty.sqlite"
    MetadataStore(mlmd.ConnectionConfig(sqlite={"filename_uri": str(path), "connection_mode": 3}))
    assert main(["runs", "--metadata", str(path)]) == 0
    assert capsys.readouterr().out == f"no run of a Trainer in {path}\n"


def test_the_file_may_tell_where_the_store_is(trained_store, tmp_path, capsys):
    shutil.copy(trained_store.path, tmp_path / "store.sqlite")
    (tmp_path / "connection.json").write_text(json.dumps({"sqlite": {"filename_uri": str(tmp_path / "store.sqlite")}}))
    assert main(["runs", "--json", "--metadata", str(tmp_path / "connection.json")]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 5
