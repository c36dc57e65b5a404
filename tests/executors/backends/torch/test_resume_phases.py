"""A PyTorch training that dies at any phase of its run is the same after one further run, and trains nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import killed_trainings as phases
import pytest
from results import read
from trainings import ForkedTraining, all_well

OPTIONS = {"module": "killed_trainings", "num_epochs": 2, "checkpoint_every_n_steps": 3, "max_grad_norm": 1.0}
IN_EPOCH = {"eval_every_n_steps": 5}
WATCHING = {
    "num_epochs": 6,
    "callbacks": True,
    "scheduler": "plateau",
    "early_stopping": {"metric": "loss", "patience": 1, "min_delta": 0.02},
    "keep_checkpoints": {"best": 2, "last": 1},
}
AFTER_THE_LAST_STEP = [phases.LAST_EVALUATION, phases.VALIDATION, phases.TEST, phases.EXPORT]


@pytest.fixture
def start(forked, small):
    """Starts a training: `start(name, at=phase, how=signal, …)`."""
    return lambda name, **options: forked(name, **{**OPTIONS, "test_files": {"test": small.other}, **options})


@pytest.fixture(scope="module")
def whole(nursery, small, tmp_path_factory):
    """Outcomes of trainings that nobody killed, by their options."""
    outcomes = {}

    def of(**options):
        key = json.dumps(options, sort_keys=True)
        if key not in outcomes:
            folder = tmp_path_factory.mktemp("whole")
            data = {"train_files": small.train, "eval_files": small.eval, "schema": small.schema}
            tests = {"test_files": {"test": small.other}, "output_dir": str(folder), "batch_size": 8, "seed": 3}
            training = ForkedTraining(nursery, folder / "log", {**data, **tests, **OPTIONS, **options})
            assert training.ended(), training.said[-3000:]
            outcomes[key] = outcome(folder)
        return outcomes[key]

    return of


def outcome(folder: Path):
    """All that is published, except for times: weights, what was recorded, metrics, test results, kept weights."""
    from safetensors.numpy import load_file

    stored = load_file(folder / "model" / "Format-Torch" / "model.safetensors")
    state = json.loads((folder / "model_run" / "trainer_state.json").read_text())
    changing = ("seconds", "timings", "resumed_from", "versions")
    return {
        "weights": {name: value.tolist() for name, value in stored.items()},
        "state": {name: value for name, value in state.items() if name not in changing},
        "rows": (folder / "model_run" / "logs" / "metrics.csv").read_text(),
        "test results": [(path.name, path.read_bytes()) for path in sorted(folder.glob("test_results/Split-*/*"))],
        "kept": [(path.name, path.read_bytes()) for path in sorted(folder.glob("model_run/checkpoints/*"))],
    }


def assert_resumed(died, again, folder, wanted, phase):
    """That a training died at a phase, and the next one has led to what was wanted."""
    assert not died.ended()
    assert f"dies at {phase}" in died.said
    assert again.ended(), again.said[-3000:]
    assert "resumed        from step" in again.said
    found = outcome(folder)
    for part, value in wanted.items():
        assert found[part] == value, part
    assert not list(folder.glob(".checkpoints/*"))


@pytest.mark.parametrize("how", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("phase", [phases.STEP_PHASE, phases.IN_EPOCH, phases.AFTER_EPOCH, *AFTER_THE_LAST_STEP])
def test_a_training_that_dies_at_a_phase_is_the_same_after_the_next_run(start, whole, tmp_path, phase, how):
    options = IN_EPOCH if phase == phases.IN_EPOCH else {}
    died = start("died", at=phase, how=how, **options)
    assert not died.ended()
    again = start("died", log="again", **options)
    assert_resumed(died, again, tmp_path / "died", whole(**options), phase)
    if how == "SIGTERM":
        assert "it is saved at step" in died.said
    if phase in AFTER_THE_LAST_STEP:
        assert "trained step" not in again.said


def test_test_results_are_of_the_published_model(start, tmp_path):
    assert start("one").ended()
    rows = list(read(tmp_path / "one/test_results/Split-test/*"))
    assert len(rows) == 10


@pytest.mark.parametrize("phase", [phases.STEP_PHASE, phases.AFTER_EPOCH, phases.VALIDATION, phases.EXPORT])
@pytest.mark.parametrize("how", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.exhaustive)])
def test_early_stopping_plateau_kept_weights_and_callbacks_go_on(start, whole, tmp_path, phase, how):
    wanted = whole(**WATCHING)
    assert wanted["state"]["stopped"]
    died = start("died", at=phase, how=how, **WATCHING)
    assert not died.ended()
    assert_resumed(died, start("died", log="again", **WATCHING), tmp_path / "died", wanted, phase)


def test_an_export_that_has_no_room_is_made_up_for(start, whole, tmp_path):
    died = start("died", at=phases.NO_ROOM)
    assert not died.ended()
    assert "No space left on device" in died.said
    again = start("died", log="again")
    assert again.ended(), again.said[-3000:]
    assert "trained step" not in again.said
    assert outcome(tmp_path / "died") == whole()


@pytest.mark.parametrize(
    ("steps", "epochs"),
    [
        pytest.param({"num_steps": 20}, 1, marks=pytest.mark.exhaustive),
        pytest.param({"num_steps": 26}, 2, marks=pytest.mark.exhaustive),
        ({"num_steps": 20, "max_steps_per_epoch": 10}, 2),
    ],
)
def test_sigterm_that_comes_with_the_last_step(start, whole, tmp_path, steps, epochs):
    steps = {"num_epochs": 0, **steps}
    wanted = whole(**steps)
    assert wanted["state"]["epoch"] == epochs
    # the signal comes while the last step is computed, and nothing is asked before that step is saved
    died = start("died", at=phases.STEP_PHASE, how="SIGTERM", last_step=steps["num_steps"], **steps)
    assert not died.ended()
    again = start("died", log="again", **steps)
    assert again.ended(), again.said[-3000:]
    assert "trained step" not in again.said
    assert outcome(tmp_path / "died") == wanted


def test_a_resumed_run_with_new_output_folders_has_all_rows(start, whole, tmp_path):
    died = start("died", at=phases.EXPORT)
    assert not died.ended()
    (tmp_path / "died/model_run/logs/metrics.csv").unlink()  # TFX gives each try new ones
    assert start("died", log="again").ended()
    assert outcome(tmp_path / "died")["rows"] == whole()["rows"]


@pytest.mark.parametrize(
    ("phase", "rank", "how"),
    [
        (phases.STEP_PHASE, 1, "SIGKILL"),
        pytest.param(phases.AFTER_EPOCH, 0, "SIGTERM", marks=pytest.mark.exhaustive),
        pytest.param(phases.LAST_EVALUATION, 1, "SIGTERM", marks=pytest.mark.exhaustive),
        pytest.param(phases.TEST, 0, "SIGKILL", marks=pytest.mark.exhaustive),
        (phases.EXPORT, 0, "SIGTERM"),
    ],
)
def test_ranks_that_die_at_a_phase_are_the_same_after_the_next_run(ranks, small, tmp_path, phase, rank, how):
    options = {**OPTIONS, "test_files": {"test": small.other}}
    all_well(ranks(2, "whole", **options))
    died = ranks(2, "died", at=phase, how=how, rank_at=rank, **options)
    assert sum(training.ended() for training in died) == 0
    again = ranks(2, "died", **options)
    all_well(again)
    assert_resumed(died[rank], again[0], tmp_path / "died", outcome(tmp_path / "whole"), phase)
    if phase in AFTER_THE_LAST_STEP:
        assert "trained step" not in again[0].said + again[1].said
