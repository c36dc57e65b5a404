"""What was edited between a training's death and its next run is recognised: one clear error, or a fresh start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from polytrainer import TorchTrainer
from polytrainer.executors.backends.code_signature import code_signature
from polytrainer.executors.backends.torch.callbacks import Callback
from polytrainer.executors.backends.torch.checkpointer import MODEL
from polytrainer.executors.errors import PreflightError

REMEDY = r"Undo that, or start afresh with resume=False"


class DiedError(Exception):
    pass


class Dying(Callback):
    def on_step_end(self, engine, loss):
        if engine.state.step == Edited.dies_at:
            raise DiedError


class Other(Callback):
    pass


MADE = {
    "layers": lambda: [nn.Linear(2, 8), nn.Linear(8, 2)],
    "optimizer": lambda parameters: torch.optim.SGD(parameters, 0.1),
    "scheduler": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3),
    "callbacks": lambda: [],
}


class Edited(TorchTrainer):
    """Has hooks whose code stays as it is, while what they return (`MADE`) is changed."""

    dies_at = None

    def model_fn(self):
        return Network(MADE["layers"]())

    def optimizer_fn(self, model):
        return MADE["optimizer"](model.parameters())

    def scheduler_fn(self, optimizer):
        return MADE["scheduler"](optimizer)

    def callbacks(self):
        return [Dying(), *MADE["callbacks"]()]

    def save(self, model=None):
        return {}


class Network(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def fit(small, tmp_path, monkeypatch):
    """Trains in the same folder: `fit(dies_at=…, …)` returns the trainer, dead or not."""

    def run(dies_at=None, kind=Edited, arguments=None, files=None, **options):
        monkeypatch.setattr(Edited, "dies_at", dies_at)
        trainer = kind("label", **(arguments or {}))
        told = {"num_epochs": 2, "batch_size": 16, "seed": 1, "checkpoint_every_n_steps": 2, **options}
        try:
            trainer.fit(files or small.train, small.eval, schema=small.schema, output_dir=str(tmp_path / "out"), **told)
        except DiedError:
            assert dies_at
        return trainer

    return run


def two_groups(parameters):
    first, *rest = parameters
    return torch.optim.SGD([{"params": [first]}, {"params": rest}], 0.1)


EDITS = {
    "another width": (
        ("layers", lambda: [nn.Linear(2, 9), nn.Linear(9, 2)]),
        r"a checkpoint of another model, of step 4: layers.0.weight of shape \[8, 2\], which has \[9, 2\] now",
    ),
    "a further layer": (
        ("layers", lambda: [nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 2)]),
        r"a checkpoint of another model, of step 4: no layers.2.weight",
    ),
    "a layer less": (("layers", lambda: [nn.Linear(2, 2)]), r"layers.1.weight, which the model has not"),
    "another optimizer": (
        ("optimizer", torch.optim.Adam),
        r"the optimizers: got Adam, but SGD in the checkpoint of step 4; expected the same",
    ),
    "further parameter groups": (
        ("optimizer", two_groups),
        r"the optimizers: got a state in the checkpoint that does not",
    ),
    "another scheduler": (
        ("scheduler", lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)),
        r"the schedulers: got ExponentialLR, but StepLR in the checkpoint",
    ),
    "no scheduler": (("scheduler", lambda optimizer: None), r"the schedulers: got none, but StepLR"),
    "a further callback": (("callbacks", lambda: [Other()]), r"the callbacks: got Dying, Other, but Dying in"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_does_not_fit_is_one_error_with_the_remedy(fit, monkeypatch, edit):
    (name, change), match = EDITS[edit]
    fit(dies_at=5)
    monkeypatch.setitem(MADE, name, change)
    with pytest.raises(PreflightError, match=rf"(?s)^Nothing was trained: .*{match}.*{REMEDY}"):
        fit()
    assert fit(resume=False).engine.resumed_from is None


def test_what_was_not_edited_goes_on(fit):
    fit(dies_at=5)
    assert fit().engine.resumed_from == 4


def test_resume_false_starts_afresh(fit):
    fit(dies_at=5)
    trainer = fit(resume=False)
    assert trainer.engine.resumed_from is None
    assert [row["step"] for row in trainer.engine.state.history] == [7, 14]


def test_other_data_under_the_same_path_are_another_training(fit, small, tmp_path):
    import shutil

    [stored] = Path(small.train).parent.glob("*.gz")
    copy = tmp_path / "data.gz"
    shutil.copy(stored, copy)
    fit(dies_at=5, files=str(copy))
    os.utime(copy, ns=(1, 1))  # written anew, and as long as before
    assert fit(files=str(copy)).engine.resumed_from is None


@pytest.mark.parametrize(
    "arguments", [{"params": {"hidden": 2}}, {"class_weights": {0: 2.0}}, {"learning_rate": 0.5}, {"loss": "mae"}]
)
def test_other_arguments_are_another_training(fit, arguments):
    fit(dies_at=5)
    changed = {**arguments, "allow_unknown": True}
    if "loss" in arguments:
        with pytest.raises(PreflightError, match="mae"):  # it began afresh, and found that it cannot
            fit(arguments=changed)
    else:
        assert fit(arguments=changed).engine.resumed_from is None


SOURCE = """
WIDTH = 8
KINDS = ("a", "b")

