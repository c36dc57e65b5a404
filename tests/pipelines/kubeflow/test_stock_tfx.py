"""TFX's own entrypoint under the emulated launcher: it fails as it fails on open-source Kubeflow Pipelines.

A test here that no longer holds says one of two things: the emulation is wrong, or TFX has been mended.
"""

from __future__ import annotations

from dataclasses import replace

import emulation
import pytest

pytestmark = pytest.mark.line


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """CsvExampleGen → Reader, with TFX's own command."""
    from kubeflow_components import Reader
    from tfx import v1 as tfx

    from polytrainer.pipelines import kubeflow
    from polytrainer.pipelines.penguins.pipeline import local_beam_args

    folder = tmp_path_factory.mktemp("stock")
    (folder / "data").mkdir()
    (folder / "data" / "some.csv").write_text("x,y\n" + "1,2\n" * 9)
    example_gen = tfx.components.CsvExampleGen(input_base=str(folder / "data"))
    reader = Reader(examples=example_gen.outputs["examples"], report=str(folder / "report.txt"))
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root="minio://mlpipeline/v2/artifacts",
        components=[example_gen, reader],
        beam_pipeline_args=local_beam_args(),
    )
    ours = kubeflow.compile(pipeline, folder / "pipeline.yaml", image="registry.example.com/tfx:1")
    return emulation.with_command(ours, emulation.STOCK)


@pytest.fixture
def run(compiled, tmp_path):
    """Makes a run of it under a contract."""
    from polytrainer.pipelines.kubeflow.local.pipeline_spec import CompiledPipeline
    from polytrainer.pipelines.kubeflow.local.run import LocalRun

    def make(contract):
        return LocalRun(CompiledPipeline.read(compiled, contract), tmp_path, contract=contract)

    with emulation.in_this_process():
        yield make


def failure(run, task):
    """What a failed step wrote."""
    from polytrainer.pipelines.kubeflow.local.launcher import StepError

    with pytest.raises(StepError) as caught:
        run.step(task)
    return caught.value.log.read_text()


def test_it_fails_at_the_first_step_by_an_output_that_is_the_launchers(run):
    from polytrainer.pipelines.kubeflow.local.contract import OSS

    assert "ImportError: Could not import system.Artifact" in failure(run(OSS), "CsvExampleGen")


def test_without_that_output_it_cannot_write_to_minio(run):
    from polytrainer.pipelines.kubeflow.local.contract import OSS

    log = failure(run(replace(OSS, publishes_logs=False)), "CsvExampleGen")
    assert "Unable to get filesystem from specified path" in log
    assert "minio://mlpipeline/v2/artifacts/stock/" in log


def test_on_plain_folders_it_fails_by_inputs_without_a_type(run):
    from polytrainer.pipelines.kubeflow.local.contract import VERTEX

    untyped = run(replace(VERTEX, types_inputs=False))
    untyped.step("CsvExampleGen")
    assert "AttributeError: 'NoneType' object has no attribute 'get'" in failure(untyped, "Reader")


def test_it_runs_where_a_service_does_what_vertex_does(run, compiled):
    from polytrainer.pipelines.kubeflow.local.contract import VERTEX

    vertex = run(VERTEX)
    examples = vertex.step("CsvExampleGen").artifacts["examples"]
    assert examples.metadata["custom:span"] == 0  # by the driver, which Vertex runs before the step
    vertex.step("Reader")
    assert (compiled.parent / "report.txt").read_text().split() == ["data_tfrecord-00000-of-00001.gz"] * 2
