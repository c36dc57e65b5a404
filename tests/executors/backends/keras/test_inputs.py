"""A functional model gets the features that it takes, and no others, whatever else the schema has."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.line

SCHEMA = """
    feature { name: "a" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "b.c" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "y" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            form = self.fn_args.custom_config["form"]
            x, y = (tf.keras.Input((1,), name=name) for name in ("x", "a"))
            inputs = {"one": x, "list": [y, x], "dict": {"x": x, "a": y}}[form]
            both = x if form == "one" else tf.keras.layers.Concatenate()([x, y])
            ones = tf.keras.initializers.Constant(1.0 if form == "one" else [[1.0], [0.0]])
            model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, use_bias=False, kernel_initializer=ones)(both))
            model.compile(tf.keras.optimizers.SGD(0.0), "mse")
            return model

    run_fn = Mine("y").run_fn
"""


@pytest.mark.parametrize("form", ["one", "list", "dict"])
def test_what_is_trained_and_served_is_computed_from_the_inputs_alone(node, module_file, form):
    import tensorflow as tf

    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    examples = []
    for number in range(4):
        example = tf.train.Example()
        for name, value in {"a": 100.0, "b.c": 7.0, "x": float(number), "y": float(number)}.items():
            example.features.feature[name].float_list.value.append(value)
        examples.append(example.SerializeToString())
    for split in ("train", "eval"):
        path = str(node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz")
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for each in examples:
                writer.write(each)
    told = {"train_args": json.dumps({"num_epochs": 1, "batch_size": 2}), "custom_config": json.dumps({"form": form})}
    node.run(module_file=module_file(MODULE, "some_inputs"), **told)
    assert node.model.mlmd_artifact.custom_properties["metric.loss"].double_value == 0
    model = tf.saved_model.load(f"{node.model.uri}/Format-Serving")
    assert model.signatures["serving_default"](examples=examples)["outputs"].numpy().tolist() == [[0], [1], [2], [3]]
    predict = model.signatures["predict"]
    assert "b.c" not in predict.structured_input_signature[1]
    values = {"a": tf.constant([[5.0]]), "x": tf.constant([[3.0]])}
    named = predict(**{name: values[name] for name in predict.structured_input_signature[1]})
    assert named["outputs"].numpy().tolist() == [[3]]
