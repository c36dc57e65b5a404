"""What a model was trained with, from a training to ML Metadata's properties and back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from polytrainer.executors.provenance import Provenance
from polytrainer.executors.run_record import write_state


@pytest.fixture
def fn_args(tmp_path):
    """What a training without a trainer class, a Tuner and a base model was told."""
    return SimpleNamespace(model_run_dir=str(tmp_path), hyperparameters=None, base_model=None)


def test_what_was_written_into_an_artifact_is_read_from_it(fn_args):
    from tfx.types import standard_artifacts

    arguments = {"hidden": "16", "loss": "<function focal at 0x7f00aa>", "words": "x" * 5000}
    write_state(fn_args.model_run_dir, {"arguments": arguments, "timings": {"training": 2.5, "export": 0.5}})
    fn_args.hyperparameters = {"values": {"rate": 0.25, "kind": "deep"}, "space": []}  # HyperParameters.get_config()
    fn_args.base_model = "models/7/Format-Serving"
    model = standard_artifacts.Model()
    Provenance.of_training(fn_args).write(model)
    read = Provenance.of_artifact(model)
    assert read.arguments == {"hidden": "16", "loss": "<function focal>", "words": "x" * 1000 + "…"}
    assert read.hyperparameters == {"rate": "0.25", "kind": "'deep'"}
    assert read.base_model == "models/7/Format-Serving"
    assert read.seconds == {"training": 2.5, "export": 0.5}


@pytest.mark.parametrize("state", [None, "no JSON", "[1]", '{"arguments": 7, "timings": {"training": null}}'])
def test_a_plain_run_fn_need_not_write_anything_down(fn_args, tmp_path, state):
    if state is not None:
        (tmp_path / "trainer_state.json").write_text(state)
    fn_args.hyperparameters = {"rate": 0.25}
    assert Provenance.of_training(fn_args) == Provenance(hyperparameters={"rate": "0.25"})
