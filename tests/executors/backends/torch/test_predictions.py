"""test_results of TorchTrainer: on several ranks, of LightningModules, words, losses of one's own, and Parquet."""

from __future__ import annotations

import json

import numpy as np
import pytest
from results import read

MODULE = """
    from torch import nn
    from polytrainer import TorchTrainer

    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    class Mine(TorchTrainer):
        def model_fn(self):
            return Linear(2, 3)

    run_fn = Mine("label", metrics=["accuracy"], learning_rate=0.1).run_fn
"""
LIGHTNING = """
    import lightning, torch
    from torch.nn import functional
    from polytrainer import TorchTrainer

    class Network(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 3)

        def forward(self, x):
            return self.linear(x)

        def training_step(self, batch, index):
            features, label = batch
            return functional.cross_entropy(self(features["x"]), label.flatten())

        def test_step(self, batch, index):
            features, label = batch
            right = (self(features["x"]).argmax(1) == label.flatten()).float().mean()
            self.log("test_accuracy", right, batch_size=len(label), sync_dist=True)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Mine(TorchTrainer):
        def model_fn(self):
            return Network()

    run_fn = Mine("label").run_fn
"""
RANKS = {"strategy": "ddp", "num_processes": 2, "num_epochs": 2, "batch_size": 8, "seed": 1}


def served(node):
    """What the SavedModel says of the stored examples of the test split."""
    import tensorflow as tf

    files = sorted(map(str, (node.examples_uri / "Split-test").iterdir()))
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    signature = tf.saved_model.load(f"{node.model.uri}/Format-Serving").signatures["serving_default"]
    return signature(examples=tf.constant(records))["outputs"].numpy()


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def assert_all_there(node, expected):
    """Each stored example once, whichever rank has written it, with what is expected of it."""
    told, stored = node.told(), node.stored()
    by_id = {row["id"][0]: row for row in told}
    assert len(told) == len(by_id) == len(stored)
    for row, prediction in zip(stored, expected, strict=True):
        found = by_id[row["id"][0]]
        assert {name: found[name] for name in row} == row
        assert found["prediction"] == pytest.approx(prediction.tolist(), abs=1e-6)
    return np.mean([row["predicted_class"] == row["label"] for row in told])


@pytest.mark.line
def test_several_ranks_train_in_a_node_and_each_writes_its_share_of_the_results(tested_node, module_file):
    # 23 examples in batches of 11: shares of 6 and 5, and of 1 and none; more kinds of ranks: test_torch_ranks.py
    tested_node.run(
        module_file=module_file(MODULE, "ranks"),
        train_args=json.dumps(RANKS),
        eval_args=json.dumps({"test_splits": ["test"], "batch_size": 11}),
    )
    assert tested_node.model.mlmd_artifact.custom_properties["train_steps"].int_value == 16
    folder = tested_node.test_results.uri + "/Split-test/test_results-0000{}-of-00002.gz"
    shares = [[row["id"][0] for row in read(folder.format(rank))] for rank in range(2)]
    ids = [row["id"][0] for row in tested_node.stored()]
    assert shares == [[*ids[:6], *ids[11:17], ids[22]], [*ids[6:11], *ids[17:22]]]
    accuracy = assert_all_there(tested_node, softmax(served(tested_node)))
    assert tested_node.metric("test.accuracy") == pytest.approx(accuracy, abs=1e-6)
    assert tested_node.test_results.split_names == '["test"]'


@pytest.mark.newest
@pytest.mark.filterwarnings("ignore")
def test_a_lightning_module_says_what_it_says_of_classes(tested_node, module_file):
    tested_node.run(module_file=module_file(LIGHTNING, "lightning_results"))
    accuracy = assert_all_there(tested_node, served(tested_node))  # scores: only Lightning knows its loss
    assert tested_node.metric("test.accuracy") == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.newest
def test_parquet_becomes_examples(tested_node, module_file):
    import pyarrow as pa
    from pyarrow import parquet
    from tfx.components.util import examples_utils
    from tfx.proto import example_gen_pb2

    expected = tested_node.stored()
    for split in ("train", "eval", "test"):
        rows = tested_node.stored(split)
        for path in (tested_node.examples_uri / f"Split-{split}").iterdir():
            path.unlink()
        columns = {name: pa.array([row.get(name) for row in rows]) for name in ("x", "label", "id", "city", "note")}
        path = tested_node.examples_uri / f"Split-{split}" / "data_parquet-00000-of-00001.parquet"
        parquet.write_table(pa.table(columns), str(path))
    [examples] = tested_node.input_dict["examples"]
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_PARQUET)
    tested_node.run(module_file=module_file(MODULE, "parquet_results"))
    told = tested_node.told()
    assert [{name: row[name] for name in row if not name.startswith("predict")} for row in told] == expected
    assert {len(row["prediction"]) for row in told} == {3}


