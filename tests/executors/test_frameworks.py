"""Telling the framework from the code."""

from __future__ import annotations

import pytest

from polytrainer.executors import user_code
from polytrainer.executors.frameworks import framework_of, version_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("source", "framework"),
    [
        ("import torch", "pytorch"),
        ("from torch import nn\nimport tensorflow as tf\nx = tf.keras", "pytorch"),
        ("import lightning.pytorch as pl", "pytorch"),
        ("import keras", "keras"),
        ("import tensorflow as tf\nmodel = tf.keras.Sequential()", "keras"),
        ("from tensorflow import keras", "keras"),
        ("import tensorflow as tf\ne = tf.estimator.DNNClassifier", "estimator"),
        ("from tensorflow import estimator as tf_estimator", "estimator"),
        ("import tensorflow.compat.v1 as tf\ne = tf.estimator.Estimator", "estimator"),
        ("import tensorflow_estimator", "estimator"),
        ("import tensorflow as tf", "tensorflow"),
        ("from sklearn.linear_model import LogisticRegression", "scikit-learn"),
        ("import estimator\nfrom my import keras_tools", "unknown"),
        ("def broken(:", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_framework_is_what_the_module_imports(module_file, source, framework):
    location = user_code.locate({"module_file": module_file(source)})
    assert framework_of(location) == framework


def test_a_module_that_imports_none_has_that_of_its_siblings(module_file):
    path = module_file("import net\n", net="import torch\n")
    assert framework_of(user_code.locate({"module_file": path})) == "pytorch"


def test_siblings_count_only_where_the_module_itself_says_nothing(module_file):
    path = module_file("import keras\n", other="import torch\n")
    assert framework_of(user_code.locate({"module_file": path})) == "keras"


def test_the_version_is_that_of_the_installed_package():
    assert version_of("pytest") == pytest.__version__
    assert version_of("no-such-framework") == "unknown"
