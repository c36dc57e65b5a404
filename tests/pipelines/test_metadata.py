"""Runs of Trainers as ML Metadata tells them."""

from __future__ import annotations

import hashlib
import math
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from polytrainer.pipelines.errors import MetadataError

pytestmark = pytest.mark.line


@pytest.fixture(scope="module")
def store(trained_store):
    from polytrainer.pipelines.metadata_connection import connect

    return connect(trained_store.path)


@pytest.fixture
def runs(store, trained_store):
    """Those of the store, by what they are."""
    from polytrainer.pipelines import metadata

    names = {number: name for name, number in vars(trained_store).items() if name != "path"}
    return {names[run.id]: run for run in metadata.runs(store)}


def test_runs_of_trainers_come_newest_first_and_those_of_other_nodes_not_at_all(runs):
    assert list(runs) == ["theirs", "cached", "failed", "long", "short"]
    assert all(newer.started >= older.started for newer, older in pairwise(runs.values()))


def test_a_run_tells_what_was_trained(runs):
    run = runs["short"]
    assert (run.pipeline, run.node, run.state) == ("ours", "Trainer.abacus", "complete")
    assert run.trainer == "polytrainer.components.trainer.Trainer"
    assert (run.framework, run.framework_version) == ("abacus", "1.2")
    assert (run.train_steps, run.best_step) == (4, 3)
    assert run.train_seconds > 0
    assert run.metrics["accuracy"] == pytest.approx(0.75)
    assert math.isnan(run.metrics["loss"])
    assert run.parity == {"saved_model": 1e-7, "onnx": 3e-6}
    assert run.arguments["train_args"] == {"num_steps": 4}
    assert Path(run.model_uri, "Format-Serving", "saved_model.pb").exists()
    assert Path(run.model_run_uri).is_dir()
    assert Path(run.test_results_uri).is_dir()


def test_times_are_utc(runs):
    run = runs["short"]
    assert run.started.tzinfo is timezone.utc
    assert timedelta(0) <= datetime.now(timezone.utc) - run.started < timedelta(minutes=30)
    assert run.started <= run.ended


def test_a_cached_run_says_so_and_tells_of_the_model_that_it_took(runs):
    assert runs["cached"].state == "cached"
    assert runs["cached"].model_uri == runs["long"].model_uri
    assert runs["cached"].metrics["accuracy"] == runs["long"].metrics["accuracy"] == 0.875


def test_a_failed_run_has_no_model_but_its_arguments_and_its_code_are_known(runs):
    run = runs["failed"]
    assert (run.state, run.model_uri, run.metrics, run.framework) == ("failed", None, {}, None)
    assert run.arguments["custom_config"] == {"fails": True}
    assert run.user_code == runs["short"].user_code


def test_tfxs_own_trainer_is_listed_with_what_is_known_of_it(runs):
    run = runs["theirs"]
    assert (run.pipeline, run.node, run.state) == ("theirs", "Trainer", "complete")
    assert (run.framework, run.metrics, run.train_steps) == (None, {}, None)
    assert run.test_results_uri is None  # it has no such output
    assert run.arguments["train_args"] == {"num_steps": 4}
    assert run.user_code == runs["short"].user_code


def test_a_run_that_is_going_on_has_not_ended(trained_store, tmp_path):
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from polytrainer.pipelines import metadata
    from polytrainer.pipelines.metadata_connection import connect

    path = Path(shutil.copy(trained_store.path, tmp_path))
    writable = MetadataStore(mlmd.ConnectionConfig(sqlite={"filename_uri": str(path)}))
    [execution] = writable.get_executions_by_id([trained_store.failed])
    execution.last_known_state = mlmd.Execution.RUNNING
    writable.put_executions([execution])
    run = metadata.find(connect(path), str(trained_store.failed))
    assert (run.state, run.ended) == ("running", None)


