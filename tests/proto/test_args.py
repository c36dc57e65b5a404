"""Train and eval args, in every form they may arrive in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytrainer.proto import args
from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "value",
    [
        TrainArgs(splits=["a"], num_steps=5),
        {"splits": ["a"], "num_steps": 5},
        '{"splits": ["a"], "num_steps": 5}',
        '{"splits": ["a"], "numSteps": 5}',
    ],
)
def test_a_proto_a_dict_and_json_mean_the_same(value):
    assert args.parse(value, TrainArgs) == TrainArgs(splits=["a"], num_steps=5)


def test_nothing_means_the_default():
    assert args.parse(None, EvalArgs) == EvalArgs()


def test_what_is_parsed_is_a_copy():
    given_args = TrainArgs(num_steps=1)
    args.parse(given_args, TrainArgs).num_steps = 2
    assert given_args.num_steps == 1


def test_an_unknown_field_is_named_together_with_the_known_ones():
    with pytest.raises(ValueError, match=r'not a valid TrainArgs: .*"num_step".*splits, num_steps, num_epochs'):
        args.parse({"num_step": 3}, TrainArgs)


def test_a_value_of_the_wrong_type_is_named():
    with pytest.raises(ValueError, match="num_steps"):
        args.parse('{"num_steps": "many"}', TrainArgs)


def test_a_format_that_is_none_is_named_together_with_those_there_are():
    with pytest.raises(ValueError, match=r"COREML.*formats: SAVED_MODEL, TORCH, ONNX, TFLITE, TFJS\."):
        args.parse({"formats": ["COREML"]}, ExportArgs)


def test_text_that_is_not_json_is_refused():
    with pytest.raises(ValueError, match="not a valid EvalArgs"):
        args.parse("num_steps: 3", EvalArgs)


def test_eval_args_are_no_train_args():
    with pytest.raises(TypeError, match=r"expected TrainArgs, got polytrainer\.EvalArgs"):
        args.parse(EvalArgs(), TrainArgs)


def test_a_number_is_no_args():
    with pytest.raises(TypeError, match="expected TrainArgs, a dict or JSON, got int: 7"):
        args.parse(7, TrainArgs)


def test_args_that_make_sense_have_no_problems():
    assert args.check(TrainArgs(num_epochs=3, batch_size=32), EvalArgs(test_splits=["test"])) == []


@pytest.mark.parametrize("field", ["num_epochs", "batch_size", "log_every_n_steps"])
def test_a_negative_count_is_a_problem(field):
    [problem] = args.check(TrainArgs(**{field: -1}), EvalArgs())
    assert str(problem).startswith(f"train_args.{field}: got -1; expected a positive number of")


def test_negative_steps_are_a_problem_of_the_trainer_classes_alone():
    """TFX hands them on, and a run_fn of one's own may mean "all there are"."""
    given_args = TrainArgs(num_steps=-1), EvalArgs(num_steps=-2)
    assert args.check(*given_args) == []
    assert [problem.where for problem in args.check_for_trainers(*given_args)] == [
        "train_args.num_steps",
        "eval_args.num_steps",
    ]


def test_steps_and_epochs_together_contradict_each_other():
    [problem] = args.check(TrainArgs(num_steps=5, num_epochs=2), EvalArgs())
    assert "num_steps=5 and num_epochs=2; expected at most one" in str(problem)


def test_the_same_split_twice_is_a_problem_of_the_trainer_classes_alone():
    given_args = TrainArgs(splits=["a", "b", "a"]), EvalArgs()
    assert args.check(*given_args) == []
    [problem] = args.check_for_trainers(*given_args)
    assert problem.where == "train_args.splits"


def test_a_split_without_a_name_is_a_problem():
    [problem] = args.check(TrainArgs(splits=["a", ""]), EvalArgs())
    assert "expected names, none of them empty" in str(problem)


def test_training_on_a_test_split_is_a_problem():
    [problem] = args.check(TrainArgs(), EvalArgs(test_splits=["train"]))
    assert "['train'], which train_args.splits trains on" in str(problem)


def test_every_problem_is_reported_not_only_the_first():
    assert len(args.check(TrainArgs(num_epochs=-1, batch_size=-1), EvalArgs(batch_size=-1))) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "64"}, "train_args.precision: got '64'; expected one of 32, bf16-mixed, 16-mixed, bf16-true."),
        ({"strategy": "horovod"}, "train_args.strategy: got 'horovod'; expected one of default, mirrored, multi"),
        ({"early_stopping": {"metric": "novelty"}}, "train_args.early_stopping.mode: got no mode for the metric 'nov"),
        ({"early_stopping": {"mode": "up"}}, "train_args.early_stopping.mode: got 'up'; expected one of min, max."),
        ({"early_stopping": {"patience": -1}}, "train_args.early_stopping.patience: got -1; expected 0 or more."),
        ({"early_stopping": {"min_delta": float("nan")}}, "train_args.early_stopping.min_delta: got nan"),
    ],
)
def test_what_is_not_known_is_a_problem(changes, said):
    [problem] = args.check(TrainArgs(**changes), EvalArgs())
    assert str(problem).startswith(said)


@pytest.mark.parametrize(
    ("stopping", "mode"),
    [
        ({}, "min"),
        ({"metric": "val_loss"}, "min"),
        ({"metric": "binary_crossentropy"}, "min"),
        ({"metric": "mean_absolute_error"}, "min"),
        ({"metric": "sparse_categorical_accuracy"}, "max"),
        ({"metric": "auc"}, "max"),
        ({"metric": "novelty"}, None),
        ({"metric": "accuracy", "mode": "min"}, "min"),
    ],
)
def test_the_better_direction_of_a_metric_follows_from_its_name(stopping, mode):
    assert args.best_mode(TrainArgs(early_stopping=stopping).early_stopping) == mode


@given(
    splits=st.lists(st.text(max_size=5), max_size=3),
    num_steps=st.integers(-(2**31), 2**31 - 1),
    num_epochs=st.integers(-(2**31), 2**31 - 1),
)
def test_checking_never_fails_and_parsing_is_the_inverse_of_serializing(splits, num_steps, num_epochs):
    train_args = TrainArgs(splits=splits, num_steps=num_steps, num_epochs=num_epochs)
    problems = args.check(train_args, EvalArgs())
    if num_epochs < 0 or (num_steps > 0 and num_epochs > 0):
        assert problems
    assert bool(args.check_for_trainers(train_args, EvalArgs())) == (num_steps < 0 or len(set(splits)) < len(splits))
    assert args.parse(train_args, TrainArgs) == train_args


def test_an_unset_seed_differs_from_seed_zero():
    assert not TrainArgs().HasField("seed")
    assert TrainArgs(seed=0).HasField("seed")
