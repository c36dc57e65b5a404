"""comparison.html: what is on it of each task, and what comes of one that cannot be drawn."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import browser
import numpy as np
import pytest
from absl import logging
from comparisons import comparison_in, rows_of
from pages import HOSTILE

pytestmark = pytest.mark.line
FEW_DRAWS = {"bootstrap_samples": 200}


@pytest.fixture
def random():
    return np.random.RandomState(0)


def html(comparing):
    return Path(comparing.comparison.uri, "comparison.html").read_text()


def text_of(html):
    """What a reader reads, without style and drawings."""
    found = re.sub(r"<(style|svg).*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", found)))


def headings(html):
    return re.findall(r"<h2>(.*?)</h2>", html)


def captions(html):
    return [unescape(each) for each in re.findall(r"<figcaption>(.*?)</figcaption>", html)]


def scores_of(random, labels, sure):
    """Probabilities of three classes, the more right the surer."""
    scores = random.rand(len(labels), 3)
    scores[np.arange(len(labels)), labels] += sure
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A comparison of three classes, with slices, thresholds, a baseline and a broken candidate; words are hostile."""
    comparing, random = comparison_in(tmp_path_factory.mktemp("classes")), np.random.RandomState(0)
    labels = random.randint(0, 3, 240)
    more = {
        "city": [[b"Oslo", HOSTILE.encode()][number % 2] for number in range(240)],
        "predicted_class": labels,  # only where a class has its name from
        "predicted_class_name": [[b"low", b"mid", HOSTILE.encode()][label] for label in labels],
    }
    for name, sure in (("keras", 0.3), ("torch", 0.7), ("baseline", 0.3)):
        comparing.give(name, rows_of(scores_of(random, labels, sure), labels, **more))
        model = comparing.inputs[f"model_{name}" if name != "baseline" else "baseline_model"][0]
        model.set_string_custom_property("argument.hidden", "16")
        model.set_string_custom_property("argument.loss", f"{HOSTILE} of {name}")
        if name == "torch":
            model.set_string_custom_property("hyperparameter.rate", "0.25")
            model.set_string_custom_property("base_model", "somewhere/serving_model_dir")
    broken = scores_of(random, labels, 1.0)
    broken[3] = np.nan
    comparing.give("broken", rows_of(broken, labels, **more))
    comparing.found = comparing.run(
        task="MULTICLASS",
        key_features=["number"],
        slices=[{"features": ["city"]}],
        thresholds=[
            {"metric": "accuracy", "lower": 0.7},
            {"metric": "log_loss", "upper": 2, "slice_features": ["city"]},
        ],
        **FEW_DRAWS,
    )
    return comparing


def test_it_shows_base_models_tuned_values_and_the_arguments_that_differ(classes):
    said = text_of(html(classes)).rpartition("How they were trained")[2].partition("Where things are")[0]
    for expected in ("base model", "somewhere/serving_model_dir", "tuned: rate", "0.25", "loss", f"{HOSTILE} of keras"):
        assert expected in said, said
    assert "hidden" not in said  # the same in all of them
    models = classes.found["models"]
    assert (models["torch"]["base_model"], models["keras"]["base_model"]) == ("somewhere/serving_model_dir", None)
    assert models["torch"]["hyperparameters"] == {"rate": "0.25"}
    assert models["torch"]["arguments"] == {"hidden": "16", "loss": f"{HOSTILE} of torch"}


