"""Missing values, NaN and infinity: counted, and found by file and record, by the scan and in decoded columns alike."""

from __future__ import annotations

import pytest

NAN, INF = float("nan"), float("inf")
ROWS = [
    [{"x": [1.0], "v": [1.0, 2.0], "words": [b"a"]}, {"x": [2.0], "v": [1.0, NAN], "bag": [1.0, INF]}],
    [{"x": [NAN], "v": [1.0, 2.0]}, {"x": [3.0], "v": [NAN, INF], "bag": [NAN]}, {"x": [INF], "v": [3.0, 4.0]}],
]


@pytest.fixture
def files(tmp_path, splits):
    return [splits.write(tmp_path / f"{number}.gz", rows) for number, rows in enumerate(ROWS)]


def spec(default=None):
    import tensorflow as tf

    return {
        "x": tf.io.FixedLenFeature([1], tf.float32, default),
        "v": tf.io.FixedLenFeature([2], tf.float32),
        "bag": tf.io.VarLenFeature(tf.float32),
        "words": tf.io.VarLenFeature(tf.string),
    }


def places(anomalies, *kinds):
    return {
        (each.feature, each.kind): (each.count, each.file.split("/")[-1], each.record)
        for each in anomalies
        if not kinds or each.kind in kinds
    }


FOUND = {
    ("x", "NaN"): (1, "1.gz", 0),
    ("x", "an infinite value"): (1, "1.gz", 2),
    ("v", "NaN"): (2, "0.gz", 1),
    ("v", "an infinite value"): (1, "1.gz", 1),
    ("bag", "NaN"): (1, "1.gz", 1),
    ("bag", "an infinite value"): (1, "0.gz", 1),
}


@pytest.mark.parametrize("batch", [1, 2, 4096])
def test_nan_and_infinity_are_found_in_dense_and_ragged_features(files, batch, monkeypatch):
    from polytrainer.executors.data import anomalies

    monkeypatch.setattr(anomalies, "BATCH", batch)
    assert places(anomalies.find_anomalies(files, spec()), "NaN", "an infinite value") == FOUND


@pytest.mark.parametrize("kind", ["TFRecords", "Parquet"])
def test_in_decoded_columns_they_are_the_same(kind, files, tmp_path, splits):
    from polytrainer.executors.data.torch_batches import TorchBatches

    if kind == "Parquet":
        names = {"x": float, "v": float, "bag": float, "words": bytes}
        files = [splits.write_parquet(tmp_path / f"{number}.gz", rows, names) for number, rows in enumerate(ROWS)]
    assert places(TorchBatches(files, spec(), batch_size=2).find_anomalies()) == FOUND
    assert TorchBatches(files, spec(), batch_size=2, mode="streaming").find_anomalies() is None


def test_a_default_takes_the_place_of_nan_but_not_of_infinity(files):
    from polytrainer.executors.data.anomalies import find_anomalies

    assert {kind for name, kind in places(find_anomalies(files, spec([0.0]))) if name == "x"} == {"an infinite value"}


def test_missing_values_and_other_numbers_of_values_are_counted(tmp_path, splits):
    from polytrainer.executors.data.anomalies import find_anomalies

    rows = [{"x": [1.0], "v": [1.0]}, {"v": [1.0, 2.0]}, {"words": [b"a"]}]
    found = find_anomalies([splits.write(tmp_path / "a", rows)], spec())
    assert places(found) == {
        ("x", "no value"): (2, "a", 1),
        ("v", "another number of values"): (1, "a", 0),
        ("v", "no value"): (1, "a", 2),
        ("bag", "no value"): (3, "a", 0),
        ("words", "no value"): (2, "a", 0),
    }
    assert {each.feature for each in found if each.is_unparsable} == {"x", "v"}


def test_of_raw_examples_it_counts_what_transform_makes_of_them(files):
    import tensorflow as tf

    from polytrainer.executors.data.anomalies import find_anomalies

    def transform(features):
        imputed = tf.where(tf.math.is_nan(features["x"]), 0.0, features["x"])
        return {"x_xf": imputed, "log": tf.math.log(features["x"] - 2.0), "bag_xf": features["bag"]}

    found = places(find_anomalies(files, spec(), transform), "NaN", "an infinite value")
    assert set(found) == {
        ("x_xf", "an infinite value"), ("log", "NaN"), ("log", "an infinite value"),
        ("bag_xf", "NaN"), ("bag_xf", "an infinite value"),
    }  # fmt: skip
    assert found["log", "NaN"] == (2, "0.gz", 0)


def test_a_split_beyond_the_budget_is_read_by_its_first_files(files, monkeypatch):
    from polytrainer.executors.data import anomalies

    monkeypatch.setattr(anomalies, "READ_BYTES", 1)
    assert {file for _, file, _ in places(anomalies.find_anomalies(files, spec())).values()} == {"0.gz"}