def test_a_model_that_was_deleted_has_no_uri_but_its_metrics_stay(trained_store, tmp_path):
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from polytrainer.pipelines import metadata
    from polytrainer.pipelines.metadata_connection import connect

    path = Path(shutil.copy(trained_store.path, tmp_path))
    uri = metadata.find(connect(path), str(trained_store.short)).model_uri
    writable = MetadataStore(mlmd.ConnectionConfig(sqlite={"filename_uri": str(path)}))
    [model] = writable.get_artifacts_by_uri(uri)
    model.state = mlmd.Artifact.DELETED
    writable.put_artifacts([model])
    run = metadata.find(connect(path), str(trained_store.short))
    assert (run.model_uri, run.metrics["accuracy"]) == (None, 0.75)


def test_runs_can_be_had_of_one_pipeline_and_one_node(store, trained_store):
    from polytrainer.pipelines import metadata

    assert [run.id for run in metadata.runs(store, pipeline="theirs")] == [trained_store.theirs]
    assert len(list(metadata.runs(store, "ours", "Trainer.abacus"))) == 4
    assert list(metadata.runs(store, "ours", "Trainer")) == []
    with pytest.raises(MetadataError, match=r"pipeline: got 'mine'; expected one of ours, theirs\."):
        next(metadata.runs(store, "mine"))


def test_a_run_is_found_by_its_number_or_the_beginning_of_a_name(store, runs):
    from polytrainer.pipelines.metadata import find

    run = runs["long"]
    assert {find(store, name).id for name in (str(run.id), run.name[:13], run.pipeline_run)} == {run.id}


def test_a_name_that_several_runs_have_is_refused_with_their_list(store, runs):
    from polytrainer.pipelines.metadata import find

    year = runs["short"].pipeline_run[:4]
    with pytest.raises(
        MetadataError, match=rf"run: got '{year}', with which the names of 5 begin; expected one of \d+ \("
    ):
        find(store, year)


@pytest.mark.parametrize("wanted", ["the best", ""])
def test_a_run_that_is_not_there_is_refused_with_the_list_of_those_that_are(store, runs, wanted):
    from polytrainer.pipelines.metadata import find

    theirs = rf"{runs['theirs'].id} \(20\d\d-\d\d-\d\d \d\d:\d\d, theirs, Trainer, complete\)"
    with pytest.raises(MetadataError, match=rf"run: got '{wanted}'; expected one of {theirs}, "):
        find(store, wanted)


def test_reading_changes_nothing_even_where_nothing_could_be_written(trained_store, tmp_path):
    from polytrainer.pipelines import metadata
    from polytrainer.pipelines.metadata_connection import connect

    path = Path(shutil.copy(trained_store.path, tmp_path))
    before = hashlib.sha256(path.read_bytes()).digest()
    assert len(list(metadata.runs(connect(path)))) == 5
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_nothing_can_be_written_to_a_store_that_was_opened_here(store):
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    with pytest.raises(Exception, match="readonly"):
        store.put_artifact_type(mlmd.ArtifactType(name="Mine"))


@pytest.mark.parametrize(
    "text",
    [
        'sqlite {{ filename_uri: "{}" }}',
        'sqlite {{ filename_uri: "{}" connection_mode: READWRITE_OPENCREATE }}',
        '{{"sqlite": {{"filenameUri": "{}"}}}}',
    ],
)
def test_a_file_may_tell_how_to_reach_the_store(trained_store, tmp_path, text):
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from polytrainer.pipelines import metadata
    from polytrainer.pipelines.metadata_connection import connect

    config = tmp_path / "connection"
    config.write_text(text.format(trained_store.path))
    store = connect(config)
    assert len(list(metadata.runs(store))) == 5
    with pytest.raises(Exception, match="readonly"):
        store.put_artifact_type(mlmd.ArtifactType(name="Mine"))


def test_a_server_that_does_not_answer_is_told(tmp_path):
    from polytrainer.pipelines.metadata_connection import connect

    config = tmp_path / "server.pbtxt"
    config.write_text('host: "localhost" port: 1 client_timeout_sec: 1')
    with pytest.raises(
        MetadataError, match=r"server\.pbtxt: got '.+'; expected a store that this ml_metadata can read"
    ):
        connect(config)


