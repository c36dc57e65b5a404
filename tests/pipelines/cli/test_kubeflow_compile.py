"""`polytrainer kubeflow compile`."""

from __future__ import annotations

import json
import sys
from textwrap import dedent

import pytest
from kubeflow_pipelines import IMAGE

from polytrainer.pipelines.cli import main

pytestmark = pytest.mark.line

SOURCE = """
    from kubeflow_pipelines import small
    import beside_it

    def create():
        return small(name=beside_it.NAME)

    def no_pipeline():
        return 3

    NUMBER = 3
"""


@pytest.fixture
def definition(tmp_path, monkeypatch):
    """A file with pipeline functions, which imports its neighbour."""
    for name in ("definition", "beside_it"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", sys.path[:])
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "definition.py").write_text(dedent(SOURCE))
    (folder / "beside_it.py").write_text('NAME = "from-a-file"\n')
    return folder / "definition.py"


def test_a_function_of_a_file(definition, tmp_path, capsys):
    import yaml

    output = tmp_path / "out.yaml"
    assert main(["kubeflow", "compile", f"{definition}:create", "--image", IMAGE, "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}: from-a-file, 5 nodes, for kfp\n"
    [spec] = yaml.safe_load_all(output.read_text())
    assert spec["pipelineInfo"] == {"name": "from-a-file"}


def test_a_function_of_an_installed_module_for_vertex(tmp_path, capsys):
    output = tmp_path / "out.json"
    arguments = ["--image", IMAGE, "--output", str(output), "--target", "vertex", "--root", "gs://bucket/root"]
    assert main(["kubeflow", "compile", "kubeflow_pipelines:small", *arguments]) == 0
    assert json.loads(output.read_text())["runtimeConfig"] == {"gcsOutputDirectory": "gs://bucket/root"}
    assert capsys.readouterr().out.endswith("for vertex\n")


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("{file}", "expected package.module:function or file.py:function."),
        ("{file}:", "expected package.module:function or file.py:function."),
        ("{file}:creat", "got no function 'creat' in {file}; expected a function that returns a tfx.dsl.Pipeline."),
        ("{file}:NUMBER", "got no function 'NUMBER' in {file}; expected a function that returns a tfx.dsl.Pipeline."),
        ("{file}:no_pipeline", "got a int from no_pipeline(); expected a tfx.dsl.Pipeline."),
        ("none.py:create", "got no file none.py; expected the path of a Python file."),
        ("nowhere.at.all:create", "got no module 'nowhere'; expected a module that can be imported from here."),
    ],
)
def test_no_such_function(definition, tmp_path, capsys, named, said):
    output = tmp_path / "out.yaml"
    named = named.format(file=definition)
    assert main(["kubeflow", "compile", named, "--image", IMAGE, "--output", str(output)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("polytrainer: ")
    assert said.format(file=definition) in shown
    assert not output.exists()


def test_what_the_users_code_raises_keeps_its_traceback(definition, tmp_path):
    (definition.parent / "beside_it.py").write_text("import not_there_either\n")
    with pytest.raises(ModuleNotFoundError, match="not_there_either"):
        main(["kubeflow", "compile", f"{definition}:create", "--image", IMAGE, "--output", str(tmp_path / "out.yaml")])


def test_refusals_are_said_without_a_traceback(definition, tmp_path, capsys):
    arguments = ["--image", IMAGE, "--output", str(tmp_path / "out.json"), "--root", str(tmp_path), "--max-bytes", "9"]
    assert main(["kubeflow", "compile", f"{definition}:create", *arguments]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("polytrainer: 2 problems:\n  1. output: got ")
    assert "  2. pipeline_root: got " in shown


def test_the_size_is_an_option(definition, tmp_path, capsys):
    arguments = ["--image", IMAGE, "--output", str(tmp_path / "out.yaml"), "--max-bytes", "9"]
    assert main(["kubeflow", "compile", f"{definition}:create", *arguments]) == 1
    assert "expected at most 9." in capsys.readouterr().err
