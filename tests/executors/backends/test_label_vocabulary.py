"""`label_vocabulary`: a label of words is learned as numbers, and the published model says which is which."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from torch import nn

from polytrainer import EstimatorTrainer, KerasTrainer, TorchTrainer, Vocabulary
from polytrainer.executors.backends import local_fit
from polytrainer.executors.data.table_columns import table_columns
from polytrainer.executors.data.table_examples import table_schema
from polytrainer.executors.errors import PreflightError

pytestmark = pytest.mark.line
WORDS = ["Adélie", "Gentoo", "chinstrap"]  # in the order of their code points
OPTIONS = {"seed": 1, "num_epochs": 30, "batch_size": 10}


class WithTorch(TorchTrainer):
    def model_fn(self):
        class Network(nn.Linear):
            def forward(self, x):
                return super().forward(x)

        return Network(2, len(self.label_words))


class WithKeras(KerasTrainer):
    def model_fn(self):
        import tensorflow as tf

        inputs = {"x": tf.keras.Input((2,), name="x")}
        model = tf.keras.Model(inputs, tf.keras.layers.Dense(len(self.label_words))(inputs["x"]))
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf.keras.optimizers.Adam(0.1), loss, metrics=["accuracy"])
        return model


class WithEstimator(EstimatorTrainer):
    def model_fn(self):
        import tensorflow as tf

        columns = [tf.feature_column.numeric_column("x", shape=(2,))]
        return tf.estimator.LinearClassifier(columns, n_classes=len(self.label_words))


def table(count, seed):
    """Rows of three classes that a line can tell apart."""
    random = np.random.RandomState(seed)
    numbers = np.arange(count) % 3
    x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])[numbers] + random.randn(count, 2) / 10
    return {"x": x, "species": np.array(WORDS)[numbers]}, numbers


TRAIN, EVAL = table(60, 0)[0], table(9, 1)[0]
NUMBERS = table(9, 1)[1]


@pytest.fixture(scope="module")
def torch_fit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch")
    trainer = WithTorch("species", metrics=["accuracy"], learning_rate=0.1, label_vocabulary="auto")
    formats = {"export_args": {"formats": ["SAVED_MODEL"]}}
    return trainer.fit(TRAIN, EVAL, output_dir=str(folder), **OPTIONS, **formats), folder


def published_words(folder):
    return Vocabulary.from_file(str(folder / "model/Format-Serving/assets.extra/label_vocabulary.txt")).words


def state(folder):
    return json.loads((folder / "model_run" / "trainer_state.json").read_text())


def learned_labels(result, data=EVAL):
    """The label as `transform_features` gives it to an Evaluator."""
    import tensorflow as tf

    model = tf.saved_model.load(result.model_dir)
    examples = list(result.served_model._examples(data))
    return model.signatures["transform_features"](examples=tf.constant(examples))["species"].numpy().reshape(-1)


def test_torch_learns_the_words_of_the_training_split_and_serves_them(torch_fit):
    result, _ = torch_fit
    assert result.metrics["accuracy"] == 1.0
    said = result.predict({"x": EVAL["x"]})
    assert [word.decode() for word in said["classes"][:, 0]] == EVAL["species"].tolist()
    assert learned_labels(result).tolist() == NUMBERS.tolist()
    assert set(learned_labels(result, {"x": EVAL["x"]})) == {-1}


def test_the_words_are_recorded_and_published(torch_fit):
    _, folder = torch_fit
    assert state(folder)["label_vocabulary"] == WORDS
    assert list(published_words(folder)) == WORDS


def test_test_results_have_the_number_and_the_word(torch_fit):
    import tensorflow as tf

    from polytrainer.executors.test_results import keys

    _, folder = torch_fit
    [file] = (folder / "test_results").rglob("*.gz")
    records = [tf.train.Example.FromString(each.numpy()) for each in tf.data.TFRecordDataset(str(file), "GZIP")]
    features = records[1].features.feature
    assert features["species"].int64_list.value == [NUMBERS[1]]
    assert features[keys.stored_label("species")].bytes_list.value == [WORDS[NUMBERS[1]].encode()]


@pytest.mark.parametrize("kind", [WithKeras, WithEstimator])
def test_keras_and_estimator_learn_the_numbers_and_publish_the_words(kind, tmp_path):
    trainer = kind("species", label_vocabulary="auto")
    result = trainer.fit(TRAIN, EVAL, output_dir=str(tmp_path), **OPTIONS)
    assert result.metrics["accuracy"] == 1.0
    said = result.predict({"x": EVAL["x"]})
    scores = said["outputs" if kind is WithKeras else "scores"]
    words = published_words(tmp_path)
    assert [words[number] for number in scores.argmax(1)] == EVAL["species"].tolist()
    assert state(tmp_path)["label_vocabulary"] == list(words) == WORDS
    assert learned_labels(result).tolist() == NUMBERS.tolist()


@pytest.mark.parametrize("kind", [WithTorch, WithKeras])
def test_a_label_that_is_no_word_of_the_training_split_is_refused_with_file_and_value(kind):
    other = {"x": EVAL["x"], "species": np.where(np.arange(9) == 4, "emu", EVAL["species"])}
    message = (
        r"the label 'species' in record 4 of .*eval-eval-.*: got 'emu'; .*which are 'Adélie', 'Gentoo', 'chinstrap'"
    )
    with pytest.raises(PreflightError, match=message):
        kind("species", label_vocabulary="auto").fit(TRAIN, other, num_steps=1)
    with pytest.raises(PreflightError, match=r"record 2 of .*train-.*: got 'chinstrap'"):
        kind("species", label_vocabulary=WORDS[:2]).fit(TRAIN, EVAL, num_steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_key": None}, "label_vocabulary: got a trainer without a label_key"),
        ({"label_vocabulary": "all"}, "got 'all'; expected 'auto', or a list of words"),
        ({"label_vocabulary": []}, "label_vocabulary: got no words"),
        ({"label_vocabulary": ["a", "a"]}, "got 'a' twice"),
        ({"label_vocabulary": ["a\nb"]}, r"expected words of type str without line breaks"),
        ({"encoders": {"species": Vocabulary(WORDS)}}, r"got encoders={'species': …} beside it"),
        ({"label_key": "count"}, "got the label 'count' of int64; .*Leave label_vocabulary out"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    data = {**EVAL, "count": NUMBERS}
    with pytest.raises(PreflightError, match=message):
        WithTorch(**{"label_key": "species", "label_vocabulary": "auto", **options}).fit(data, num_steps=1)


def test_a_missing_label_is_refused_with_its_record():
    data = pd.DataFrame({"x": list(EVAL["x"]), "species": [*EVAL["species"][:8], None]})
    with pytest.raises(PreflightError, match=r"'species' in record 8 of .*: got no value"):
        WithTorch("species", label_vocabulary="auto").fit(data, num_steps=1)


def test_the_words_are_found_in_parquet_files_too(tmp_path):
    pd.DataFrame({**EVAL, "x": EVAL["x"][:, 0]}).to_parquet(tmp_path / "rows.parquet")
    schema = table_schema(table_columns({"x": EVAL["x"][:, 0], "species": EVAL["species"]}, "data")[0])
    trainer = WithTorch("species", label_vocabulary="auto")
    trainer.bind(local_fit.run_args(trainer, str(tmp_path / "rows.parquet"), schema=schema, output_dir=str(tmp_path)))
    assert list(trainer.label_words) == WORDS
