"""What a comparison blesses, publishes and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from comparisons import rows_of

pytestmark = pytest.mark.line
LABELS = np.random.RandomState(0).randint(0, 3, 240)
MULTICLASS = {"task": "MULTICLASS", "primary_metric": "accuracy", "metrics": ["accuracy", "log_loss"]}


def told(right, seed=0):
    """Scores for LABELS, of which a share is right: those of a larger share are right where a smaller one's are."""
    wrong = np.random.RandomState(1).rand(len(LABELS)) >= right
    classes = np.where(wrong, (LABELS + 1) % 3, LABELS)
    noise = np.random.RandomState(seed).rand(len(LABELS), 3) * 0.2
    return ((np.eye(3)[classes] + 0.1 + noise) / (1.3 + noise.sum(axis=1, keepdims=True))).astype(np.float32)


def give(comparing, **shares):
    for number, (name, share) in enumerate(shares.items()):
        parts = [["north", "south"][row % 2] for row in range(len(LABELS))]
        comparing.give(name, rows_of(told(share, number), LABELS, part=parts))


def pushed(comparing, folder):
    """Whether TFX's own Pusher pushes the best model, and what it pushes."""
    from tfx.components.pusher.executor import Executor
    from tfx.types import standard_artifacts

    push = standard_artifacts.PushedModel()
    push.uri = str(folder / "pushed")
    Path(push.uri).mkdir()
    destination = json.dumps({"filesystem": {"base_directory": str(folder / "serving")}})
    inputs = {"model": [comparing.best_model], "model_blessing": [comparing.blessing]}
    Executor(Executor.Context(tmp_dir=str(folder), unique_id="1")).Do(
        inputs, {"pushed_model": [push]}, {"push_destination": destination}
    )
    return [path.read_text() for path in Path(folder, "serving").rglob("model.txt")]


def test_the_best_of_several_is_blessed_and_pushed(comparing, tmp_path):
    give(comparing, worse=0.6, better=0.9, equal=0.75, baseline=0.75)
    slices = [{"features": ["part"]}]
    thresholds = [{"metric": "accuracy", "lower": 0.8, "min_gain": 0.05, "slice_features": ["part"]}]
    found = comparing.run(**MULTICLASS, slices=slices, thresholds=thresholds)
    assert (found["best"], found["blessed"], found["rows"]) == ("better", True, 240)
    against = {name: each["against"]["baseline"]["accuracy"] for name, each in found["candidates"].items()}
    assert {name: each["verdict"] for name, each in against.items()} == {
        "better": "better", "equal": "not distinguishable", "worse": "worse"
    }  # fmt: skip
    assert found["confidence_of_differences"] == pytest.approx(1 - 0.05 / 3)
    accuracy = found["candidates"]["better"]["metrics"]["accuracy"]
    assert accuracy["trained"] - accuracy["existing"] == pytest.approx(0.15, abs=0.05)
    assert np.trace(found["candidates"]["better"]["confusion_matrix"]["existing"]) == accuracy["existing"] * 240
    checks = found["candidates"]["better"]["thresholds"]
    assert [(each["slice"], each["bound"], each["held"]) for each in checks] == [
        ({"part": part}, bound, True) for part in ("north", "south") for bound in ("lower", "min_gain")
    ]
    level = found["confidence_of_differences"]
    *_, reason = found["candidates"]["equal"]["reasons"]
    assert reason == f"By accuracy it is not distinguishable from the baseline at the confidence level {level:.6g}."
    [reason, *_] = found["candidates"]["worse"]["reasons"]
    assert "Accuracy where part = north is 0." in reason
    assert "asked for is at least 0.8" in reason

    blessing, model = comparing.blessing, comparing.inputs["model_better"][0]
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["BLESSED"]
    assert blessing.get_string_custom_property("current_model") == model.uri
    assert blessing.get_int_custom_property("current_model_id") == model.id
    assert blessing.get_int_custom_property("baseline_model_id") == comparing.inputs["baseline_model"][0].id
    assert blessing.get_string_custom_property("component_id") == "comparator"
    assert comparing.best_model.get_string_custom_property("framework") == "framework of better"
    assert comparing.best_model.get_int_custom_property("source_model_id") == model.id
    assert pushed(comparing, tmp_path) == ["better"]

    import tensorflow_model_analysis as tfma

    assert len(tfma.load_eval_results([comparing.comparison.uri], model_name="better").get_results()) == 1
    assert not list((tmp_path / "tmp").rglob("rows*"))


def test_without_a_baseline_thresholds_alone_decide_and_a_broken_candidate_stays_out(comparing):
    give(comparing, fine=0.75)
    scores = told(0.9)
    scores[7] = np.nan
    comparing.give("broken", rows_of(scores, LABELS))
    comparing.inputs |= {"baseline_results": [], "baseline_model": []}  # what a Resolver finds in the first run
    comparing.inputs["test_results_fine"], fine = [], comparing.inputs["test_results_fine"]
    with pytest.raises(ValueError, match="test_results_fine: got 0 artifacts; expected one"):
        comparing.run(**MULTICLASS)
    comparing.inputs["test_results_fine"] = fine
    thresholds = [{"metric": "accuracy", "lower": 0.7, "min_gain": 0.5}, {"metric": "log_loss", "upper": 5}]
    found = comparing.run(**MULTICLASS, key_features=["number"], thresholds=thresholds)
    assert (found["best"], found["blessed"]) == ("fine", True)
    assert found["reasons"] == ["There is no baseline to beat: the thresholds alone decide."]
    assert found["candidates"]["fine"]["metrics"]["accuracy"]["existing"] is None
    [why] = found["candidates"]["broken"]["reasons"]
    assert why == "1 of 240 predictions are not finite numbers, e.g. of the row test/number=7."


