"""The house itself: what is shipped, what importing it drags in, whether generated code is up to date."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def tracked(checkout: Path) -> list[Path]:
    """The files of the checkout that git tracks, or would if they were added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (checkout / name).is_file()]


def run_python(source: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", source], cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_holds_the_package_and_nothing_else(checkout, tmp_path):
    source = tmp_path / "source"
    files = tracked(checkout)
    for file in files:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_bytes((checkout / file).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    subprocess.run(command, check=True)
    [wheel] = tmp_path.glob("polytrainer-*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    rooms = ("components", "executors", "pipelines", "proto")
    expected = {
        f"polytrainer/{file}"
        for file in files
        if (file.parts[0] in rooms and file.suffix in (".py", ".pyi", ".proto"))
        or str(file) in ("__init__.py", "py.typed")
    }
    assert shipped == expected


def test_the_rooms_are_never_top_level_modules(checkout):
    source = """
import sys, polytrainer
polytrainer.Trainer, polytrainer.TrainArgs, polytrainer.TrainResult
rooms = ("components", "executors", "proto", "pipelines")
print([name for name in sys.modules if name.partition(".")[0] in rooms and "components" in name])
"""
    assert run_python(source, checkout) == "[]"


def test_proto_plus_can_be_imported_from_the_root_of_the_checkout(checkout):
    """Every Google Cloud client imports it, under the name of one of our rooms."""
    assert run_python("import proto; print(proto.Message.__name__)", checkout) == "Message"


@pytest.mark.unit
def test_importing_polytrainer_imports_no_framework(checkout):
    source = """
import sys, polytrainer
polytrainer.TrainArgs(num_steps=3), polytrainer.TrainResult(steps=3)
heavy = ("tfx", "tensorflow", "keras", "torch", "apache_beam", "ml_metadata", "kfp", "pandas", "numpy")
print([name for name in heavy if name in sys.modules])
"""
    assert run_python(source, checkout) == "[]"


@pytest.mark.line
def test_the_component_imports_no_more_of_tensorflow_than_tfx_own_dsl(tmp_path):
    heavy = "('tensorflow', 'tensorflow_model_analysis', 'keras', 'torch', 'tensorflow_transform', 'tfx_bsl')"
    shown = f"import sys; print([name for name in {heavy} if name in sys.modules])"
    dsl = "import tfx.dsl.components.base.base_component, tfx.types.standard_component_specs; "
    ours = ast.literal_eval(
        run_python(f"import polytrainer; polytrainer.Trainer, polytrainer.ModelComparator; {shown}", tmp_path)
    )
    tfx_dsl = ast.literal_eval(run_python(dsl + shown, tmp_path))
    assert set(ours) <= set(tfx_dsl)


@pytest.mark.unit
def test_an_unknown_name_lists_the_known_ones(checkout):
    source = "import polytrainer\ntry:\n polytrainer.Trianer\nexcept AttributeError as error: print(error)"
    said = run_python(source, checkout)
    assert said.startswith("module 'polytrainer' has no attribute 'Trianer'; it has ")
    assert "TrainArgs, TrainJob, TrainResult, Trainer" in said


def test_regenerating_the_protos_changes_nothing(checkout, tmp_path):
    subprocess.run([checkout / "tools" / "protos", tmp_path], check=True)
    for file in ("trainer_pb2.py", "trainer_pb2.pyi", "comparator_pb2.py", "comparator_pb2.pyi"):
        assert (tmp_path / "proto" / file).read_text() == (checkout / "proto" / file).read_text()


@pytest.mark.unit
def test_our_descriptor_does_not_clash_with_another_trainer_proto():
    from polytrainer.proto import comparator_pb2, trainer_pb2

    assert trainer_pb2.DESCRIPTOR.name == "polytrainer/proto/trainer.proto"
    assert comparator_pb2.DESCRIPTOR.name == "polytrainer/proto/comparator.proto"


@pytest.mark.line
def test_our_args_are_those_of_tfx_on_the_wire_and_in_json():
    from google.protobuf import json_format
    from tfx.proto import trainer_pb2 as theirs

    from polytrainer.proto import trainer_pb2 as ours

    for name in ("TrainArgs", "EvalArgs"):
        their_args = getattr(theirs, name)(splits=["a", "b"], num_steps=7)
        our_args = getattr(ours, name).FromString(their_args.SerializeToString())
        assert (list(our_args.splits), our_args.num_steps) == (["a", "b"], 7)
        assert json_format.MessageToJson(our_args) == json_format.MessageToJson(their_args)
        known = {field.name: field.number for field in getattr(theirs, name).DESCRIPTOR.fields}
        assert known.items() <= {field.name: field.number for field in getattr(ours, name).DESCRIPTOR.fields}.items()


def test_the_unit_tier_imports_neither_tfx_nor_a_framework(checkout):
    source = """
import sys, pytest
code = pytest.main(["-q", "-m", "unit", "-p", "no:cacheprovider", "--deselect", "tests/packaging", "tests"])
assert code == 0, code
print([name for name in ("tfx", "tensorflow", "torch", "apache_beam", "keras") if name in sys.modules])
"""
    assert run_python(source, checkout).endswith("\n[]")


def test_every_lock_has_what_setup_promises(checkout):
    for line in ("1.15", "1.16", "1.21"):
        lock = (checkout / "requirements" / f"tfx-{line}.txt").read_text().splitlines()
        names = {entry.partition("==")[0].partition("[")[0] for entry in lock}
        assert {"tfx", "tensorflow", "apache-beam", "ml-metadata", "protobuf", "dill", "torch", "pytest"} <= names
        assert not [entry for entry in lock if "://" in entry or entry.startswith("-")]
