"""How a model's outputs become predictions and classes."""

from __future__ import annotations

import numpy as np
import pytest

from polytrainer.executors.test_results.readings import Reading

pytestmark = pytest.mark.unit
LOGITS = np.array([[0.0, 2.0, -1.0], [800.0, 1.0, -800.0]], np.float32)


def rows(value):
    return [np.asarray(row).tolist() for row in value]


def test_scores_of_classes_become_probabilities_however_large_they_are():
    found = Reading("multiclass", "softmax").of({"outputs": LOGITS})
    powers = np.exp([0.0, 2.0, -1.0])
    assert found["prediction"][0] == pytest.approx(powers / powers.sum(), abs=1e-7)
    assert rows(found["prediction"][1:]) == [[1, 0, 0]]
    assert rows(found["predicted_class"]) == [1, 0]
    assert found["prediction"].dtype == np.float32
    assert set(found) == {"prediction", "predicted_class"}


def test_one_score_is_the_second_of_two_classes():
    found = Reading("multilabel", "sigmoid", class_names=[b"no", b"yes"]).of({"outputs": LOGITS[:, :1]})
    assert rows(found["prediction"]) == [[0.5], [1.0]]
    assert rows(found["predicted_class"]) == [[0], [1]]
    assert found["predicted_class_name"] == [[b"no"], [b"yes"]]
    flat = Reading("multilabel", "sigmoid").of({"outputs": LOGITS[:, 0]})
    assert rows(flat["prediction"]) == [[0.5], [1.0]]


def test_a_small_probability_does_not_become_nothing():
    found = Reading("multilabel", "sigmoid").of({"outputs": np.array([[-60.0]])})
    assert found["prediction"][0, 0] == pytest.approx(np.exp(-60), rel=1e-6)


def test_of_several_labels_those_that_are_likely_are_the_classes():
    found = Reading("multilabel", "sigmoid", class_names=[b"a", b"b", b"c"]).of({"outputs": LOGITS})
    assert rows(found["predicted_class"]) == [[1], [0, 1]]
    assert found["predicted_class_name"] == [[b"b"], [b"a", b"b"]]
    none = Reading("multilabel", "sigmoid").of({"outputs": -np.abs(LOGITS) - 1})
    assert rows(none["predicted_class"]) == [[], []]
    assert none["predicted_class"][0].dtype == np.int64


def test_names_that_are_not_as_many_as_the_classes_are_passed_over():
    assert "predicted_class_name" not in Reading("multiclass", class_names=[b"a", b"b"]).of({"outputs": LOGITS})


def test_classes_at_each_position_come_second_in_pytorch_and_last_in_keras():
    scores = np.stack([LOGITS, LOGITS[:, ::-1]], axis=1)  # [batch, position, class]
    keras = Reading("multiclass", "softmax", axis=-1).of({"outputs": scores})
    torch = Reading("multiclass", "softmax", axis=1).of({"outputs": scores.swapaxes(1, 2)})
    assert rows(keras["predicted_class"]) == rows(torch["predicted_class"]) == [[1, 1], [0, 2]]
    assert keras["prediction"].swapaxes(1, 2) == pytest.approx(torch["prediction"])


def test_numbers_stay_numbers_and_several_outputs_keep_their_names():
    assert rows(Reading().of({"outputs": LOGITS})["prediction"]) == LOGITS.tolist()
    found = Reading("multiclass", "softmax").of({"price": LOGITS[:, 0], "rank": LOGITS})
    assert set(found) == {"prediction_price", "prediction_rank"}
    assert set(Reading().of({"hidden": LOGITS, "logits": LOGITS})) == {"prediction"}
