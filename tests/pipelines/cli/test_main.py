"""The command `polytrainer`, as its script calls it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.line


@pytest.fixture(scope="module")
def script(checkout):
    """What the installed script does: the entry point of pyproject.toml, in a process of its own."""
    [module, name] = re.search(
        r'^polytrainer = "(.+):(.+)"$', Path(checkout, "pyproject.toml").read_text(), re.M
    ).groups()
    source = f"import sys; from {module} import {name}; sys.exit({name}())"

    def call(*arguments: object, **environment: str) -> SimpleNamespace:
        command = [sys.executable, *environment.pop("options", "").split(), "-c", source, *map(str, arguments)]
        around = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # which pytest may have set
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=300, env={**around, **environment}
        )

    return call


def test_the_script_lists_runs(script, trained_store):
    done = script("runs", "--metadata", trained_store.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [
        str(getattr(trained_store, name)) for name in ("theirs", "cached", "failed", "long", "short")
    ]


def test_the_script_fits_the_terminal(script, trained_store):
    lines = script("runs", "--metadata", trained_store.path, COLUMNS="72").stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 72
    assert re.fullmatch(r"no room for: framework, .+, model \(a wider terminal or --json has them\)", lines[-1])


def test_the_script_writes_json(script, trained_store):
    told = json.loads(script("runs", "--json", "--limit", 1, "--metadata", trained_store.path).stdout)
    assert [run["id"] for run in told] == [trained_store.theirs]


def test_a_refusal_is_one_line_on_standard_error(script, tmp_path):
    done = script("runs", "--metadata", tmp_path / "none.sqlite")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"polytrainer: \S+none\.sqlite: got nothing there; expected .+\n", done.stderr)


def test_a_reader_that_goes_away_is_no_error(script, trained_store, checkout):
    command = f"{sys.executable} -m polytrainer.pipelines.cli runs --json --metadata {trained_store.path} | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], check=False, capture_output=True, text=True, cwd="/"
    )
    assert done.stderr == ""


def test_neither_tensorflow_nor_tfx_is_imported(script, trained_store):
    done = script("compare", trained_store.short, trained_store.long, "--metadata", trained_store.path, options="-v")
    imported = set(re.findall(r"^import '?([\w.]+)", done.stderr, re.M))
    assert "ml_metadata" in imported
    assert not imported & {"tensorflow", "tfx", "torch", "keras", "apache_beam", "numpy", "pandas", "tfx_bsl"}


def test_help_needs_not_even_ml_metadata(script):
    done = script("--help", options="-v")
    assert re.search(r"runs +list the runs of Trainers.+\n +compare +show two runs or more", done.stdout)
    assert "import 'ml_metadata" not in done.stderr


def test_a_terminal_without_a_character_shows_another_in_its_place(script, trained_store):
    done = script("runs", "--metadata", trained_store.path, COLUMNS="140", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "?" in done.stdout
