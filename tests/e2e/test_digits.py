"""The digits: images, no Transform, PyTorch; from the command line to a pushed SavedModel that reads them."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.line]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(root folder, what appeared on the screen) of one run of the command line."""
    root = tmp_path_factory.mktemp("digits")
    command = [sys.executable, "-m", "polytrainer.pipelines.local", "digits", "--epochs", "5", "--root", str(root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return root, done.stdout


def outcome(root):
    from polytrainer.pipelines import outcomes
    from polytrainer.pipelines.metadata_connection import connect

    [result] = outcomes.outcomes(connect(root / "metadata.sqlite"), ("torch",), "digits")
    return result


def test_the_digits_are_learned_without_a_transform_graph(demo):
    root, screen = demo
    result = outcome(root)
    assert result.accuracy > 0.9
    assert f"{result.accuracy:.3f}" in screen
    assert "1200 examples in ['train'], evaluated on ['eval']" in screen


def test_it_is_blessed_by_slices_and_pushed(demo):
    import tensorflow_model_analysis as tfma

    root, screen = demo
    result = outcome(root)
    assert result.blessed is True
    assert f" {result.pushed.relative_to(root)}\n" in screen
    assert f"report of torch: {result.report.relative_to(root)}\n" in screen
    [evaluation] = root.glob("artifacts/Evaluator.torch/evaluation/*")
    metrics = tfma.load_eval_result(str(evaluation)).get_metrics_for_all_slices()
    assert sorted(key[0][1] for key in metrics if key) == list(range(10))


def test_the_pushed_model_and_the_program_read_images_that_were_held_out(demo):
    import tensorflow as tf
    import torch

    from polytrainer.pipelines.digits.data import IMAGE, LABEL

    root, _ = demo
    [path] = root.glob("artifacts/Trainer.torch/model/*/Format-Torch/model.pt2")
    program = torch.export.load(path).module()
    spec = {IMAGE: tf.io.FixedLenFeature([8, 8], tf.float32), LABEL: tf.io.FixedLenFeature([], tf.int64)}
    records = [*tf.data.TFRecordDataset([str(root / "data" / "test" / "digits.gz")], "GZIP").as_numpy_iterator()]
    examples = tf.io.parse_example(records, spec)
    with torch.no_grad():
        logits = program({IMAGE: torch.from_numpy(examples[IMAGE].numpy())})
    [pushed] = root.glob("pushed/torch/*")
    served = tf.saved_model.load(str(pushed)).signatures["serving_default"](examples=tf.constant(records))["outputs"]
    assert abs(served.numpy() - logits.numpy()).max() < 1e-5 * abs(logits.numpy()).max()
    assert len(records) == 297
    assert (logits.argmax(1).numpy() == examples[LABEL].numpy()).mean() > 0.9
