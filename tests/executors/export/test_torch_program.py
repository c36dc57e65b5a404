"""Programs of torch.export are read without running what is pickled in them."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile

import pytest

pytestmark = pytest.mark.newest


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self._path,))


@pytest.fixture
def program(tmp_path):
    """The path of a program of one linear layer."""
    import torch

    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(2, 1), (torch.ones(1, 2),)), path)
    return path


def with_pickle(path, content):
    """The program with another object in its part that is pickled."""
    import torch

    changed = path.with_name("changed.pt2")
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_STORED) as new:
        [pickled] = [name for name in old.namelist() if "sample_inputs" in name and name.endswith(".pt")]
        for name in old.namelist():
            new.writestr(name, buffer.getvalue() if name == pickled else old.read(name))
    return changed


def test_a_program_is_read(program):
    import torch

    from polytrainer.executors.export.torch_program import load_program

    assert load_program(program, "a program").module()(torch.ones(1, 2)).shape == (1, 1)


def test_what_is_pickled_in_it_is_not_run(program, tmp_path, monkeypatch):
    import torch

    from polytrainer.executors.export.torch_program import UntrustedProgramError, load_program

    hostile = with_pickle(program, Hostile(tmp_path / "ran"))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UntrustedProgramError, match=r"the model: got a program with pickled objects, which could run"):
        load_program(hostile, "the model")
    assert not (tmp_path / "ran").exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    with contextlib.suppress(TypeError):  # its log message of this lacks an argument
        torch.export.load(hostile)  # the canary: PyTorch runs it still
    assert (tmp_path / "ran").exists()


def test_an_executor_does_not_run_it_either(node, module_file, program, tmp_path, caplog):
    """What a run_fn has written is published, but not read here: nobody knows who wrote what it was made of."""
    hostile = with_pickle(program, Hostile(tmp_path / "ran"))
    node.run(
        module_file=module_file(f"""
            import shutil
            from pathlib import Path

            def run_fn(fn_args):
                Path(fn_args.serving_model_dir).mkdir(parents=True)
                shutil.copy({str(hostile)!r}, fn_args.serving_model_dir + "/model.pt2")
        """)
    )
    assert not (tmp_path / "ran").exists()
    assert "which could run code when they are read" in caplog.text