def few(rows=5, outputs=1):
    return rows_of(np.full((rows, outputs), 0.5, np.float32), np.zeros((rows, outputs), np.float32))


def changed(rows, which, **changes):
    return [{**row, **changes} if row["number"] == which else row for row in rows]


def refused(comparing, one, two, **args):
    """What is said of test results that cannot be compared."""
    from polytrainer.executors.comparison.errors import ComparisonError

    comparing.give("one", one)
    comparing.give("two", two)
    with pytest.raises(ComparisonError) as caught:
        comparing.run(**args)
    assert not list(Path(comparing.blessing.uri).iterdir())
    return str(caught.value)


def test_everything_that_is_wrong_with_rows_is_said_at_once(comparing):
    rows = changed(changed(few(9), 3, label=7.0), 4, prediction=np.nan)
    one = [*changed(rows, 0, predicted_class=1, predicted_class_name="yes"), rows[5], rows[6]]
    two = changed(changed(rows, 1, label=1.0), 2, prediction=1.5)[:-2]
    two = changed(two, 0, predicted_class=1, predicted_class_name="no")
    args = {"key_features": ["number"], "example_weight_key": "w", "slices": [{"features": ["x"]}]}
    said = refused(comparing, one, two, task="BINARY", **args)
    for expected in (
        r"results of two: got 2 rows missing that others have, e\.g\. test/number=7; test/number=8; expected the same",
        r"results of one: got 2 keys that stand for several rows, e\.g\. test/number=5; test/number=6; .* an id",
        r"two: got 1 labels that differ .*, e\.g\. test/number=1: \[1.0\] instead of \[0.0\]; expected the same label",
        r"two: got 1 predictions that do not fit, e\.g\. test/number=2: \[1.5\], expected probabilities, from 0 to 1",
        r"one: got 1 labels that do not fit, e\.g\. test/number=3: \[7.0\], expected 1 numbers, each 0 or 1",
        r"predictions of two: got 1 of 5 predictions are not finite numbers, e\.g\. of the row test/number=4; expected",
        r"the name of class 1: got \{'one': 'yes', 'two': 'no'\}; expected the same name",
        r"the weight 'w': got none, or a negative one, in 5 rows",
        r"comparator_args.slices: got 'x'; expected a feature that some row has",
    ):
        assert re.search(expected, said), said


def test_different_numbers_of_classes(comparing):
    said = refused(comparing, few(2, 2), few(2, 3), task="MULTICLASS", key_features=["number"])
    assert "different numbers of outputs: 2 of one, 3 of two; expected the same. Were the models trained on" in said
    assert re.search(r"labels that do not fit.*\[0.0, 0.0\], expected one class that is 1", said)


def test_no_rows(comparing):
    said = refused(comparing, [], [], task="REGRESSION")
    assert said == "Nothing was compared: the test results: got no rows; expected one at least. Are the splits empty?"


def test_a_split_that_somebody_lacks(comparing):
    comparing.give("three", few(2), "other")
    said = refused(comparing, few(2), few(2), task="REGRESSION", splits=["test"])
    assert "test results of three: got the splits ['other']; expected all of ['test']. Name in" in said


def test_rows_are_told_apart_by_what_no_trainer_added(comparing):
    """Their order, splits and what trainers add differ or not; the same example in two splits is two rows."""
    rows, other = few(4), [{**row, "label_stored": b"word", "predicted_class": 1} for row in few(4)]
    comparing.give("one", rows, more=rows[:1])
    comparing.give("two", other[::-1], more=other[:1])
    found = comparing.run(task="REGRESSION")
    assert (found["rows"], found["splits"]) == (5, ["more", "test"])


def test_rows_with_weights_of_trainers_count_by_them(comparing):
    predictions, labels = np.array([0.1, 0.9, 0.2, 0.8], np.float32), np.array([0, 1, 1, 0], np.float32)
    rows = rows_of(predictions, labels, example_weight=[1.0, 1.0, 0.0, 6.0])
    comparing.give("one", rows)
    comparing.give("two", rows)
    found = comparing.run(task="BINARY", key_features=["number"])
    assert found["candidates"]["one"]["metrics"]["accuracy"]["trained"] == pytest.approx(2 / 8)


def test_a_model_that_was_not_served_raw_examples_is_warned_of(comparing, caplog):
    give(comparing, unserved=0.9, served=0.6)
    for name, rows in {"unserved": 0, "served": 64}.items():
        comparing.inputs[f"model_{name}"][0].set_int_custom_property("parity.serving_rows", rows)
    document = comparing.run(**MULTICLASS)
    notes = {name: " ".join(each["notes"]) for name, each in document["candidates"].items()}
    assert "parity.serving_rows is 0" in notes["unserved"]
    assert "parity.serving_rows" not in notes["served"]
    assert any(message.startswith("unserved: Its serving_default was not called") for message in caplog.messages)
