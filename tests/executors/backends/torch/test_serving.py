"""A PyTorch model as a SavedModel: the same answers, from raw examples, whatever features it has."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.line

ROWS = [
    {"x": [0.1 * i, 1.0 - i], "age": [float(i)] if i % 3 else [], "city": [[b"rome", b"oslo", b"elsewhere"][i % 3]],
     "tags": [7, 2, 1, 0][: i % 5], "words": [b"a", b"bc", b""][: i % 4], "at": [1, 3][: i % 3],
     "weight": [0.5, 2.0][: i % 3], "name": [b"n" * (i % 4)], "label": [i % 2]}
    for i in range(12)
]  # fmt: skip


def spec():
    import tensorflow as tf

    return {
        "x": tf.io.FixedLenFeature([2], tf.float32),
        "age": tf.io.FixedLenFeature([1], tf.float32, [-1.0]),
        "city": tf.io.FixedLenFeature([], tf.string),
        "tags": tf.io.VarLenFeature(tf.int64),
        "words": tf.io.VarLenFeature(tf.string),
        "sparse": tf.io.SparseFeature("at", "weight", tf.float32, 4),
        "name": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([1], tf.int64),
    }


def everything():
    """A trainer whose model uses every kind of feature."""
    import torch
    from torch import nn

    from polytrainer import Hashing, TorchTrainer, Vocabulary

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.city, self.tags, self.words = nn.Embedding(3, 4), nn.EmbeddingBag(8, 4), nn.EmbeddingBag(16, 4)
            self.head = nn.Linear(2 + 1 + 1 + 4 + 4 + 4 + 1 + 1, 2)

        def forward(self, features):
            tags, words, sparse, name = (features[each] for each in ("tags", "words", "sparse", "name"))
            rows = torch.zeros(features["x"].shape[0], 1)
            of_row = torch.bucketize(torch.arange(sparse.values.shape[0]), sparse.row_splits[1:], right=True)
            weighed = rows.index_add(0, of_row, (sparse.values * (sparse.columns + 1)).unsqueeze(1))
            letters = name.row_splits.diff().float().unsqueeze(1)
            parts = [
                features["x"], features["age"], features["age_mask"].float(), self.city(features["city"]),
                self.tags(tags.values, tags.row_splits, ), self.words(words.values, words.row_splits),
                weighed, letters,
            ]  # fmt: skip
            return self.head(torch.cat(parts, 1))

    class Everything(TorchTrainer):
        def model_fn(self):
            for bag in ("tags", "words"):
                assert bag in self.feature_spec
            model = Model()
            model.tags.include_last_offset = model.words.include_last_offset = True
            return model

    encoders = {"city": Vocabulary(["rome", "oslo"], num_oov=1), "words": Hashing(16)}
    return Everything("label", feature_spec=spec(), encoders=encoders, classes=["no", "yes"])


@pytest.fixture
def export():
    return {"formats": ["SAVED_MODEL"]}


def served(folder, examples, signature="serving_default"):
    import tensorflow as tf

    model = tf.saved_model.load(str(Path(folder) / "model" / "Format-Serving"))
    outputs = model.signatures[signature](examples=tf.constant(examples))
    return {name: value.numpy() for name, value in outputs.items()}


def said(trainer):
    """What the trained model in memory says of the eval split, as the training reads it."""
    import torch

    with torch.no_grad():
        return torch.cat(
            [trainer.predict_fn(trainer.model.eval(), features) for features, _ in trainer.eval_batches["eval"]]
        )


def examples_of(pattern):
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(tf.io.gfile.glob(pattern), "GZIP").as_numpy_iterator())


def test_every_kind_of_feature_is_served_as_it_was_trained(splits, tmp_path, export):
    import numpy as np
    import tensorflow as tf

    files = splits.write(tmp_path / "rows.gz", ROWS)
    trainer = everything()
    result = trainer.fit(files, files, output_dir=str(tmp_path / "out"), export_args=export, num_epochs=2, batch_size=5)
    assert 0 <= result.parity["saved_model"] <= 1e-5
    examples = examples_of(files)
    outputs = served(tmp_path / "out", examples)
    np.testing.assert_allclose(outputs["outputs"], said(trainer).numpy(), rtol=1e-5, atol=1e-6)
    assert outputs["classes"].tolist() == [[[b"no", b"yes"][best]] for best in outputs["outputs"].argmax(1)]
    without = [tf.train.Example.FromString(example) for example in examples]
    for example in without:
        del example.features.feature["label"]
    again = served(tmp_path / "out", [example.SerializeToString() for example in without])
    np.testing.assert_array_equal(again["outputs"], outputs["outputs"])
    np.testing.assert_allclose(served(tmp_path / "out", examples[4:5])["outputs"], outputs["outputs"][4:5], rtol=1e-5)


def test_a_label_of_words_is_told_to_tfma_as_it_was_learned(splits, tmp_path, export):
    import tensorflow as tf

    from polytrainer import TorchTrainer, Vocabulary

    class Mine(TorchTrainer):
        def model_fn(self):
            return two_layers(lambda _, logits: logits)()

    words = [b"no", b"yes"]
    own = {"x": tf.io.FixedLenFeature([2], tf.float32), "label": tf.io.FixedLenFeature([1], tf.string)}
    rows = [{"x": row["x"], "label": [words[row["label"][0]]]} for row in ROWS]
    files = splits.write(tmp_path / "rows.gz", rows)
    trainer = Mine("label", feature_spec=own, encoders={"label": Vocabulary(["no", "yes"])})
    trainer.fit(files, files, output_dir=str(tmp_path / "out"), export_args=export)
    features = served(tmp_path / "out", examples_of(files), "transform_features")
    assert features["label"].tolist() == [row["label"] for row in ROWS]


def test_raw_features_by_name_with_nan_and_empty_words_for_what_is_missing(splits, tmp_path, export):
    import numpy as np
    import tensorflow as tf
    from torch import nn

    from polytrainer import TorchTrainer

    class Small(TorchTrainer):
        def model_fn(self):
            return Plain()

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x, age, age_mask):
            import torch

            return self.head(torch.cat([x, age, age_mask.float()], 1))

    own = {name: spec()[name] for name in ("x", "age", "label")}
    files = splits.write(tmp_path / "rows.gz", [{name: row[name] for name in own} for row in ROWS])
    trainer = Small("label", feature_spec=own)
    trainer.fit(files, files, output_dir=str(tmp_path / "out"), export_args=export)
    model = tf.saved_model.load(str(tmp_path / "out/model/Format-Serving"))
    ages = [[row["age"][0] if row["age"] else float("nan")] for row in ROWS]
    named = model.signatures["predict"](x=tf.constant([row["x"] for row in ROWS]), age=tf.constant(ages))["outputs"]
    np.testing.assert_allclose(named.numpy(), said(trainer).numpy(), rtol=1e-5, atol=1e-6)


def train(trainer, small, tmp_path, **options):
    told = {"schema": small.schema, "output_dir": str(tmp_path / "out"), "batch_size": 32, "seed": 1, **options}
    return trainer.fit(small.train, small.eval, **told)


def of(module, **arguments):
    """A trainer of a module of two numbers."""
    from polytrainer import TorchTrainer

    class Mine(TorchTrainer):
        def model_fn(self):
            return module()

    return Mine("label", **arguments)


def two_layers(change):
    """A module that does something between its layers."""
    from torch import nn

    class TwoLayers(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 4), nn.Linear(4, 2)

        def forward(self, x):
            return change(self, self.second(self.first(x).relu()))

    return TwoLayers


def test_outputs_of_any_form_have_names(small, tmp_path, export):
    module = two_layers(lambda _, logits: {"logits": logits, "parts": (logits[:, 0], logits[:, 1] > 0)})
    train(of(module, classes=["no", "yes"]), small, tmp_path, export_args=export)
    outputs = served(tmp_path / "out", examples_of(small.eval))
    shapes = {name: value.shape for name, value in outputs.items()}
    assert shapes == {"logits": (41, 2), "parts_0": (41,), "parts_1": (41,), "classes": (41, 1)}


def test_what_has_no_counterpart_is_refused_before_a_step_with_its_line_and_the_way_out(small, tmp_path, export):
    import torch

    from polytrainer.executors.errors import PreflightError

    module = two_layers(lambda _, logits: torch.linalg.pinv(logits.unsqueeze(1) + 1).squeeze(2))
    with pytest.raises(
        PreflightError, match=r"(?s)Nothing was trained: .*test_serving.py:\d+ .*pinv.*TORCH.*torch_extractor"
    ):
        train(of(module), small, tmp_path, export_args=export)
    assert not (tmp_path / "out" / "model").exists()
    train(of(module), small, tmp_path, export_args={"formats": ["TORCH"]})
    assert (tmp_path / "out/model/Format-Serving/model.pt2").exists()


def test_a_model_that_says_something_else_once_it_is_saved_is_not_published(small, tmp_path, export, monkeypatch):
    from polytrainer.executors.errors import TrainingError
    from polytrainer.executors.export import saved_model

    write = saved_model.write

    def write_damaged(module, path, signatures):
        weight = next(iter(module.model.weights.values()))
        weight.assign(weight + 0.01)
        write(module, path, signatures)

    monkeypatch.setattr(saved_model, "write", write_damaged)
    with pytest.raises(TrainingError, match=r"predictions that differ by 0\.0.*expected at most 1e-05.*tolerance"):
        train(of(two_layers(lambda _, logits: logits)), small, tmp_path, export_args=export)
    assert not (tmp_path / "out/model/Format-TFMA").exists()
    result = train(of(two_layers(lambda _, logits: logits)), small, tmp_path, export_args={**export, "tolerance": 0.5})
    assert 1e-3 < result.parity["saved_model"] < 0.5


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["a", "b", "c"], r"3 names for scores \(None, 2\)"),
        ("species", r"'species'; expected the name of a vocabulary of the transform graph"),
    ],
)
def test_classes_that_do_not_fit_are_refused(small, tmp_path, export, classes, said):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=said):
        train(of(two_layers(lambda _, logits: logits), classes=classes), small, tmp_path, export_args=export)


def test_one_score_is_two_classes(small, tmp_path, export):
    trainer = of(two_layers(lambda _, logits: logits[:, :1]), classes=["no", "yes"], loss="binary_cross_entropy")
    train(trainer, small, tmp_path, export_args=export)
    outputs = served(tmp_path / "out", examples_of(small.eval))
    assert outputs["classes"].tolist() == [[[b"no", b"yes"][score > 0]] for [score] in outputs["outputs"].tolist()]


def test_values_that_input_fn_changes_are_warned_of(small, tmp_path, export, caplog):
    from polytrainer import TorchTrainer

    class Scaled(TorchTrainer):
        def model_fn(self):
            return two_layers(lambda _, logits: logits)()

        def input_fn(self, files, *, training, first_step=0):
            for features, label in super().input_fn(files, training=training, first_step=first_step):
                yield {"x": features["x"] * 2}, label

    class Again:
        def __init__(self, make):
            self.make = make

        def __iter__(self):
            return self.make()

        def __len__(self):
            return 4

    class Restartable(Scaled):
        def input_fn(self, files, **options):
            make = super().input_fn
            return Again(lambda: make(files, **options))

    train(Restartable("label"), small, tmp_path, export_args=export)
    assert "input_fn gives other features of the first examples" in caplog.text


def test_half_precision_is_served_in_float32(small, tmp_path, export):
    trainer = of(two_layers(lambda _, logits: logits))
    result = train(trainer, small, tmp_path, precision="bf16-true", export_args=export)
    assert result.parity["saved_model"] <= 0.05
    assert served(tmp_path / "out", examples_of(small.eval))["outputs"].dtype == "float32"


def test_weights_are_stored_once(small, tmp_path, export):
    from torch import nn

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 1000), nn.Linear(1000, 1000), nn.Linear(1000, 2))

        def forward(self, x):
            return self.layers(x)

    train(of(Wide), small, tmp_path, export_args=export)
    folder = tmp_path / "out/model/Format-Serving"
    assert (folder / "saved_model.pb").stat().st_size < 200_000
    assert 4e6 < sum(file.stat().st_size for file in (folder / "variables").iterdir()) < 4.2e6


WORDS = """
    import torch
    from torch import nn
    from polytrainer import TorchTrainer

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.colors = nn.Embedding(5, 2)
            self.words = nn.EmbeddingBag(4, 3, include_last_offset=True)
            self.head = nn.Linear(6, 2)

        def forward(self, size_xf, color_xf, words_xf):
            words = self.words(words_xf.values, words_xf.row_splits)
            return self.head(torch.cat([size_xf, self.colors(color_xf).flatten(1), words], 1))

    class Ragged(TorchTrainer):
        def model_fn(self):
            return Words()

        def save(self, model):
            KEPT.append((self, model))
            return super().save(model)

    KEPT = []
    run_fn = Ragged("kind_xf", classes=["small", "large"]).run_fn
