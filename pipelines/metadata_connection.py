"""A store of ML Metadata, opened to be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.message import Message
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from polytrainer.pipelines.errors import MetadataError
from polytrainer.proto.problems import Problem

_EXPECTED = "a SQLite file of ML Metadata, or a file with its ConnectionConfig (text proto or JSON)"
_SQLITE = b"SQLite format 3\0"  # <https://www.sqlite.org/fileformat.html>
_WAITS = 10.0  # seconds, for a pipeline that is writing; ml_metadata by itself waits for 40


def connect(path: Path) -> MetadataStore:
    """Opens the store that a file is, or that it tells how to reach.

    SQLite files are opened read-only, and nothing creates a database or migrates a schema.

    Args:
        path: A SQLite file, or one with an `ml_metadata.ConnectionConfig` or `MetadataStoreClientConfig` (a server, as
            Kubeflow has one), as text proto or JSON.

    Raises:
        MetadataError: If there is no such file, if it is neither, if there is no store of ML Metadata behind it, or one
            whose schema is not that of the installed ml_metadata.
    """
    if not path.is_file():
        raise MetadataError(
            Problem(str(path), "a folder" if path.is_dir() else "nothing there", _EXPECTED, _near(path))
        )
    if path.stat().st_size == 0:
        raise MetadataError(Problem(str(path), "an empty file", _EXPECTED))
    if _is_sqlite(path):
        return _opened(_read_only(path), str(path))
    config = _config(path)
    if isinstance(config, mlmd.ConnectionConfig):
        kind = config.WhichOneof("config")
        if kind == "sqlite":
            return _opened(_read_only(Path(config.sqlite.filename_uri)), str(path))
        if kind in ("mysql", "postgresql"):
            getattr(config, kind).skip_db_creation = True
    return _opened(config, str(path))


def _near(path: Path) -> str:
    """A remedy, where there is something like a store nearby."""
    folder = path if path.is_dir() else path.parent
    there = sorted(each.name for pattern in ("*.sqlite", "*.db") for each in folder.glob(pattern) if each.is_file())
    return f"In {folder}/ there is {', '.join(there)}." if there else ""


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _read_only(path: Path) -> mlmd.ConnectionConfig:
    """How to reach a SQLite file without changing it, after a look at whether ML Metadata's tables are in it.

    Without them ml_metadata would try to make them.
    """
    if not path.is_file() or not _is_sqlite(path):
        got = "a file of another kind" if path.is_file() else "nothing there"
        raise MetadataError(Problem(str(path), got, "a SQLite file of ML Metadata"))
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_WAITS)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        remedy = "A pipeline is writing to it: try again." if "locked" in str(error) else ""
        raise MetadataError(Problem(str(path), f"'{error}'", "a SQLite file that can be read", remedy)) from error
    if "MLMDEnv" not in tables:
        got = f"a SQLite file with the tables {', '.join(sorted(tables)) or 'none'}"
        raise MetadataError(Problem(str(path), got, "those of ML Metadata, MLMDEnv among them"))
    read_only = mlmd.SqliteMetadataSourceConfig.READONLY
    return mlmd.ConnectionConfig(
        sqlite=mlmd.SqliteMetadataSourceConfig(filename_uri=str(path), connection_mode=read_only)
    )


def _config(path: Path) -> Message:
    """The configuration that is written in a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MetadataError(Problem(str(path), "a file of another kind", _EXPECTED)) from error
    parse: Callable[[str, Message], Any] = json_format.Parse if text.lstrip().startswith("{") else text_format.Parse
    kinds: tuple[Message, ...] = (mlmd.ConnectionConfig(), mlmd.MetadataStoreClientConfig())
    reasons = []
    for config in kinds:
        try:
            parse(text, config)
        except (json_format.ParseError, text_format.ParseError) as error:
            reasons.append(f"no {type(config).__name__}: {str(error).splitlines()[0]}")
            continue
        if config.ListFields():
            return config
        reasons.append(f"an empty {type(config).__name__}")
    raise MetadataError(Problem(str(path), reasons[0], _EXPECTED))


def _opened(config: Message, shown: str) -> MetadataStore:
    """The store, after one question, which is what a server is first asked by."""
    try:
        store = MetadataStore(config)
        store.get_execution_types()
    except Exception as error:  # RuntimeError or one of ml_metadata.errors or grpc, by kind of the store
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(" Schema migration is disabled")[0]
        remedy = ""
        if "older than library" in reason:
            remedy = "Read it with the ml_metadata that wrote it, or have the pipeline's TFX upgrade a copy of it."
        elif "greater than library" in reason:
            reason, remedy = (
                reason.partition(" Please")[0],
                "Read it with an ml_metadata as new as the one that wrote it.",
            )
        raise MetadataError(Problem(shown, f"'{reason}'", "a store that this ml_metadata can read", remedy)) from error
    return store