def test_classes_with_slices_thresholds_a_baseline_and_a_broken_candidate(classes):
    comparing, found = classes, classes.found
    assert found["best"] == "torch"
    page = html(comparing)
    said = text_of(page)
    assert "could not be made" not in page
    assert headings(page) == [
        "torch is the best of 3 candidates, and is blessed", "Candidates", "Results", "Differences", "Slices",
        "Classes", "Predictions", "What was compared", "How they were trained", "Where things are", "Configuration",
    ]  # fmt: skip
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;") > 5  # as class and as slice
    for name in ("keras", "torch", "broken"):
        assert name in said
    accuracy = found["candidates"]["torch"]["metrics"]["accuracy"]
    for expected in (
        "Asked for: to be better than the baseline by more than chance, by accuracy; and to hold all thresholds.",
        f"{accuracy['trained']:.4g} accuracy of torch",
        f"{accuracy['trained'] - accuracy['existing']:+.4g} gain over the baseline",
        "1 of 240 predictions are not finite numbers",
        "kept out",
        "not good enough",
        "Held: 5 of 6.",
        "≤ 2",
        "accuracy (decides)",
        "log_loss, less is better",
        "torch against the other candidates",
        "better, p < 0.0001",
        "number",
        "200 draws",
        "Figures are of all 240 rows.",
        found["models"]["torch"]["uri"],
        found["models"]["baseline"]["test_results"],
        "tensorflow-model-analysis",
        '[{"features": ["city"]}]',
    ):
        assert expected in said, expected
    low, high = found["candidates"]["torch"]["existing_intervals"]["accuracy"]
    assert f"{low:.4g} to {high:.4g}" in said
    assert captions(page) == [
        "ROC curve, mean of 3 classes against the rest (area)",
        "Precision and recall, mean of 3 classes against the rest (average precision)",
        "Calibration",
    ]


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1200, False)])
def test_it_fits_and_can_be_read(classes, width, dark):
    browser.check_readable(
        Path(classes.comparison.uri, "comparison.html"), title="Comparison of models", figures=3, width=width, dark=dark
    )


def test_it_asks_for_nothing_and_prints(classes, tmp_path):
    file, pdf = Path(classes.comparison.uri, "comparison.html"), tmp_path / "page.pdf"
    _, console = browser.run(file, f"--print-to-pdf={pdf}", dark=True)
    assert console == []  # what the page's policy forbids, as anything from elsewhere, would be said here
    assert pdf.read_bytes().startswith(b"%PDF-")
    assert not re.search(r"""(src|href)=["'](?!#|data:)|@import|url\((?!#)""", file.read_text())


def test_two_classes_without_a_baseline(comparing, random):
    labels = random.randint(0, 2, 300)
    for name, noise in (("one", 0.8), ("two", 1.5)):
        told = 1 / (1 + np.exp(-(labels * 2 - 1 + random.randn(300) * noise) * 2))
        comparing.give(name, rows_of(told.astype(np.float32), labels))
    found = comparing.run(task="BINARY", **FEW_DRAWS)
    page = html(comparing)
    said = text_of(page)
    assert "could not be made" not in page
    assert {"Slices"}.isdisjoint(headings(page))
    assert "one against the other candidates" in said
    assert "Candidates against the baseline" not in said
    assert "There is no baseline to beat" in said
    matrix = found["candidates"]["one"]["confusion_matrix"]["trained"]
    [first, second] = [" ".join(f"{count:.0f}" for count in row) for row in matrix]
    assert f"true ↓ predicted → 0 1 0 {first} 1 {second}" in said
    area = found["candidates"]["one"]["metrics"]["auc"]["trained"]
    assert float(re.search(r"ROC curve \(area\) one \((.*?)\)", said)[1]) == pytest.approx(area, abs=2e-3)
    [both, first, second, neither] = map(int, re.search(r"one, two (\d+) (\d+) (\d+) (\d+)", said).groups())
    assert both + first == round(found["candidates"]["one"]["metrics"]["accuracy"]["trained"] * 300)
    assert both + first + second + neither == 300


def test_values_by_a_sample_of_the_rows(comparing, random, monkeypatch):
    from polytrainer.executors.comparison.page import rows

    monkeypatch.setattr(rows, "MOST_ROWS", 100)
    labels = random.randn(400).astype(np.float32)
    for name, noise in (("one", 0.2), ("baseline", 0.5)):
        comparing.give(name, rows_of(labels + (random.randn(400) * noise).astype(np.float32), labels))
    comparing.run(task="REGRESSION", **FEW_DRAWS)
    page = html(comparing)
    said = text_of(page)
    assert "could not be made" not in page
    count = int(re.search(r"Figures are of (\d+) of 400 rows, a random sample, the same for all models.", said)[1])
    assert 60 <= count <= 140
    assert captions(page) == [
        "How residuals are spread", "Errors: the higher, the better", "Predicted against actual: one",
        "Predicted against actual: baseline", "Residuals: one", "Residuals: baseline",
    ]  # fmt: skip
    assert "Classes" not in headings(page)


