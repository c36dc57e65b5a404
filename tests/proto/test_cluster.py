"""A training job as a pipeline's author writes it."""

from __future__ import annotations

import pytest

from polytrainer.proto import cluster
from polytrainer.proto.cluster import PyTorchJob, TFJob, TrainJob
from polytrainer.proto.resources import TrainerResources

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "job",
    [
        TrainJob(image="trainer:1"),
        PyTorchJob(image="trainer:1", nodes=2, procs_per_node=4, namespace="team-a", volumes={"runs": "/data"}),
        TFJob(image="trainer:1", nodes=2, timeout_seconds=60, labels={"a": "b"}),
        TrainJob(
            image="trainer:1",
            resources=TrainerResources(
                gpu=2, cpu=0.5, memory="16Gi", tolerations=[{"operator": "Exists"}], secrets={"a": {"b": "C"}}
            ),
        ),
    ],
)
def test_a_job_is_what_it_was_after_a_way_through_json(job):
    assert cluster.loads(cluster.dumps(job)) == job


def test_resources_are_those_of_a_node_or_a_dict():
    job = TrainJob(image="a", resources={"gpu": 1, "memory": "16G", "volumes": {"data": "/data"}})
    assert job.resources == TrainerResources(gpu=1, memory="16G", volumes={"data": "/data"})
    assert job.mounts == {"data": "/data"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": ""}, r"TrainJob.image: got ''; expected the name of a container image"),
        ({"nodes": 0}, r"TrainJob.nodes: got 0; expected a whole number, 1 or more"),
        ({"nodes": True}, r"TrainJob.nodes: got True"),
        ({"procs_per_node": 0}, r"TrainJob.procs_per_node: got 0"),
        ({"procs_per_node": 4, "resources": {"gpu": 2}}, r"got 4 ranks for 2 GPUs; expected at most one"),
        ({"poll_seconds": 0}, r"TrainJob.poll_seconds: got 0; expected seconds, more than 0"),
        ({"timeout_seconds": -1}, r"TrainJob.timeout_seconds: got -1"),
        ({"namespace": "Team A"}, r"TrainJob.namespace: got 'Team A'"),
        ({"runtime_kind": "Runtime"}, r"TrainJob.runtime_kind: got 'Runtime'; expected one of ClusterTrainingRuntime"),
        ({"volumes": {"runs": "data"}}, r"TrainJob.volumes: got 'runs': 'data'; expected .*absolute path"),
        ({"volumes": "/data"}, r"TrainJob.volumes: got '/data'; expected"),
        ({"resources": {"memory": "much"}}, r"resources.memory: got 'much'; expected memory, e.g."),
        ({"resources": {"gpus": 1}}, r"resources: got gpus; expected some of gpu, "),
        ({"resources": 4}, r"resources: got a int; expected polytrainer.TrainerResources"),
        (
            {"resources": {"env": {"PET_NNODES": "3"}}},
            r"got 'PET_NNODES'; expected variables that the job's",
        ),
        ({"resources": {"secrets": {"a": {"b": "TF_CONFIG"}}}}, r"got 'TF_CONFIG'; expected variables that"),
    ],
)
def test_what_no_cluster_could_be_asked_for_is_refused_where_it_is_written(options, said):
    with pytest.raises(ValueError, match=said):
        TrainJob(**{"image": "trainer:1", **options})


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match=r"(?s)2 problems:.*TFJob.nodes.*TFJob.image"):
        TFJob(image="", nodes=0)


def test_something_else_is_no_job():
    with pytest.raises(TypeError, match=r"cluster: got dict; expected one of TrainJob, PyTorchJob, TFJob"):
        cluster.dumps({"nodes": 2})
    with pytest.raises(ValueError, match=r"cluster: got .*KeyError.*expected JSON of one of"):
        cluster.loads('{"kind": "MPIJob"}')
