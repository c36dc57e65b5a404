"""Raw values beside those that Transform made of them, for the rows that a page shows one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pages import ended

from polytrainer.executors.report import examples
from polytrainer.executors.report.outcomes import parsed
from polytrainer.executors.report.page import Cards
from polytrainer.executors.report.raw_rows import RawSplit
from polytrainer.executors.report.write import page

STATE = {"timings": {"training": 6.0}}


@pytest.fixture(scope="module")
def raw_split(transform, tmp_path_factory):
    """The raw examples of the transformed ones, each twice, as files and their transform graph."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("raw") / "Split-test"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for each in [*transform.raw, *transform.raw]:
            writer.write(each)
    return RawSplit([f"{folder}/*"], str(transform.graph))


def with_results(row, **added):
    """A transformed row as test results have it."""
    import tensorflow as tf

    example = tf.train.Example.FromString(row)
    for name, value in {"label": 1, "predicted_class": 0, **added}.items():
        example.features.feature[name].int64_list.value.append(value)
    example.features.feature["prediction"].float_list.value.append(0.25)
    return example.SerializeToString()


def test_the_raw_example_of_each_row_is_found_by_what_the_graph_makes_of_it(transform, raw_split):
    import tensorflow as tf

    rows = [with_results(row) for row in reversed(transform.transformed)]
    unknown = tf.train.Example.FromString(rows[0])
    unknown.features.feature["size_xf"].float_list.value[0] = 77.0
    found = raw_split.of_rows([*rows, unknown.SerializeToString()], "label")
    assert found == [*(parsed(row) for row in reversed(transform.raw)), None]


def test_what_cannot_be_found_is_left_out(transform, raw_split):
    nowhere = replace(raw_split, transform_graph_path="/nowhere")
    assert nowhere.of_rows([with_results(transform.transformed[0])], "label") == [None]
    assert replace(raw_split, patterns=[]).of_rows([with_results(transform.transformed[0])], "label") == [None]


def test_the_worst_errors_of_a_page_show_them(transform, raw_split, tmp_path):
    run = ended(tmp_path, state=STATE, rows={"test": [with_results(row) for row in transform.transformed]})
    [tests] = [each for each in page(replace(run, raw_splits={"test": raw_split})).sections if "Test" in each.title]
    [cards] = [block for block in tests.blocks if isinstance(block, Cards)]
    pairs = [dict(card.pairs) for card in cards.cards]
    assert {"size_xf", "size (raw)", "color (raw)", "kind (raw)"} <= set(pairs[0])
    assert {each["size (raw)"] for each in pairs if "size (raw)" in each} >= {"9", "8", "7.5"}


def test_a_raw_value_of_the_same_name_is_beside_the_transformed_one():
    pairs = examples._pairs({"x": [-0.5], "y": [1], "label": [1]}, "label", {"x": [37.5], "name": [b"Ada"]})
    assert pairs == [("name (raw)", "Ada"), ("x", "-0.5 (raw: 37.5)"), ("y", "1")]
