"""Arguments of a user's own: what the class uses is taken, anything else is refused with the nearest name."""

from __future__ import annotations

import functools
import re
from functools import cached_property

import pytest

from polytrainer import EstimatorTrainer, KerasTrainer, TorchTrainer

TRAINERS = [TorchTrainer, KerasTrainer, EstimatorTrainer]


def trainer_of(base, **members):
    return type("Mine", (base,), {"__module__": __name__, "model_fn": lambda self: None, **members})


@pytest.mark.parametrize("base", TRAINERS)
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("epochs", "'epochs' is called TrainArgs(num_epochs=…) here."),
        ("num_epochs", "'num_epochs' is a field of TrainArgs: TrainArgs(num_epochs=…)."),
        ("batch_size", "batch_size"),
        ("seed", "'seed' is a field of TrainArgs: TrainArgs(seed=…)."),
        ("labelkey", "Did you mean 'label_key' instead of 'labelkey'?"),
        ("class_weight", "'class_weight' is called class_weights here."),
    ],
)
def test_a_name_that_nothing_uses_is_refused_with_what_it_is_called(base, name, hint):
    with pytest.raises(TypeError, match=re.escape(hint)):
        trainer_of(base)("label", **{name: 3})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lr", "'lr' is called learning_rate here."),
        ("optimiser", "Did you mean 'optimizer' instead of 'optimiser'?"),
        ("metric", "'metric' is called metrics here."),
        ("shedule", "Did you mean 'scheduler' instead of 'shedule'?"),
    ],
)
def test_names_of_pytorch_trainers(name, hint):
    with pytest.raises(TypeError, match=rf"Mine: got unknown arguments \['{name}'\].*{re.escape(hint)}"):
        trainer_of(TorchTrainer)("label", **{name: 3})


def test_the_error_says_where_ones_own_arguments_go():
    remedy = (
        r"class attribute with an annotation \(`hidden: int = 16`\), an entry of params=\{…\}, .*allow_unknown=True"
    )
    with pytest.raises(TypeError, match=remedy):
        trainer_of(TorchTrainer)("label", hiden=3)


def test_a_name_that_is_in_the_code_for_another_reason_is_no_argument():
    def model_fn(self):
        return {"lr": 1}["lr"]

    with pytest.raises(TypeError, match="'lr' is called learning_rate here"):
        trainer_of(TorchTrainer, model_fn=model_fn)("label", lr=1)


def test_a_name_of_others_that_a_hook_reads_is_ones_own():
    def model_fn(self):
        return [self.lr for _ in range(2)], getattr(self, "epochs")  # noqa: B009

    trainer = trainer_of(TorchTrainer, model_fn=model_fn)("label", lr=1, epochs=2)
    assert trainer.model_fn() == ([1, 1], 2)


def wrapped(function):
    @functools.wraps(function)
    def inner(self):
        return function(self)

    return inner


def bare(function):
    def inner(self):
        return function(self)

    return inner


def nested():
    def model_fn(self):
        def make():
            return lambda: self.hidden

        return make()()

    return {"model_fn": model_fn}


USES = {
    "a hook": lambda: {"model_fn": lambda self: self.hidden},
    "a property": lambda: {"width": property(lambda self: self.hidden)},
    "a cached property": lambda: {"width": cached_property(lambda self: self.hidden)},
    "a nested function": nested,
    "a comprehension": lambda: {"width": lambda self: [self.hidden for _ in range(2)]},
    "a static method": lambda: {"width": staticmethod(lambda trainer: trainer.hidden)},
    "a class method": lambda: {"width": classmethod(lambda cls, trainer: trainer.hidden)},
    "a decorated method": lambda: {"width": wrapped(wrapped(lambda self: self.hidden))},
    "a method in a closure": lambda: {"width": bare(lambda self: self.hidden)},
    "a partial method": lambda: {"width": functools.partialmethod(lambda self, more: self.hidden, 1)},
    "a word": lambda: {"width": lambda self: getattr(self, "hidden")},  # noqa: B009
    "an inner class": lambda: {"Inner": inner_class()},
}