def helper(value):
    return value in {"a", "b", "c", "d", "e", "f"}

class Net:
    size = 3
    def forward(self): return WIDTH

class Mine:
    runs = 0
    def model_fn(self, hidden=4):
        helper(KINDS)
        return Net()
"""


def signature(source):
    import sys
    import types

    module = types.ModuleType("edited_user_code")
    module.__file__ = "/somewhere/edited_user_code.py"
    sys.modules[module.__name__] = module
    exec(source, vars(module))
    return code_signature(module.Mine)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return Net()", "return Net() or 1"),
        ("hidden=4", "hidden=5"),
        ("return WIDTH", "return WIDTH + 1"),
        ("WIDTH = 8", "WIDTH = 9"),
        ('KINDS = ("a", "b")', 'KINDS = ("a", "c")'),
        ('{"a", "b"', '{"z", "b"'),
        ("size = 3", "size = 4"),
    ],
)
def test_edited_code_of_what_the_trainer_refers_to_is_another_training(old, new):
    assert signature(SOURCE.replace(old, new)) != signature(SOURCE)


@pytest.mark.parametrize(("old", "new"), [("WIDTH = 8", "# a comment\n\nWIDTH = 8"), ("runs = 0", "runs = 1")])
def test_comments_and_attributes_of_the_trainer_are_none(old, new):
    assert signature(SOURCE.replace(old, new)) == signature(SOURCE)


def test_the_same_code_is_the_same_in_each_process(checkout, tmp_path):
    import subprocess
    import sys

    code = tmp_path / "user.py"
    code.write_text(SOURCE)
    imports = "import user; from polytrainer.executors.backends.code_signature import code_signature"
    prints = f"{imports}; print(code_signature(user.Mine))"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    seen = {
        subprocess.check_output(
            [sys.executable, "-c", prints], env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        )
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


def older(state):
    """A state as it was before: without what was added since, the history as a list, no data that know no position."""
    import json

    for name in ("own_parameters", "kinds"):
        state.pop(name)
    state["data"] = None if "labels" in state["data"] else state["data"]
    state["state"].pop("at_epoch_end")
    state["state"]["history"] = [json.loads(line) for line in state["state"]["history"].splitlines()]
    return state


class OldStates:
    """Keeps states in memory, as an older polytrainer wrote them."""

    def __init__(self):
        self.states = {}

    def save(self, step, state):
        import copy

        self.states[step] = older(copy.deepcopy(dict(state)))

    def load(self, step=None):
        return (max(self.states), self.states[max(self.states)]) if self.states else None

    def wait(self):
        pass


def test_states_of_an_older_polytrainer_are_gone_on_from(fit):
    states = OldStates()
    fit(dies_at=11, arguments={"checkpointer": states})
    trainer = fit(arguments={"checkpointer": states})
    assert trainer.engine.resumed_from == 10
    assert [row["step"] for row in trainer.engine.state.history] == [7, 14]


def test_a_state_without_a_part_is_an_error_that_says_so(fit):
    states = OldStates()
    fit(dies_at=5, arguments={"checkpointer": states})
    for state in states.states.values():
        state["optimizers"][0].pop("param_groups")
    with pytest.raises(PreflightError, match=rf"the optimizers: got a state in the checkpoint .*KeyError.*{REMEDY}"):
        fit(arguments={"checkpointer": states})
    assert MODEL in states.states[4]