def test_an_empty_store_has_no_runs(tmp_path):
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from polytrainer.pipelines import metadata
    from polytrainer.pipelines.metadata_connection import connect

    path = tmp_path / "empty.sqlite"
    MetadataStore(mlmd.ConnectionConfig(sqlite={"filename_uri": str(path), "connection_mode": 3}))
    assert list(metadata.runs(connect(path))) == []
    with pytest.raises(MetadataError, match=r"run: got '1'; expected one of none\."):
        metadata.find(connect(path), "1")
    with pytest.raises(MetadataError, match=r"pipeline: got 'ours'; expected one of none\."):
        next(metadata.runs(connect(path), "ours"))


def damaged(path: Path, kind: str) -> None:
    if kind == "tables":
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE birds (name TEXT)")
    else:
        path.write_bytes(
            {"nothing": b"", "words": b"hello", "bytes": b"\xff\xfe\x00", "part": b"SQLite format 3\0"}[kind]
        )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nothing", "got an empty file; expected a SQLite file of ML Metadata, or a file with its ConnectionConfig"),
        ("words", r"got no ConnectionConfig: 1:\d.*; expected a SQLite file of ML Metadata, or"),
        ("bytes", "got a file of another kind; expected a SQLite file of ML Metadata, or"),
        ("part", "got 'file is not a database'; expected a SQLite file that can be read"),
        ("tables", "got a SQLite file with the tables birds; expected those of ML Metadata, MLMDEnv among them"),
    ],
)
def test_a_file_that_is_no_store_is_told_and_left_alone(tmp_path, kind, expected):
    from polytrainer.pipelines.metadata_connection import connect

    path = tmp_path / "some.file"
    damaged(path, kind)
    before = path.read_bytes()
    with pytest.raises(MetadataError, match=rf"some\.file: {expected}"):
        connect(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["some.file"]


def test_a_missing_file_is_told_with_what_is_there_and_not_made(trained_store, tmp_path):
    from polytrainer.pipelines.metadata_connection import connect

    shutil.copy(trained_store.path, tmp_path)
    there = r"\. In .+/ there is metadata\.sqlite\."
    with pytest.raises(MetadataError, match=rf"meta\.sqlite: got nothing there; expected a SQLite file.+{there}"):
        connect(tmp_path / "meta.sqlite")
    with pytest.raises(MetadataError, match=rf"got a folder; expected a SQLite file.+{there}"):
        connect(tmp_path)
    (tmp_path / "config").write_text(f'sqlite {{ filename_uri: "{tmp_path}/meta.sqlite" }}')
    with pytest.raises(
        MetadataError, match=r"meta\.sqlite: got nothing there; expected a SQLite file of ML Metadata\."
    ):
        connect(tmp_path / "config")
    assert not (tmp_path / "meta.sqlite").exists()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (
            6,
            r"got 'MLMD database version 6 is older than library version \d+\.'.+Read it with the ml_metadata that",
        ),
        (
            99,
            r"got 'MLMD database version 99 is greater than library version \d+\.'.+Read it with an ml_metadata as new",
        ),
    ],
)
def test_a_store_with_another_schema_is_told_and_not_migrated(trained_store, tmp_path, version, expected):
    from polytrainer.pipelines.metadata_connection import connect

    path = Path(shutil.copy(trained_store.path, tmp_path))
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"UPDATE MLMDEnv SET schema_version = {version}")
        database.commit()
    with pytest.raises(MetadataError, match=expected):
        connect(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT schema_version FROM MLMDEnv").fetchall() == [(version,)]


def test_a_store_that_stays_locked_is_told(trained_store, tmp_path, monkeypatch):
    from polytrainer.pipelines import metadata_connection

    monkeypatch.setattr(metadata_connection, "_WAITS", 0.1)
    path = Path(shutil.copy(trained_store.path, tmp_path))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(MetadataError, match=r"got 'database is locked'.+A pipeline is writing to it: try again"):
            metadata_connection.connect(path)
