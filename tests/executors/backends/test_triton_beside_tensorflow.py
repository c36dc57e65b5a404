"""PyTorch's CUDA build and TensorFlow in one process, TensorFlow first, as a TFX node has it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

pytestmark = pytest.mark.line

TRAIN = """
import tensorflow as tf
{prepare}
import torch
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.AdamW(model.parameters())
model(torch.ones(3, 4)).sum().backward()
optimizer.step()
torch.export.export(model, (torch.ones(3, 4),))
tf.reduce_sum(tf.ones(3))
try:
    import triton
except ImportError:
    pass
print("alive")
"""
PREPARE = "from polytrainer.executors.backends import triton_beside_tensorflow as t; t.install(); t.install()"


def run(prepare: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", TRAIN.format(prepare=prepare)], check=False, capture_output=True, text=True
    )


def test_torch_trains_and_exports_after_tensorflow_was_imported():
    done = run(PREPARE)
    assert done.stdout.endswith("alive\n"), done.stderr[-2000:]


def test_it_is_still_needed_where_we_say_so():
    """When this fails, TensorFlow or triton has mended it, and the module can go."""
    import tensorflow as tf

    if tuple(int(part) for part in tf.__version__.split(".")[:2]) <= (2, 16):
        pytest.skip("TensorFlow up to 2.16 and triton get on")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("a CPU build of PyTorch has no triton")
    assert "CommandLine" in run("").stderr


def test_installing_it_twice_is_installing_it_once():
    from polytrainer.executors.backends import triton_beside_tensorflow as guard

    guard.install()
    guard.install()
    assert len([finder for finder in sys.meta_path if type(finder).__name__ == "_OwnSymbolsFirst"]) == 1
