"""TFX's own tests of its Trainer, as far as its wheel has them, with polytrainer's in its place."""

from __future__ import annotations

import unittest
from importlib import import_module
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

TRAINER = "tfx.components.trainer"


@pytest.fixture(autouse=True)
def _swapped(monkeypatch):
    """The names that TFX's tests take the Trainer and its executor by are ours."""
    import polytrainer
    from polytrainer.executors.generic_executor import GenericExecutor

    monkeypatch.setattr(f"{TRAINER}.component.Trainer", polytrainer.Trainer)
    monkeypatch.setattr(f"{TRAINER}.executor.GenericExecutor", GenericExecutor)


def run(module, *names):
    """Runs all tests of a module, or some by name, and shows what fails."""
    loaded = import_module(module)
    loader, result = unittest.TestLoader(), unittest.TestResult()
    suite = loader.loadTestsFromNames(names, loaded) if names else loader.loadTestsFromModule(loaded)
    suite.run(result)
    assert result.testsRun > len(result.skipped)
    assert [f"{test}: {trace}" for test, trace in (*result.errors, *result.failures)] == []


def test_the_component():
    run(f"{TRAINER}.component_test")


def test_the_job_on_cloud_ai_platform():
    run("tfx.extensions.google_cloud_ai_platform.trainer.executor_test")


@pytest.mark.parametrize(
    "name",
    [
        "testDoWithHyperParameters",
        pytest.param("testDo", marks=pytest.mark.exhaustive),
        pytest.param("testMultipleArtifacts", marks=pytest.mark.exhaustive),
        pytest.param("testDoWithCustomSplits", marks=pytest.mark.exhaustive),
    ],
)
def test_the_executor(name):
    """It trains TFX's own module on TFX's own data, which are in the wheel from TFX 1.16 on."""
    import tensorflow as tf
    import tfx

    if not Path(tfx.__file__).with_name("components").joinpath("testdata", "transform").exists():
        pytest.skip("the wheel of this TFX has no data for its tests")
    if tf.__version__.startswith("2.16."):
        pytest.skip("Keras does not build the model of TFX 1.16's module: its test fails with TFX's own executor, too")
    tf.keras.backend.clear_session()
    run(f"{TRAINER}.executor_test", f"ExecutorTest.{name}")
