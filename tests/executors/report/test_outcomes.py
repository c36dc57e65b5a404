"""What a page says of test results: its numbers are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from pages import classes, row, values
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from polytrainer.executors.report import (
    against_rest,
    calibration,
    class_tables,
    classification,
    examples,
    outcomes,
    regression,
)
from polytrainer.executors.report.outcomes import NoFiguresError
from polytrainer.executors.report.page import Heat, Table
from polytrainer.executors.report.sample import sample
from polytrainer.executors.test_results.shards import shard

pytestmark = pytest.mark.line


def arrays(rows):
    """Labels, scores and classes of rows, as they were written."""
    found = [outcomes.parsed(each) for each in rows]
    return (np.array([each[name] for each in found]) for name in ("label", "prediction", "predicted_class"))


# ---- reading


def test_two_classes_are_binary_whether_there_is_one_score_or_two():
    one = classes(50, 2)
    labels, scores, said = arrays(one)
    two = [row(int(a), np.float32([1 - b, b]), int(c)) for [a], [b], [c] in zip(labels, scores, said, strict=True)]
    for rows in (one, two):
        found = outcomes.read(rows, "label")
        assert found.task == "binary"
        assert np.allclose(found.scores, scores[:, 0], atol=1e-6)
        assert (found.right == (labels == said)[:, 0]).all()
        assert float(found.losses.mean()) == pytest.approx(sk.log_loss(labels[:, 0], scores[:, 0]), rel=1e-5)


def test_a_label_may_be_one_hot_or_several():
    one_hot = [
        row([0, 1, 0], np.float32([0.2, 0.5, 0.3]), 1, predicted_class_name=b"mid"),
        row([0, 0, 1], [0.1, 0.2, 0.7], 2),
    ]
    found = outcomes.read(one_hot, "label")
    assert (found.task, found.labels.tolist(), found.name(1), found.name(2)) == ("multiclass", [1, 2], "mid", "2")
    several = [
        row([0, 1, 1], [0.2, 0.9, 0.8], [1, 2]),
        row([0, 0, 0], [0.1, 0.6, 0.2], [1]),
        row([1, 0, 0], [0.4, 0.1, 0.2], []),
    ]
    found = outcomes.read(several, "label")
    assert found.task == "multilabel"
    assert found.predicted.tolist() == [[0, 1, 1], [0, 1, 0], [0, 0, 0]]
    assert found.right.tolist() == [True, False, False]
    blocks = classification.blocks(found)
    assert [block.title for block in blocks if isinstance(block, Table)] == ["Classes, the least F1 first"]


@pytest.mark.parametrize(
    ("rows", "label", "why"),
    [
        ([], "label", "There is no row"),
        ([(1, 0.5)], None, "Nothing says which feature is the label"),
        ([(1, 0.5)], "other", "No row has a feature 'other'"),
        ([(b"cat", [0.5, 0.5], 1)], "label", "is text"),
        ([(1, np.float32([]))], "label", "No row has a feature 'prediction'"),
        ([(1, [0.1, 0.2]), (1, [0.1])], "label", "from 1 to 2 numbers"),
        ([(1.0, float("nan"))], "label", "No row has a finite prediction"),
        ([(1.0, [0.1, 0.2])], "label", "Predictions of 2 numbers for labels of 1"),
        ([([1, 1], [0.1, 0.2, 0.3, 0.4], [0, 1])], "label", "Predictions of 4 numbers for labels of 2"),
    ],
)
def test_rows_that_no_figures_are_for(rows, label, why):
    with pytest.raises(NoFiguresError, match=why):
        outcomes.read([row(*each) for each in rows], label)


def test_rows_without_a_finite_prediction_are_left_out():
    rows = classes(20, 3)
    rows[4] = row(1, np.float32([0.2, float("nan"), 0.2]), 0)
    found = outcomes.read(rows, "label")
    assert found.places.tolist() == [place for place in range(20) if place != 4]


# ---- a sample


def write(folder, rows):
    with shard(str(folder), "test") as write_one:
        for each in rows:
            write_one(each)
    return str(folder)


def test_few_rows_are_all_there_in_their_order(tmp_path):
    rows = [b"%d" % number for number in range(2500)]
    found = sample(write(tmp_path, rows), "test")
    assert (found.rows, found.count, found.is_whole) == (rows, 2500, True)
    assert sample(str(tmp_path), "other").count == 0


def test_of_many_rows_a_sample_is_the_same_each_time_and_of_all_parts_alike(tmp_path):
    rows = [b"%05d" % number for number in range(20_000)]
    folder = write(tmp_path, rows)
    found = sample(folder, "test", most_rows=1000)
    assert found == sample(folder, "test", most_rows=1000)
    assert (len(found.rows), found.count, found.is_whole) == (1000, 20_000, False)
    assert found.rows == sorted(set(found.rows))
    parts = np.histogram([int(each) for each in found.rows], 10, (0, 20_000))[0]
    assert abs(parts - 100).max() < 45  # over four standard deviations
    assert sum(map(len, sample(folder, "test", most_bytes=500).rows)) <= 500


# ---- classification


@pytest.mark.parametrize("width", [2, 4])
def test_metrics_are_those_of_scikit_learn(width):
    rows = classes(400, width)
    labels, scores, said = arrays(rows)
    found = classification.metrics(outcomes.read(rows, "label"))
    labels, said = labels[:, 0], said[:, 0]
    assert found["accuracy"] == sk.accuracy_score(labels, said)
    assert found["log loss"] == pytest.approx(sk.log_loss(labels, scores if width > 2 else scores[:, 0]), rel=1e-5)
    if width == 2:
        assert found["ROC AUC"] == sk.roc_auc_score(labels, scores[:, 0])
        assert found["average precision"] == sk.average_precision_score(labels, scores[:, 0])
        assert found["f1"] == sk.f1_score(labels, said)
    else:
        areas = sk.roc_auc_score(labels, scores / scores.sum(1, keepdims=True), multi_class="ovr")
        assert found["ROC AUC, mean of 4 classes"] == pytest.approx(areas, rel=1e-6)
        assert found["balanced accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, said))
        assert found["F1, mean of the classes"] == sk.f1_score(labels, said, average="macro")


@pytest.mark.parametrize("width", [2, 5])
def test_the_confusion_matrix_is_that_of_scikit_learn(width):
    rows = classes(300, width)
    labels, _, said = arrays(rows)
    table = class_tables.confusion(outcomes.read(rows, "label"))
    matrix = [[cell.value for cell in each[1:]] for each in table.rows]
    assert matrix == sk.confusion_matrix(labels[:, 0], said[:, 0]).tolist()
    assert [cell.right for cell in table.rows[1][1:]] == [number == 1 for number in range(width)]
    assert [each[0] for each in table.rows] == list(table.header[1:]) == [str(number) for number in range(width)]


def test_of_thousands_of_classes_the_most_common_are_shown_and_no_row_is_lost():
    random = np.random.default_rng(1)
    labels = np.minimum(random.zipf(1.4, 1500), 2999)
    rows = []
    for label in labels:
        score = np.zeros(3000, np.float32)
        said = int(label if random.random() < 0.6 else random.integers(3000))
        score[said], score[label] = 0.6, 0.4 if said != label else 0.6
        rows.append(row(int(label), score, said))
    found = outcomes.read(rows, "label")
    table = class_tables.confusion(found)
    assert len(table.rows) == class_tables.MOST_IN_MATRIX
    assert table.rows[0][0] == "1"
    assert table.rows[-1][0] == "others"
    assert sum(cell.value for each in table.rows for cell in each[1:]) == 1500
    assert not table.rows[-1][-1].right  # one of the others may have been taken for another one
    assert "most common of" in table.note
    assert len(class_tables.per_class(found).rows) == against_rest.MOST_CLASSES
    [roc, _] = classification.curves(found)
    assert len(roc.legend) == classification.MOST_CURVES
    assert "most common of" in roc.note


def test_calibration_is_that_of_scikit_learn_with_counts():
    rows = classes(500, 2)
    labels, scores, _ = arrays(rows)
    mean, share, counts = calibration.reliability(outcomes.read(rows, "label"))
    expected_share, expected_mean = calibration_curve(labels[:, 0], scores[:, 0], n_bins=10)
    assert np.allclose(mean, expected_mean, atol=1e-6)
    assert np.allclose(share, expected_share)
    assert counts.sum() == 500
    assert (counts > 0).all()

    rows = classes(500, 4)
    labels, scores, said = arrays(rows)
    mean, share, _ = calibration.reliability(outcomes.read(rows, "label"))
    expected_share, expected_mean = calibration_curve((labels == said)[:, 0], scores.max(1), n_bins=10)
    assert np.allclose(mean, expected_mean, atol=1e-6)
    assert np.allclose(share, expected_share)


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_class_only_have_a_page_without_areas(width, label):
    rows = [each for each in classes(60, width) if outcomes.parsed(each)["label"] == [label]]
    found = outcomes.read(rows, "label")
    assert not any("AUC" in name for name in classification.metrics(found))
    titles = [figure.title for block in classification.blocks(found) for figure in getattr(block, "figures", ())]
    assert titles == ["Calibration"]


def test_scores_that_are_no_probabilities_have_no_calibration():
    rows = [row(number % 2, np.float32([number % 3 - 1.5]), int(number % 3 == 2)) for number in range(30)]
    found = outcomes.read(rows, "label")
    assert "log loss" not in classification.metrics(found)
    titles = [figure.title for block in classification.blocks(found) for figure in getattr(block, "figures", ())]
    assert not any(title == "Calibration" for title in titles)
    assert len(titles) == 2


# ---- regression


def test_metrics_of_a_regression_are_those_of_scikit_learn():
    rows = values(200)
    found = [outcomes.parsed(each) for each in rows]
    true, said = (np.array([each[name] for each in found])[:, 0] for name in ("label", "prediction"))
    told = regression.metrics(outcomes.read(rows, "label"))
    assert told["mean absolute error"] == pytest.approx(sk.mean_absolute_error(true, said))
    assert told["root mean squared error"] == pytest.approx(sk.mean_squared_error(true, said) ** 0.5)
    assert told["R²"] == pytest.approx(sk.r2_score(true, said))
    figures = [
        figure.title
        for block in regression.blocks(outcomes.read(rows, "label"))
        for figure in getattr(block, "figures", ())
    ]
    assert figures == ["Predicted against actual", "Residuals", "How residuals are spread"]


def test_several_values_and_values_that_are_all_the_same():
    blocks = regression.blocks(outcomes.read(values(40, 5), "label"))
    assert [len(block.rows) for block in blocks if isinstance(block, Table)] == [5]
    assert sum(len(getattr(block, "figures", ())) for block in blocks) == 9
    same = outcomes.read([row(2.0, 2.0)] * 5, "label")
    assert regression.metrics(same)["R²"] is None
    assert len(regression.blocks(same)) == 2


# ---- slices and single rows


def test_slices_are_of_features_with_few_values_and_the_worst_is_first():
    rows = []
    for number in range(60):
        right = number % 3 or number % 2
        city = {"city": (b"Rome", b"Oslo", b"Bonn")[number % 3]} if number % 5 else {}
        told = {**city, "id": number, "age": number / 7, "wide": [1, 2], "year": 2007 + number % 2, "all": 1.0}
        rows.append(row(1, np.float32([0.8 if right else 0.3]), int(bool(right)), **told))
    found = outcomes.read(rows, "label")
    table = examples.slices(rows, found, "label")
    assert table.rows[0][:3] == ["all", 60, pytest.approx(found.right.mean())]
    assert {each[0] for each in table.rows[1:]} == {
        "city = Rome", "city = Oslo", "city = Bonn", "city = missing", "year = 2007", "year = 2008",
    }  # fmt: skip
    measures = [each[2] for each in table.rows[1:]]
    assert measures == sorted(measures)
    assert {each[0]: each[2] for each in table.rows}["year = 2008"] == 1.0
    assert examples.slices(classes(20, 2), outcomes.read(classes(20, 2), "label"), "label") is None


def test_the_worst_errors_are_those_with_the_largest_losses():
    rows = classes(100, 3, comment=b"x" * 200, many=list(range(50)), label_stored=b"raw")
    found = outcomes.read(rows, "label")
    cards = examples.worst(rows, found, "label").cards
    losses = np.sort(found.losses[~found.right])[::-1]
    assert [card.title for card in cards] == [f"loss {loss:.4g}" for loss in losses[:10]]
    assert dict(cards[0].pairs)["comment"] == "x" * 80 + "…"
    assert dict(cards[0].pairs)["many"].endswith("11, … (50 values)")
    assert set(dict(cards[0].pairs)) == {"comment", "many"}
    assert cards[0].line.startswith("is ")
    perfect = [row(1, np.float32([0.9]), 1)] * 3
    assert examples.worst(perfect, outcomes.read(perfect, "label"), "label") is None
    assert Heat(1, 1.0).right is False