"""


@pytest.mark.parametrize("raw", [False, True], ids=["transformed", "raw"])
def test_what_transform_makes_of_raw_examples_is_what_was_trained_on(
    transformed_node, transform, module_file, raw, tmp_path
):
    import sys

    import numpy as np
    import tensorflow as tf
    import torch

    transformed_node.use(raw=raw)
    name = f"ragged_{raw}"
    transformed_node.run(module_file=module_file(WORDS, name))
    trainer, model = sys.modules[name].KEPT[-1]
    with torch.no_grad():
        batches = [trainer.predict_fn(model, features) for features, _ in trainer.eval_batches["eval"]]
    wanted = torch.cat(batches).numpy()
    loaded = tf.saved_model.load(f"{transformed_node.model.uri}/Format-Serving")
    unlabelled = [
        transform.serialized({name: value for name, value in row.items() if name != "kind"}) for row in transform.rows
    ]
    served = loaded.signatures["serving_default"](examples=tf.constant(unlabelled))
    assert set(served["classes"].numpy()[:, 0]) <= {b"small", b"large"}
    # Beam writes in an order of its own
    np.testing.assert_allclose(
        sorted(served["outputs"].numpy().tolist()), sorted(wanted.tolist()), rtol=1e-5, atol=1e-6
    )
    by_name = loaded.signatures["predict"](
        size=tf.constant([[1.0], [np.nan]]),
        color=tf.constant([["red"], ["red"]]),
        words=tf.constant([["a", "b"], ["a", ""]]),
    )["outputs"]
    by_example = served["outputs"].numpy()[[0, 2]]
    np.testing.assert_allclose(by_name.numpy(), by_example, rtol=1e-5, atol=1e-6)
    features = loaded.signatures["transform_features"](examples=tf.constant(transform.raw))
    label = features["kind_xf"].numpy().reshape(-1).tolist()
    assert [label[row] == label[0] for row in range(8)] == [row["kind"] == b"small" for row in transform.rows]


def test_tfxs_own_rewriter_makes_tflite_of_what_is_served(small, tmp_path, export):
    import numpy as np
    import tensorflow as tf
    from tfx.components.trainer.rewriting import rewriter, rewriter_factory

    train(of(two_layers(lambda _, logits: logits)), small, tmp_path, export_args=export)
    original = rewriter.ModelDescription(rewriter.ModelType.SAVED_MODEL, str(tmp_path / "out/model/Format-Serving"))
    rewritten = rewriter.ModelDescription(rewriter.ModelType.TFLITE_MODEL, str(tmp_path / "rewritten"))
    made = rewriter_factory.create_rewriter(rewriter_factory.TFLITE_REWRITER, name="tflite", signature_key="predict")
    made.perform_rewrite(original, rewritten)
    runner = tf.lite.Interpreter(str(tmp_path / "rewritten" / "tflite")).get_signature_runner("predict")
    x = np.array([[1.0, 2.0], [-1.0, 0.5]], np.float32)
    wanted = tf.saved_model.load(original.path).signatures["predict"](x=tf.constant(x))
    assert runner(x=x)["outputs"] == pytest.approx(wanted["outputs"].numpy(), abs=1e-6)
