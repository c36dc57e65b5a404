"""KerasTrainer with a transform graph: what is served on raw examples is what was trained on transformed ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class WordCount(tf.keras.layers.Layer):
        def call(self, words):
            indices = tf.sparse.to_dense(words, default_value=-1) if isinstance(words, tf.SparseTensor) else words
            return tf.reduce_sum(tf.one_hot(indices, 4), axis=1)

    class Model(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.colors = tf.keras.layers.Embedding(5, 2)
            self.count = WordCount()
            self.out = tf.keras.layers.Dense(1, activation="sigmoid")

        def call(self, features, training=False):
            color = tf.reshape(self.colors(features["color_xf"]), [-1, 2])
            return self.out(tf.concat([features["size_xf"], color, self.count(features["words_xf"])], axis=1))

    KEPT = []

    class Mine(KerasTrainer):
        def save(self, model):
            KEPT.append(model)
            super().save(model)

        def model_fn(self):
            model = Model()
            model.compile("adam", "binary_crossentropy")
            return model

    run_fn = Mine(label_key="kind_xf").run_fn
"""


@pytest.fixture
def keras_node(transformed_node, module_file):
    """The `transformed_node` with the module above."""
    transformed_node.exec_properties["module_file"] = module_file(MODULE, "transform_module")
    return transformed_node


def served(node, examples, signature="serving_default"):
    import tensorflow as tf

    model = tf.saved_model.load(f"{node.model.uri}/Format-Serving")
    return model.signatures[signature](examples=tf.constant(examples))


def in_memory(transformed_rows):
    """What the model that was trained, still in memory, says of transformed rows."""
    import tensorflow as tf

    module = sys.modules["transform_module"]
    spec = {
        "size_xf": tf.io.FixedLenFeature([1], tf.float32),
        "color_xf": tf.io.FixedLenFeature([1], tf.int64),
        "words_xf": tf.io.VarLenFeature(tf.int64),
    }
    return module.KEPT[-1](tf.io.parse_example(tf.constant(transformed_rows), spec), training=False).numpy()


def test_raw_examples_with_missing_values_get_what_transformed_ones_get(keras_node, transform):
    import numpy as np

    keras_node.use(raw=False)
    keras_node.run()
    raw = [
        transform.serialized({name: value for name, value in row.items() if name != "kind"}) for row in transform.rows
    ]
    found = served(keras_node, raw)["outputs"].numpy()
    order = np.argsort(found[:, 0])
    wanted = np.sort(in_memory(transform.transformed)[:, 0])  # Beam writes in an order of its own
    assert np.abs(found[order, 0] - wanted).max() <= 1e-5
    assert len(set(found[:, 0].round(6).tolist())) > 5


def test_test_results_of_raw_examples_have_the_label_as_it_was_learned(keras_node, transform, with_results):
    import tensorflow as tf

    with_results(keras_node)
    keras_node.use(raw=True)
    keras_node.run()
    told = keras_node.told("eval")
    added = ("prediction", "predicted_class", "kind_xf")
    assert [{name: value for name, value in row.items() if name not in added} for row in told] == [
        {name: value if isinstance(value, list) else [value] for name, value in row.items()} for row in transform.rows
    ]
    examples = [tf.train.Example.FromString(each).features.feature for each in transform.transformed]
    assert [row["kind_xf"] for row in told] == [list(each["kind_xf"].int64_list.value) for each in examples]
    expected = served(keras_node, transform.raw)["outputs"].numpy()
    assert [row["prediction"][0] for row in told] == pytest.approx(expected[:, 0].tolist(), abs=1e-6)


def test_raw_examples_beside_a_transform_graph_are_transformed_on_the_way(keras_node, transform):
    import numpy as np

    results = []
    for raw in (False, True):
        keras_node.use(raw=raw)
        keras_node.run(train_args=json.dumps({"num_epochs": 20, "batch_size": 8, "seed": 1}))
        results.append(served(keras_node, transform.raw)["outputs"].numpy())
        import shutil

        for artifact in (keras_node.model, keras_node.model_run):
            shutil.rmtree(artifact.uri)
    # the same data and seed; only the order within the one batch of an epoch differs
    assert np.abs(results[0] - results[1]).max() < 1e-3


def test_transform_features_gives_tfma_the_label(keras_node, transform):
    keras_node.use(raw=False)
    keras_node.run()
    features = served(keras_node, transform.raw, "transform_features")
    label = features["kind_xf"].numpy().reshape(-1).tolist()
    assert [label[row] == label[0] for row in range(8)] == [row["kind"] == b"small" for row in transform.rows]


def test_raw_features_by_name_mark_what_is_missing(keras_node, transform):
    import numpy as np
    import tensorflow as tf

    keras_node.use(raw=False)
    keras_node.run()
    model = tf.saved_model.load(f"{keras_node.model.uri}/Format-Serving")
    by_name = model.signatures["predict"](
        size=tf.constant([[1.0], [np.nan]]),
        color=tf.constant([["red"], ["red"]]),
        words=tf.constant([["a", "b"], ["a", ""]]),
    )
    by_example = served(keras_node, [transform.raw[0], transform.raw[2]])
    assert np.abs(by_name["outputs"].numpy() - by_example["outputs"].numpy()).max() <= 1e-6


def test_a_raw_label_that_the_features_need_too_is_refused(keras_node, module_file):
    from polytrainer.executors.errors import TrainingError

    keras_node.use(raw=False)
    source = MODULE.replace('label_key="kind_xf"', 'label_key="kind_xf", raw_label_key="size"')
    with pytest.raises(TrainingError, match="raw_label_key: got 'size', which Transform makes some of"):
        keras_node.run(module_file=module_file(source, "wrong_raw_label"))


def test_the_interface_leaves_the_raw_label_out_and_nothing_else(transform):
    import tensorflow_transform as tft

    from polytrainer.executors.export.signatures import interface

    output = tft.TFTransformOutput(str(Path(transform.graph)))
    between = interface(output.transformed_feature_spec(), "kind_xf", output, None)
    assert between.serving_names == ("color", "size", "words")
    assert between.feature_names == ("color_xf", "size_xf", "words_xf")
