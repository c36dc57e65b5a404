"""What a cluster is told of a job, field by field, and that its kinds' own schemas know each of them."""

from __future__ import annotations

import pytest
from crd_schemas import definition, problems

from polytrainer.executors.distributed.kubernetes.kinds import KINDS
from polytrainer.executors.distributed.kubernetes.manifests import Submission, dropped, manifest
from polytrainer.proto.cluster import PyTorchJob, TFJob, TrainJob

pytestmark = pytest.mark.unit

WORKER = "polytrainer.executors.distributed.kubernetes.worker"
TORCHRUN = ["python", "-m", "torch.distributed.run", "--max-restarts=0", "-m", WORKER]
EVERYTHING = {
    "image": "registry/trainer:1",
    "nodes": 3,
    "resources": {
        "gpu": 4,
        "cpu": 8,
        "memory": "32Gi",
        "cpu_request": "500m",
        "shared_memory": "2Gi",
        "node_selector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "env": {"NCCL_DEBUG": "INFO"},
        "secrets": {"wandb": {"api-key": "WANDB_API_KEY"}},
        "image_pull_secrets": ["registry"],
    },
    "volumes": {"runs": "/data"},
    "service_account": "trainer",
    "labels": {"kueue.x-k8s.io/queue-name": "research"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "timeout_seconds": 3600,
}
AMOUNTS = {
    "limits": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "4"},
    "requests": {"cpu": "500m", "memory": "32Gi", "nvidia.com/gpu": "4"},
}
ENV = [
    {"name": "NCCL_DEBUG", "value": "INFO"},
    {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "api-key"}}},
]
MOUNTS = [{"name": "volume-0", "mountPath": "/data"}, {"name": "shared-memory", "mountPath": "/dev/shm"}]
POD = {
    "serviceAccountName": "trainer",
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "imagePullSecrets": [{"name": "registry"}],
    "volumes": [
        {"name": "volume-0", "persistentVolumeClaim": {"claimName": "runs"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
    ],
}


def made(options):
    result = manifest(Submission("penguins-0123", "gs://bucket/jobs/0123", options, {"polytrainer/folder": "x"}))
    assert problems(definition(KINDS[options.kind].resource.plural)["schema"], result) == []
    assert result["metadata"]["name"] == "penguins-0123"
    assert result["metadata"]["annotations"] == {"polytrainer/folder": "x"}
    assert result["metadata"]["labels"] == {**options.labels, "app.kubernetes.io/managed-by": "polytrainer"}
    return result


def test_a_train_job():
    job = made(TrainJob(**EVERYTHING, procs_per_node=4, runtime="torch-gpu", runtime_kind="TrainingRuntime"))
    assert (job["apiVersion"], job["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    pod = {
        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {**POD, "containers": [{"name": "node", "volumeMounts": MOUNTS}]},
    }
    assert job["spec"] == {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": "torch-gpu"},
        "trainer": {
            "image": "registry/trainer:1",
            "command": TORCHRUN,
            "args": ["gs://bucket/jobs/0123"],
            "numNodes": 3,
            "numProcPerNode": 4,
            "env": ENV,
            "resourcesPerNode": AMOUNTS,
        },
        "activeDeadlineSeconds": 3720,
        "runtimePatches": [
            {
                "manager": "polytrainer/launcher",
                "trainingRuntimeSpec": {
                    "template": {
                        "spec": {"replicatedJobs": [{"name": "node", "template": {"spec": {"template": pod}}}]}
                    }
                },
            }
        ],
    }


def test_a_train_job_that_asks_for_little_is_one_that_trainer_2_0_knows():
    job = made(TrainJob(image="trainer:1"))
    assert sorted(job["spec"]) == ["runtimeRef", "trainer"]
    assert sorted(job["spec"]["trainer"]) == ["args", "command", "image", "numNodes", "numProcPerNode"]
    assert job["spec"]["runtimeRef"]["name"] == "torch-distributed"


def replica(container, command):
    return {
        "restartPolicy": "Never",
        "template": {
            "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
            "spec": {
                **POD,
                "containers": [
                    {
                        "name": container,
                        "image": "registry/trainer:1",
                        "command": command,
                        "args": ["gs://bucket/jobs/0123"],
                        "env": ENV,
                        "resources": AMOUNTS,
                        "volumeMounts": MOUNTS,
                    }
                ],
            },
        },
    }


def test_a_pytorch_job():
    job = made(PyTorchJob(**EVERYTHING, procs_per_node=4))
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    told = replica("pytorch", TORCHRUN)
    assert job["spec"] == {
        "runPolicy": {"cleanPodPolicy": "Running", "activeDeadlineSeconds": 3720},
        "nprocPerNode": "4",
        "pytorchReplicaSpecs": {"Master": {"replicas": 1, **told}, "Worker": {"replicas": 2, **told}},
    }
    assert list(made(PyTorchJob(image="trainer:1"))["spec"]["pytorchReplicaSpecs"]) == ["Master"]


def test_a_tf_job():
    job = made(TFJob(**EVERYTHING))
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert job["spec"] == {
        "runPolicy": {"cleanPodPolicy": "Running", "activeDeadlineSeconds": 3720},
        "tfReplicaSpecs": {"Worker": {"replicas": 3, **replica("tensorflow", ["python", "-m", WORKER])}},
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nodes": 2}, r'unknown field "spec.nodes"'),
        ({"trainer": {"numNodes": "2"}}, r"spec.trainer.numNodes: Invalid value: '2'"),
        ({"runtimeRef": {}}, r"spec.runtimeRef.name: Required"),
        ({"activeDeadlineSeconds": 0}, r"activeDeadlineSeconds: Invalid value: 0: minimum 1"),
    ],
)
def test_the_schema_refuses_what_a_cluster_would(change, said):
    job = made(TrainJob(image="trainer:1"))
    job["spec"].update(change)
    assert said in "".join(problems(definition("trainjobs")["schema"], job))


@pytest.mark.newest
@pytest.mark.parametrize("options", [{"image": "trainer:1"}, EVERYTHING])
def test_kubeflow_trainer_s_own_models_keep_every_field(options):
    """Its API's models leave out what they do not know; where they are installed, which is on TFX 1.21."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    written = made(TrainJob(**options))
    read = models.TrainerV1alpha1TrainJob.from_dict(written).to_dict()
    assert dropped(written, read) == []
    assert read["spec"]["trainer"] == written["spec"]["trainer"]


def test_what_a_cluster_has_not_kept_is_found():
    said = {"trainer": {"image": "a", "env": [{"name": "b", "value": "c"}]}, "runtimePatches": [{"manager": "d"}]}
    stored = {"trainer": {"image": "a", "env": [{"name": "b"}]}, "suspend": False}
    assert dropped(said, stored) == ["spec.trainer.env.b.value", "spec.runtimePatches"]
    injected = {"trainer": {"image": "a", "env": [{"name": "0", "value": "1"}, *said["trainer"]["env"]]}}
    assert dropped(said, {**said, **injected, "suspend": False}) == []


def test_a_policy_of_pulling_is_for_the_kinds_that_have_one():
    job = made(PyTorchJob(image="trainer:1", resources={"image_pull_policy": "Always"}))
    [container] = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    assert container["imagePullPolicy"] == "Always"
    with pytest.raises(ValueError, match=r"resources.image_pull_policy: got one of a TrainJob; .*training runtime"):
        TrainJob(image="trainer:1", resources={"image_pull_policy": "Always"})