def inner_class():
    return type("Inner", (), {"__qualname__": "Mine.Inner", "width": lambda self, trainer: trainer.hidden})


@pytest.mark.parametrize("base", TRAINERS)
@pytest.mark.parametrize("use", USES)
def test_a_name_that_the_class_uses_is_taken(base, use):
    assert trainer_of(base, **USES[use]())("label", hidden=3).hidden == 3


def test_a_name_that_a_base_class_of_the_users_uses_is_taken():
    class Base(TorchTrainer):
        def model_fn(self):
            return self.hidden

    class Mine(Base):
        def __init__(self, **arguments):
            super().__init__("label", **arguments)

    assert Mine(hidden=3).model_fn() == 3


def test_a_constructor_of_ones_own_may_pass_names_on():
    class Mine(TorchTrainer):
        def __init__(self, hidden, **arguments):
            super().__init__("label", hidden=hidden, **arguments)

        def model_fn(self):
            return self.hidden

    assert Mine(3, metrics=["accuracy"]).model_fn() == 3


def build(trainer):
    return trainer.width


def test_a_name_that_only_a_function_beside_the_class_uses_is_refused_with_the_remedy():
    class Mine(TorchTrainer):
        def model_fn(self):
            return build(self)

    with pytest.raises(TypeError, match=r"unknown arguments \['width'\].*allow_unknown=True takes any"):
        Mine("label", width=3)
    assert Mine("label", width=3, allow_unknown=True).model_fn() == 3

    class Annotated(Mine):
        width: int

    assert Annotated("label", width=3).model_fn() == 3


@pytest.mark.parametrize("base", TRAINERS)
def test_annotated_class_attributes_are_arguments_with_defaults(base):
    class Mine(base):
        hidden: int = 16
        rate: float = 0.5
        needed: int

    trainer = Mine("label", rate=0.1)
    assert (trainer.hidden, trainer.rate) == (16, 0.1)
    assert "hidden" in trainer._arguments  # recorded, part of the fingerprint, open to a Tuner
    assert not trainer._override({"hidden": 32})
    assert (trainer.hidden, Mine.hidden) == (32, 16)


@pytest.mark.parametrize("base", TRAINERS)
def test_a_tuner_overrides_entries_of_params(base):
    trainer = trainer_of(base)("label", params={"hidden": 16, "rate": 0.5})
    assert not trainer._override({"values": {"hidden": 32}})
    assert trainer.params == {"hidden": 32, "rate": 0.5}
    [problem] = trainer._override({"hiden": 1})
    assert "names of arguments of Mine, which are" in str(problem)


def test_a_plain_class_attribute_may_be_an_argument():
    assert trainer_of(TorchTrainer, hidden=16)("label", hidden=32).hidden == 32


@pytest.mark.parametrize("name", ["learning_rate", "metrics", "label_key"])
def test_a_class_attribute_that_a_parameter_would_hide_is_refused(name):
    with pytest.raises(TypeError, match=rf"class attributes called \['{name}'\].*as arguments, Mine\({name}=…\)"):
        trainer_of(TorchTrainer, **{name: 1})("label")


@pytest.mark.parametrize("name", ["train", "model_fn", "schedule", "fit"])
def test_the_name_of_a_method_is_refused(name):
    with pytest.raises(TypeError, match=rf"arguments called \['{name}'\], which it needs for its own methods"):
        trainer_of(TorchTrainer)("label", **{name: 1})


@pytest.mark.parametrize("name", ["seed", "fn_args", "engine"])
def test_the_name_of_what_a_run_sets_is_refused_even_if_a_hook_uses_it(name):
    trainer = trainer_of(TorchTrainer, width=property(lambda self: (self.seed, self.fn_args, self.engine)))
    with pytest.raises(TypeError, match=rf"unknown arguments \['{name}'\]"):
        trainer("label", **{name: 1})
