"""report.html as it is written: whatever there is, and whatever is missing or wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from absl import logging
from pages import CURVES, HOSTILE, classes, ended, row, values

from polytrainer.executors.report import effort, write
from polytrainer.executors.report.split_counts import split_counts
from polytrainer.executors.report.write import page, write_report
from polytrainer.proto.trainer_pb2 import TrainArgs

STATE = {
    "seed": 7,
    "total_steps": 30,
    "num_examples": 320,
    "batch_size": 32,
    "arguments": {"hidden": "16"},
    "versions": {"tfx": "1.15.1"},
    "timings": {"training": 6.0, "evaluation": 2.0},
}


def sections(run):
    return {section.title: section.blocks for section in page(run).sections if section.blocks}


def test_all_parts_of_a_training_are_there(tmp_path):
    metrics = {"loss": 0.4, "accuracy": 0.8, "test.loss": 0.5, "test.accuracy": 0.75}
    rows = {"test": classes(80, 3, city=b"Rome")}
    run = ended(tmp_path, state=STATE, csv=CURVES, rows=rows, metrics=metrics, steps=30, best_step=20)
    found = sections(run)
    assert list(found) == [
        "What ran", "Metrics", "Learning curves", "Test results: test", "Timing", "Configuration", "Where things are",
    ]  # fmt: skip
    [table] = found["Metrics"]
    assert (list(table.header), [list(each) for each in table.rows]) == (
        ["metric", "evaluation", "test"],
        [["loss", 0.4, 0.5], ["accuracy", 0.8, 0.75]],
    )
    assert "step 20" in table.note
    [timing] = found["Timing"]
    assert [(each[0], getattr(each[1], "value", each[1]), each[2]) for each in timing.rows] == [
        ("training", 6.0, "48%"), ("evaluation", 2.0, "16%"), ("the rest", 4.5, "36%"), ("all", 12.5, "100%"),
    ]  # fmt: skip
    path = write_report(run)
    html = (tmp_path / "model_run" / "report.html").read_text()
    assert path == str(tmp_path / "model_run" / "report.html")
    assert html.count("<figure>") == 5
    for said in ("num_steps", "hidden", "1.15.1", "Confusion matrix", "Worst errors", "80 rows."):
        assert said in html


def test_a_plain_run_fn_has_a_smaller_page(tmp_path):
    run = ended(tmp_path, metrics={"accuracy": math.nan})
    assert list(sections(run)) == ["What ran", "Metrics", "Timing", "Configuration", "Where things are"]
    assert "NaN" in page(run).html()
    assert "<figure>" not in page(run).html()


def test_metrics_csv_may_be_empty_and_there_may_be_no_metrics(tmp_path):
    run = ended(tmp_path, csv="", state=STATE)
    assert {"Metrics", "Learning curves"}.isdisjoint(sections(run))


def test_test_results_without_a_known_label_say_so(tmp_path):
    run = ended(tmp_path, rows={"test": classes(5, 2), "unlabelled": []})
    [text] = sections(run)["Test results: test"]
    assert text.text == "5 rows. Nothing says which feature is the label."
    [text] = sections(run)["Test results: unlabelled"]
    assert text.text == "0 rows. There is no row."


def test_rows_that_are_left_out_and_weights_are_told(tmp_path):
    rows = [row(1.0, 0.5, example_weight=2.0), row(1.0, math.nan)]
    [text, *_] = sections(ended(tmp_path, state=STATE, rows={"test": rows}))["Test results: test"]
    assert text.text == (
        "2 rows. 1 of them, without a label or without a finite prediction, are left out. "
        "Each row counts once, whatever its weight."
    )


def test_a_sample_is_said_to_be_one(tmp_path, monkeypatch):
    from polytrainer.executors.report import sample

    monkeypatch.setattr(sample.sample, "__defaults__", (30, sample.MOST_BYTES))
    [text, *_] = sections(ended(tmp_path, state=STATE, rows={"test": values(100)}))["Test results: test"]
    assert text.text == "100 rows. All figures here are of 30 of them, a random sample."


def test_data_is_text_on_the_page_wherever_it_comes_from(tmp_path):
    hostile = HOSTILE.encode()
    names = {"predicted_class_name": hostile, "city": hostile, HOSTILE: 1}
    state = {**STATE, "arguments": {HOSTILE: HOSTILE}, "versions": {HOSTILE: HOSTILE}, "timings": {HOSTILE: 1}}
    run = ended(
        tmp_path,
        state=state,
        csv=CURVES.replace("accuracy", '"' + HOSTILE.replace('"', '""') + '"'),
        rows={"test": [*classes(60, 3, **names), *classes(60, 3, city=b"Rome")]},
        metrics={HOSTILE: 1.0},
        custom_config={HOSTILE: HOSTILE},
        framework=(HOSTILE, HOSTILE),
        code=(HOSTILE, HOSTILE),
        names={"pipeline": HOSTILE},
        inputs={HOSTILE: [HOSTILE]},
    )
    html = page(run).html()
    assert "could not be made" not in html
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") > 20


def test_a_state_that_cannot_be_read_costs_its_part_only(tmp_path):
    found = sections(ended(tmp_path, state="{not json", csv=CURVES))
    assert "trainer_state.json could not be read" in found["Trainer state"][0].text
    assert {"Learning curves", "Where things are"} <= set(found)


def test_a_part_that_fails_says_so_and_leaves_the_others(tmp_path):
    state = {**STATE, "timings": {"training": "long"}}
    found = sections(ended(tmp_path, state=state, csv=CURVES))
    assert found["Timing"][0].text.startswith("This part could not be made: ValueError")
    assert "Learning curves" in found


def test_what_goes_wrong_fails_nothing(tmp_path, monkeypatch, caplog):
    run = ended(tmp_path, state=STATE)
    monkeypatch.setattr(write, "page", lambda run: 1 / 0)
    assert write_report(run) is None
    assert "could not be written" in caplog.text
    assert not (tmp_path / "model_run" / "report.html").exists()


def test_the_extra_that_is_missing_is_named_once_on_the_screen_and_in_the_log(tmp_path, monkeypatch, caplog, capsys):
    run = ended(tmp_path, state=STATE)
    monkeypatch.setattr(effort, "find_spec", lambda name: None if name == "matplotlib" else True)
    effort._announce.cache_clear()
    with caplog.at_level("WARNING", logger=logging.get_absl_logger().name):
        assert write_report(run) is None
        assert write_report(run) is None
    said = "report.html is left out for want of matplotlib: pip install polytrainer[report]"
    assert caplog.text.count(said) == 1
    assert capsys.readouterr().out.splitlines() == [said]


def test_the_examples_of_every_split_are_counted(tmp_path):
    import tensorflow as tf

    told = ended(tmp_path, state=STATE).told

    def split(name, count):
        folder = tmp_path / "examples" / f"Split-{name}"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "data.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for _ in range(count):
                writer.write(b"")
        return [f"{folder}/*"]

    (tmp_path / "rows.csv").write_text("x,y\n" * 100)
    args = {"eval_files": [], "eval_split_files": {"eval": split("eval", 5)}, "test_files": {"test": split("test", 4)}}
    one = replace(told, train_files=split("train", 12), **args)
    assert split_counts(one, {}) == [("train", "training", 12), ("eval", "evaluation", 5), ("test", "test", 4)]
    assert split_counts(one, {"num_examples": 11})[0] == ("train", "training", 11)  # what the trainer has counted
    splits = TrainArgs(splits=["train", "more", "other"])
    several = replace(one, train_files=[*one.train_files, *split("more", 3)], train_args=splits)
    several = replace(several, num_examples={"eval": 50}, test_files={"test": [f"{tmp_path}/rows.csv"]})
    assert split_counts(several, {"num_examples": 15}) == [
        ("train", "training", 12), ("more", "training", 3), ("other", "training", None),
        ("eval", "evaluation", 50), ("test", "test", None),
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [{}, None, {"training": 100.0}])
def test_timings_need_not_be_known_nor_fit(tmp_path, seconds):
    [table] = sections(ended(tmp_path, state={**STATE, "timings": seconds}))["Timing"]
    assert [each[0] for each in table.rows] == (["training", "the rest", "all"] if seconds else ["all"])
    assert json.dumps([getattr(each[1], "value", each[1]) for each in table.rows])