def document(task, matrices, values=None, **more):
    """What comparison.json is of candidates without a baseline: their confusion matrices or values of a metric."""
    from polytrainer.executors.comparison.statistics import UNCLEAR

    values = values or dict.fromkeys(matrices, 0.5)
    unclear = {"accuracy": {"interval": [-0.1, 0.1], "verdict": UNCLEAR}}
    candidates = {
        name: {
            "blessable": True,
            "reasons": [],
            "notes": [],
            "thresholds": [],
            "rows": 100,
            "metrics": {"accuracy": {"trained": value, "existing": None}},
            "intervals": {"accuracy": None if value is None else [value - 0.1, value + 0.1]},
            "existing_intervals": None,
            "against": {other: unclear for other in values if other != name},
            "slices": [],
            **({"confusion_matrix": {"trained": matrices[name], "existing": None}} if name in matrices else {}),
        }
        for name, value in values.items()
    }
    models = {name: {"uri": "", "id": 1, "test_results": ""} for name in values}
    told = {"best": next(iter(values)), "blessed": True, "reasons": [], "task": task, "primary_metric": "accuracy"}
    told |= {"confidence": 0.95, "confidence_of_differences": 0.95, "class_names": {}, "rows": 100, "rule": "BETTER"}
    return {**told, "models": models, "candidates": candidates, **more}


def test_several_labels_have_a_row_each():
    from polytrainer.executors.comparison.page.classes import classes
    from polytrainer.executors.comparison.page.found import Found

    matrices = {"one": [[[50, 0], [0, 50]], [[60, 20], [10, 10]]], "two": [[[50, 0], [25, 25]], [[80, 0], [0, 20]]]}
    [table] = classes(Found(document("MULTILABEL", matrices)))
    rows = [[row[0], row[1], *((cell.value, cell.best) for cell in row[2:])] for row in table.rows]
    assert rows == [
        ["1", 20, (pytest.approx(0.4), False), (1.0, True)],
        ["0", 50, (1.0, True), (pytest.approx(2 / 3), False)],
    ]
    assert table.rows[0][2].note == "precision 0.3333, recall 0.5"


def test_of_many_classes_the_rare_ones_are_one():
    from polytrainer.executors.comparison.page.classes import classes
    from polytrainer.executors.comparison.page.found import Found

    matrix = np.diag(np.arange(1, 31)) + np.ones((30, 30), int)
    [matrices, per_class] = classes(Found(document("MULTICLASS", {"one": matrix.tolist()})))
    [table] = matrices.tables
    assert list(table.header[1:]) == [*(str(number) for number in range(19, 30)), "others"]
    assert sum(cell.value for row in table.rows for cell in row[1:]) == matrix.sum()
    assert table.rows[-1][-1].value == matrix[:19, :19].sum()
    assert not table.rows[-1][-1].right
    assert "The 11 most common of 30 classes" in matrices.note
    assert len(per_class.rows) == 30


def test_models_come_by_the_metric_that_decides_and_six_of_them_have_colours():
    from polytrainer.executors.comparison.page.found import Found
    from polytrainer.executors.comparison.page.metrics import differences, results

    values = {"best": 0.9, "undefined": None, **{f"c{number}": number / 10 for number in range(7)}}
    found = Found(document("BINARY", {}, values))
    assert found.models == ["best", *(f"c{number}" for number in range(6, -1, -1)), "undefined"]
    assert list(found.drawn) == ["best", "c6", "c5", "c4", "c3", "c2"]
    table, intervals = results(found)
    assert [cell.best for cell in table.rows[0][1:]] == [True, *[False] * 8]
    [of_accuracy] = intervals.tables
    assert of_accuracy.rows[-1][-1].places == ""  # nothing to draw
    [_, gains] = differences(found)
    assert [row[0] for row in gains.tables[0].rows] == found.models[1:]


def test_a_page_that_cannot_be_drawn_fails_nothing(comparing, caplog, monkeypatch):
    from polytrainer.executors.comparison.page.write import FILE, write_page
    from polytrainer.executors.report import effort

    assert write_page(comparing.comparison, {"best": "nobody"}, [], None, None, {}) is None
    assert f"{FILE} could not be written; the comparison is not concerned." in caplog.text
    monkeypatch.setattr(effort, "find_spec", lambda name: None if name == "jinja2" else True)
    effort._announce.cache_clear()
    with caplog.at_level("WARNING", logger=logging.get_absl_logger().name):
        assert write_page(comparing.comparison, {}, [], None, None, {}) is None
    assert f"{FILE} is left out for want of jinja2: pip install polytrainer[report]" in caplog.text
    assert not Path(comparing.comparison.uri, FILE).exists()
