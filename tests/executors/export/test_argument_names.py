"""Features' names → names that a signature's arguments can have."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytrainer.executors.export.argument_names import argument_names, write

NEARLY_THE_SAME = st.text(alphabet="aA_. -/1é:", max_size=4)
NAMES = st.lists(NEARLY_THE_SAME | st.text(max_size=20), unique=True, max_size=12)


@pytest.mark.unit
@given(NAMES, st.randoms(use_true_random=False))
def test_each_feature_has_an_argument_of_its_own_whatever_the_order(names, randomness: random.Random):
    arguments = argument_names(names)
    assert set(arguments) == set(names)
    assert len({argument.lower().replace(".", "_") for argument in arguments.values()}) == len(names)
    shuffled = randomness.sample(names, len(names))
    assert argument_names(shuffled) == arguments


@pytest.mark.unit
@given(NAMES)
def test_names_that_tensorflow_takes_stay_where_no_other_feature_needs_them(names):
    arguments = argument_names([*names, "area_error"])
    assert arguments["area_error"] == "area_error"
    assert argument_names(["petal.length", "1st"]) == {"petal.length": "petal.length", "1st": "1st"}


@pytest.mark.unit
def test_others_are_spelled_with_what_it_takes():
    names = ["area error", "area_error", "Area_error", "area.error", "été", "class", "self", "_x", "日本", "a:b"]
    assert argument_names(names) == {
        "area error": "area_error_4",
        "area_error": "area_error_2",
        "Area_error": "Area_error",
        "area.error": "area_error_3",
        "été": "ete",
        "class": "arg_class",
        "self": "arg_self",
        "_x": "arg__x",
        "日本": "arg___",
        "a:b": "a_b",
    }


@pytest.mark.line
@pytest.mark.parametrize("seed", range(2))
def test_tensorflow_takes_all_of_them_at_once(tmp_path, seed):
    import tensorflow as tf

    randomness = random.Random(seed)
    names = {"".join(randomness.choices("aA_. -/1é:\\>", k=randomness.randint(1, 3))) for _ in range(60)}
    names |= {"self", "class", "None", "x" * 200, "日本", ""}
    arguments = argument_names(names)
    specs = [tf.TensorSpec([], tf.float32, name=argument) for argument in arguments.values()]
    add = tf.function(lambda *values: {"sum": tf.add_n(values)}, input_signature=specs, autograph=False)
    path = str(tmp_path / "model")
    tf.saved_model.save(tf.Module(), path, signatures={"predict": add.get_concrete_function()})
    loaded = tf.saved_model.load(path)
    given_values = {argument: tf.constant(1.0) for argument in arguments.values()}
    assert float(loaded.signatures["predict"](**given_values)["sum"]) == len(names)
    write(path, arguments)
    told = json.loads((tmp_path / "model" / "assets.extra" / "predict_inputs.json").read_text())
    assert told == {argument: feature for feature, argument in arguments.items()}