@pytest.fixture
def fit(splits, tmp_path):
    """Trains on a few rows and returns the test results of them: `fit(trainer, …)`."""

    def run(trainer, rows, **options):
        path = splits.write(tmp_path / "rows.gz", rows)
        told = {"num_epochs": 1, "batch_size": 4, "seed": 1, "output_dir": str(tmp_path / "out"), **options}
        run.result = trainer.fit(path, test_files={"held": path}, **told)
        return list(read(tmp_path / "out" / "test_results" / "Split-held" / "*"))

    return run


def linear(outputs, **methods):
    """A trainer of a linear model of `x`, with hooks of one's own."""
    from torch import nn

    from polytrainer import TorchTrainer

    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    return type(
        "Mine", (TorchTrainer,), {"model_fn": lambda self: Linear(2, outputs), "save": lambda *_: {}, **methods}
    )


def spec(**kinds):
    import tensorflow as tf

    found = {name: tf.io.FixedLenFeature([size], getattr(tf, kind)) for name, (size, kind) in kinds.items()}
    return {"x": tf.io.FixedLenFeature([2], tf.float32), **found}


X = [[float(i), float(i % 3)] for i in range(9)]


@pytest.mark.newest
def test_a_label_of_words_is_there_as_it_was_learned_and_as_it_was_read(fit):
    from polytrainer import Vocabulary

    rows = [{"x": x, "kind": [[b"low"], [b"high"]][i % 2]} for i, x in enumerate(X)]
    trainer = linear(2)("kind", feature_spec=spec(kind=(1, "string")), encoders={"kind": Vocabulary(["high", "low"])})
    told = fit(trainer, rows)
    assert [row["kind_stored"] for row in told] == [row["kind"] for row in rows]
    assert [row["kind"] for row in told] == [[1 - i % 2] for i in range(9)]
    assert [row["predicted_class_name"] for row in told] == [
        [[b"high", b"low"][row["predicted_class"][0]]] for row in told
    ]


@pytest.mark.newest
def test_numbers_are_predicted_as_they_are(fit):
    rows = [{"x": x, "y": [sum(x)]} for x in X]
    told = fit(linear(1)("y", feature_spec=spec(y=(1, "float32"))), rows)
    assert {name: len(values) for name, values in told[0].items()} == {"x": 2, "y": 1, "prediction": 1}
    mse = np.mean([(row["prediction"][0] - row["y"][0]) ** 2 for row in told])
    assert fit.result.metrics["held.loss"] == pytest.approx(mse, rel=1e-6)


@pytest.mark.newest
def test_several_labels_are_predicted_by_their_numbers(fit):
    rows = [{"x": x, "tags": [i % 2, (i // 2) % 2, 1]} for i, x in enumerate(X)]
    trainer = linear(3)("tags", loss="multilabel", feature_spec=spec(tags=(3, "int64")), classes=["a", "b", "c"])
    for row in fit(trainer, rows):
        likely = [number for number, value in enumerate(row["prediction"]) if value > 0.5]
        assert row.get("predicted_class", []) == likely
        assert row.get("predicted_class_name", []) == [[b"a", b"b", b"c"][each] for each in likely]


@pytest.mark.newest
def test_a_loss_of_ones_own_leaves_scores_and_steps_of_ones_own_are_followed(fit):
    from torch.nn import functional

    def loss_fn(self, outputs, label):
        return functional.cross_entropy(outputs, label.flatten())

    def eval_step(self, model, batch, metrics):
        return self.loss_fn(model(batch[0]["x"]), batch[1])

    rows = [{"x": x, "label": [i % 3]} for i, x in enumerate(X)]
    told = fit(linear(3, loss_fn=loss_fn, eval_step=eval_step)("label", feature_spec=spec(label=(1, "int64"))), rows)
    scores = np.array([row["prediction"] for row in told])
    assert [row["predicted_class"] for row in told] == [[each] for each in scores.argmax(1)]
    logs = np.log(np.exp(scores).sum(1)) - scores[np.arange(9), [i % 3 for i in range(9)]]
    assert fit.result.metrics["held.loss"] == pytest.approx(logs.mean(), rel=1e-5)


@pytest.mark.newest
def test_several_outputs_keep_their_names(fit):
    def predict_fn(self, model, features):
        both = model(features["x"])
        return {"price": both[:, 0], "rank": both[:, 1:]}

    def loss_fn(self, outputs, label):
        return (outputs["price"] - label[:, 0]).square().mean()

    rows = [{"x": x, "y": [1.0]} for x in X]
    hooks = {"predict_fn": predict_fn, "loss_fn": loss_fn, "metrics_fn": lambda self: {}}
    trainer = linear(3, **hooks)("y", feature_spec=spec(y=(1, "float32")))
    assert {name: len(values) for name, values in fit(trainer, rows)[0].items()} == {
        "x": 2, "y": 1, "prediction_price": 1, "prediction_rank": 2,
    }  # fmt: skip


@pytest.mark.newest
def test_fit_without_an_output_dir_leaves_none(fit, tmp_path):
    rows = [{"x": x, "y": [sum(x)]} for x in X]
    assert fit(linear(1)("y", feature_spec=spec(y=(1, "float32"))), rows, output_dir=None) == []
