"""Which places the pods of a job can open."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from polytrainer.executors.distributed.kubernetes.reach import for_pods, problems
from polytrainer.proto.cluster import TrainJob

pytestmark = pytest.mark.unit


def refused(uri, volumes=None, resources=None, **properties):
    job = TrainJob(image="trainer:1", volumes=volumes or {}, resources=resources or {})
    return [problem.where for problem in problems(job, {"examples": [SimpleNamespace(uri=uri)]}, {}, properties)]


@pytest.mark.parametrize("uri", ["/minio/bucket/run/examples", "/tmp/runs/examples", "runs/examples", "file:///tmp/x"])
def test_a_path_of_this_pod_is_refused(uri):
    assert refused(uri) == ["examples"]
    assert refused(uri, volumes={"runs": "/data"}) == ["examples"]


@pytest.mark.parametrize("uri", ["gs://bucket/examples", "s3://bucket/examples", "hdfs://host/examples"])
def test_a_bucket_is_not(uri):
    assert refused(uri) == []


def test_a_path_in_a_volume_is_not():
    assert refused("/data/runs/examples", volumes={"runs": "/data/"}) == []
    assert refused("/data/runs/examples", resources={"volumes": {"runs": "/data"}}) == []
    assert refused("/data/../tmp/examples", volumes={"runs": "/data"}) == ["examples"]
    assert refused("/database/examples", volumes={"runs": "/data"}) == ["examples"]


def test_the_users_code_must_be_in_reach_too():
    assert refused("gs://b/x", module_path="penguins@/tmp/_wheels/penguins.whl") == ["module_path"]
    assert refused("gs://b/x", module_path="penguins@gs://b/_wheels/penguins.whl", module_file="/tmp/penguins.py") == []
    assert refused("gs://b/x", module_file="/tmp/penguins.py") == ["module_file"]
    assert refused("gs://b/x", module_path="an.installed.module", run_fn="an.installed.module.run_fn") == []


def test_pods_find_in_the_bucket_what_a_step_of_kubeflow_pipelines_has_a_copy_of():
    assert for_pods("/gcs/bucket/run/model", []) == "gs://bucket/run/model"
    assert for_pods("/s3/bucket/run/model", []) == "s3://bucket/run/model"
    assert for_pods("/minio/bucket/run/model", []) == "/minio/bucket/run/model"  # which TFX cannot open
    assert for_pods("/gcs/bucket/run/model", ["/gcs"]) == "/gcs/bucket/run/model"
    assert for_pods("gs://bucket/run", []) == "gs://bucket/run"
