"""TrainerResources in the PlatformSpec."""

from __future__ import annotations

import pytest

from polytrainer import TrainerResources
from polytrainer.pipelines.kubeflow import platform_spec

pytestmark = pytest.mark.unit

RESOURCES = TrainerResources(
    node_selector={"cloud.google.com/gke-accelerator": "nvidia-l4"},
    tolerations=[
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "value": "ml", "tolerationSeconds": 60},
    ],
    secrets={"wandb": {"api-key": "WANDB_API_KEY", "host": "WANDB_HOST"}, "db": {"password": "DB_PASSWORD"}},
    volumes={"datasets": "/data"},
    shared_memory="2Gi",
    image_pull_policy="Always",
    image_pull_secrets=["registry"],
)
CONFIG = {
    "nodeSelector": {"labels": {"cloud.google.com/gke-accelerator": "nvidia-l4"}},
    "tolerations": [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "value": "ml", "tolerationSeconds": "60"},
    ],
    "secretAsEnv": [
        {
            "secretName": "wandb",
            "keyToEnv": [
                {"secretKey": "api-key", "envVar": "WANDB_API_KEY"},
                {"secretKey": "host", "envVar": "WANDB_HOST"},
            ],
        },
        {"secretName": "db", "keyToEnv": [{"secretKey": "password", "envVar": "DB_PASSWORD"}]},
    ],
    "pvcMount": [{"constant": "datasets", "mountPath": "/data"}],
    "emptyDirMounts": [
        {"volumeName": "shared-memory", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "2Gi"}
    ],
    "imagePullPolicy": "Always",
    "imagePullSecret": [{"secretName": "registry"}],
}


def test_each_thing_asked_for_has_its_field():
    assert platform_spec.executor_config(RESOURCES) == CONFIG


def test_the_document_names_executors_by_their_label():
    document = platform_spec.document({"Trainer_executor": RESOURCES, "Transform_executor": TrainerResources(cpu=1)})
    assert document == {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"Trainer_executor": CONFIG}}}}}


def test_there_is_none_where_the_container_has_all_that_is_asked_for():
    assert platform_spec.document({"Trainer_executor": TrainerResources(gpu=1, cpu=4, env={"A": "1"})}) is None
