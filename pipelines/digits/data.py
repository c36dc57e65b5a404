"""The data: 1,797 handwritten digits of 8x8 pixels, as scikit-learn ships them (UCI's optdigits, its test set)."""

from __future__ import annotations

from pathlib import Path

IMAGE, LABEL, NUM_CLASSES = "image", "digit", 10
SPLITS = {"train": 1200, "eval": 300, "test": 297}
_SCHEMA = f"""
feature {{
  name: "{IMAGE}" type: FLOAT
  presence {{ min_fraction: 1 min_count: 1 }} shape {{ dim {{ size: 8 }} dim {{ size: 8 }} }}
}}
feature {{
  name: "{LABEL}" type: INT
  presence {{ min_fraction: 1 min_count: 1 }} shape {{ dim {{ size: 1 }} }} int_domain {{ min: 0 max: 9 }}
}}
"""


def write_examples(folder: Path) -> Path:
    """Writes `<split>/digits.gz` for each split, tf.Examples with pixels from 0 to 1, and returns the folder."""
    import numpy as np
    import tensorflow as tf
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))  # writers come one after the other in the file
    ends = np.cumsum(list(SPLITS.values()))
    for split, rows in zip(SPLITS, np.split(order, ends[:-1]), strict=True):
        path = folder / split / "digits.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for pixels, digit in zip(digits.data[rows] / 16, digits.target[rows], strict=True):
                example = tf.train.Example()
                example.features.feature[IMAGE].float_list.value.extend(pixels)
                example.features.feature[LABEL].int64_list.value.append(digit)
                writer.write(example.SerializeToString())
    return folder


def write_schema(folder: Path) -> Path:
    """Writes schema.pbtxt, in which an image is 8x8, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "schema.pbtxt"
    path.write_text(_SCHEMA)
    return path
