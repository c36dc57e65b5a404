"""`fit` on tables in memory: the same training as on the files that hold the same examples, and `predict`."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import polytrainer
from polytrainer import TorchTrainer
from polytrainer.executors.backends import local_fit
from polytrainer.executors.backends.fit_result import base_model_path
from polytrainer.executors.data.errors import DataError
from polytrainer.executors.errors import PreflightError

pytestmark = pytest.mark.line
OPTIONS = {"seed": 1, "num_epochs": 1, "batch_size": 16}


class Mine(TorchTrainer):
    def model_fn(self):
        class Network(nn.Linear):
            def forward(self, x):
                return super().forward(x)

        return Network(2, 2)


def trainer(**options):
    return Mine("label", metrics=["accuracy"], learning_rate=0.05, **options)


def arrays_of(pattern):
    import tensorflow as tf

    from polytrainer.executors.data.dataset import epoch
    from polytrainer.executors.data.files import data_files

    spec = {"x": tf.io.FixedLenFeature([2], tf.float32), "label": tf.io.FixedLenFeature([1], tf.int64)}
    [batch] = epoch(data_files([pattern]), spec, 1000)
    return {"x": batch["x"].numpy(), "label": batch["label"].numpy()[:, 0]}


def as_dataframe(arrays):
    return pd.DataFrame({"x": list(arrays["x"]), "label": arrays["label"]})


class Pairs(Dataset):
    def __init__(self, arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays["label"])

    def __getitem__(self, position):
        return {"x": torch.from_numpy(self.arrays["x"][position])}, self.arrays["label"][position]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.fixture(scope="module")
def on_files(small, tmp_path_factory):
    """A training on files: what it wrote, and its data as arrays."""
    folder = tmp_path_factory.mktemp("on_files")
    result = trainer().fit(small.train, small.eval, schema=small.schema, output_dir=str(folder), **OPTIONS)
    return SimpleNamespace(
        result=result, folder=folder, train=arrays_of(small.train), eval=arrays_of(small.eval), small=small
    )


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(Path(folder) / "model" / "Format-Torch" / "model.safetensors")


@pytest.mark.parametrize(
    ("train_kind", "eval_kind"),
    [(as_dataframe, dict), (lambda arrays: DataLoader(Pairs(arrays), 7, shuffle=True), Pairs)],
)
def test_a_table_is_learned_like_the_files_of_its_examples(on_files, tmp_path, train_kind, eval_kind):
    train, evaluated = train_kind(on_files.train), eval_kind(on_files.eval)
    result = trainer().fit(train, evaluated, output_dir=str(tmp_path), **OPTIONS)
    assert result.metrics == on_files.result.metrics
    expected, found = weights(on_files.folder), weights(tmp_path)
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in expected.items()
    }
    assert (tmp_path / "test_results").exists()


def test_eval_tables_may_be_given_by_split_beside_files(on_files):
    small = on_files.small
    evaluated = {"eval": as_dataframe(on_files.eval), "other": small.other}
    result = trainer().fit(on_files.train, evaluated, **OPTIONS)
    assert {"eval.accuracy", "other.accuracy"} <= set(result.metrics)


def test_the_same_content_goes_on_where_it_was_and_other_content_does_not(on_files, tmp_path):
    def checkpoint_dir(arrays):
        args = local_fit.run_args(trainer(), as_dataframe(arrays), on_files.eval, output_dir=str(tmp_path), **OPTIONS)
        return args.checkpoint_dir

    first = checkpoint_dir(on_files.train)
    assert checkpoint_dir({**on_files.train}) == first
    assert checkpoint_dir({**on_files.train, "x": on_files.train["x"] + 1}) != first


def test_tables_of_earlier_trainings_do_not_pile_up(on_files, tmp_path):
    for shift in (0, 1):
        table = {**on_files.train, "x": on_files.train["x"] + shift}
        trainer().fit(table, output_dir=str(tmp_path), seed=1, num_steps=1)
    assert len(list((tmp_path / ".data").iterdir())) == 1


def test_missing_cells_are_refused_before_training_or_have_a_default(on_files):
    class Numbers(TorchTrainer):
        def model_fn(self):
            features = polytrainer.Features.from_schema(self.schema, exclude=["label"], numeric=["age"])
            return nn.Sequential(features, nn.Linear(features.out_features, 2))

    ages = [20, None] * 8
    table = pd.DataFrame({"age": pd.array(ages, "Int64"), "height": [1.5, np.nan] * 8, "label": [0, 1] * 8})
    with pytest.raises(
        (PreflightError, DataError),
        match=r"feature 'age' in record 1 of .*train-.*tfrecord: got no value; .*needs defaults=",
    ):
        Numbers("label").fit(table, num_steps=1)
    result = Numbers("label", defaults={"age": 0, "height": 1.7}).fit(table, table, seed=1, num_steps=1)
    said = result.predict(table)["outputs"]
    filled = table.assign(age=table.age.fillna(0), height=table.height.fillna(1.7))
    np.testing.assert_array_equal(said, result.predict(filled)["outputs"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            pd.DataFrame({"x": [1.0], "when": pd.to_datetime(["2026-01-01"])}),
            "column 'when' of train_files: got values",
        ),
        (np.zeros((3, 2)), r"train_files: got a numpy.ndarray; .*a map-style torch Dataset.*\{'x': array\}"),
        (
            TensorDataset(torch.zeros(3, 2), torch.zeros(3)),
            r"item 0 of train_files: got \(Tensor, Tensor\); .*A Tensor",
        ),
        (DataLoader(Pairs({"label": [1]}), collate_fn=list), "a DataLoader with a collate_fn of its own"),
        (Stream(), "a Stream; expected a map-style Dataset"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_what_can(data, message):
    with pytest.raises(PreflightError, match=message):
        trainer().fit(data, num_steps=1)


def test_predictions_are_those_of_the_published_model_in_the_order_of_the_rows(on_files):
    small, result = on_files.small, on_files.result
    said = result.predict(small.eval)
    assert said["outputs"].shape == (41, 2)
    model = weights(on_files.folder)
    np.testing.assert_allclose(said["outputs"], on_files.eval["x"] @ model["weight"].T + model["bias"], atol=1e-5)
    for data in (on_files.eval, as_dataframe(on_files.eval), {"x": on_files.eval["x"].astype(np.float64)}):
        np.testing.assert_array_equal(result.predict(data)["outputs"], said["outputs"])
    by_path = polytrainer.predict(str(on_files.folder), small.eval)
    np.testing.assert_array_equal(by_path["outputs"], said["outputs"])


def test_a_saved_model_predicts_what_the_program_does(on_files, tmp_path):
    options = {**OPTIONS, "output_dir": str(tmp_path), "export_args": {"formats": ["SAVED_MODEL"]}}
    result = trainer().fit(on_files.train, on_files.eval, **options)
    np.testing.assert_allclose(
        result.predict(on_files.eval)["outputs"], on_files.result.predict(on_files.eval)["outputs"], atol=1e-5
    )


def test_without_an_output_dir_the_model_is_there_as_long_as_the_result(on_files):
    result = trainer().fit(on_files.train, num_steps=1)
    folder = Path(result.output_dir)
    assert {path.name for path in folder.iterdir()} == {"model", "schema.pbtxt"}
    assert len(result.predict(on_files.eval)["outputs"]) == 41
    del result
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere/*", r"data: got \['nowhere/\*'\]; expected at least one file behind it"),
        (3, "data: got a builtins.int; expected paths or patterns"),
        ({"x": np.zeros((0, 2))}, "a table without rows or columns"),
        ({"x": np.array(["a"])}, "column 'x' of data: got values of type bytes; expected float32"),
    ],
)
def test_data_that_nothing_can_be_predicted_for_is_refused(on_files, data, message):
    with pytest.raises(DataError, match=message):
        on_files.result.predict(data)


def test_no_model_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"model: got .*; expected what fit returned, its output_dir"):
        polytrainer.predict(str(tmp_path), {"x": np.zeros((1, 2))})


def test_a_training_starts_from_what_an_earlier_one_wrote(on_files, capsys):
    trainer().fit(on_files.train, base_model=on_files.result, seed=2, num_steps=1)
    assert "2 of 2 weights match" in capsys.readouterr().out


def test_a_base_model_may_be_given_by_its_path(on_files):
    expected = str(on_files.folder / "model" / "Format-Serving")
    for path in (on_files.folder, str(on_files.folder / "model") + "/", expected):
        assert base_model_path(path) == (expected, [])


def test_a_base_model_that_is_not_there_is_refused(on_files, tmp_path):
    with pytest.raises(PreflightError, match=r"base_model: got .*in which there is no model; expected the output_dir"):
        trainer().fit(on_files.train, base_model=tmp_path, num_steps=1)
    with pytest.raises(PreflightError, match="base_model: got a int"):
        trainer().fit(on_files.train, base_model=1, num_steps=1)
