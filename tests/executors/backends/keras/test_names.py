"""KerasTrainer with features of any name, some of which the model has no use for."""

from __future__ import annotations

import json

import pytest
from odd_names import ID, LABEL, UNREAD, check_served

pytestmark = pytest.mark.line

FUNCTIONAL = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            names = sorted(set(self.feature_spec) - {self.label_key, %(id)r, %(unread)r, %(unread)r + " z"})
            inputs = {name: tf.keras.Input((1,)) for name in names}
            joined = tf.keras.layers.Concatenate()(list(inputs.values()))
            model = tf.keras.Model(inputs, tf.keras.layers.Dense(2)(joined))
            model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
            return model

    run_fn = Mine(label_key=%(label)r).run_fn
"""

SUBCLASS = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Model(tf.keras.Model):
        def __init__(self, names):
            super().__init__()
            self.names, self.dense = names, tf.keras.layers.Dense(2)

        @tf.function
        def score(self, features):
            return self.dense(tf.concat([features[name] for name in self.names], 1))

        def call(self, features, training=False):
            return self.score(dict(features))

    class Mine(KerasTrainer):
        def model_fn(self):
            model = Model(sorted(set(self.feature_spec) - {self.label_key, %(id)r, %(unread)r, %(unread)r + " z"}))
            model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            return model

    run_fn = Mine(label_key=%(label)r).run_fn
"""


@pytest.mark.parametrize(("source", "transformed"), [(FUNCTIONAL, True), (SUBCLASS, False)])
def test_features_of_any_name_are_served_and_those_that_nothing_needs_not_asked_for(
    odd_node, module_file, source, transformed
):
    odd_node.use(transformed=transformed)
    label = f"{LABEL} xf" if transformed else LABEL
    if transformed:  # raw ones have words, which the other formats do not take
        pytest.importorskip("tf2onnx")
        odd_node.exec_properties["export_args"] = json.dumps({"formats": ["SAVED_MODEL", "ONNX", "TFLITE"]})
    odd_node.run(module_file=module_file(source % {"id": ID, "unread": UNREAD, "label": label}))
    check_served(odd_node, transformed=transformed, label=label)
