"""A second witness: KFP's own local runner builds the ExecutorInput and reads the ExecutorOutput."""

from __future__ import annotations

import io
import json
import os

import emulation
import pytest

pytestmark = pytest.mark.newest  # older lines have a kfp without local pipelines


@pytest.fixture
def kfp_local(tmp_path, monkeypatch):
    """kfp.local, which takes any command instead of those of KFP's own components, and runs it in this process."""
    pytest.importorskip("kfp.local.pipeline_orchestrator", reason="this line's kfp runs no pipelines locally")
    from kfp import local
    from kfp.local import subprocess_task_handler

    def run(full_command):
        log = io.BytesIO()
        status = emulation.execute(full_command, os.environ, log)
        print(log.getvalue().decode())
        return status

    handler = subprocess_task_handler.SubprocessTaskHandler
    monkeypatch.setattr(handler, "validate_not_container_component", lambda *_: None)
    monkeypatch.setattr(handler, "validate_not_containerized_python_component", lambda *_: None)
    monkeypatch.setattr(subprocess_task_handler, "run_local_subprocess", run)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    return local


@pytest.mark.filterwarnings("ignore:You may be attemping to run a task")
def test_kfps_local_runner_takes_what_our_entrypoint_makes_of_tfx(kfp_local, tmp_path):
    from kfp import components
    from kubeflow_components import Consumer, Producer
    from tfx import v1 as tfx

    from polytrainer.pipelines import kubeflow

    producer = Producer()
    consumer = Consumer(
        examples=producer.outputs["examples"], model=producer.outputs["model"], report=str(tmp_path / "report.json")
    )
    pipeline = tfx.dsl.Pipeline("witness", "minio://bucket/root", components=[producer, consumer])
    compiled = kubeflow.compile(pipeline, tmp_path / "pipeline.yaml", image="registry.example.com/tfx:1")
    components.load_component_from_file(str(compiled))()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["told"] == "by the producer"
    assert report["kinds"] == ["Examples", "Model"]
    assert report["uri"].startswith(str(tmp_path / "root"))
