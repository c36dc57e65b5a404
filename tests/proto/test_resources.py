"""TrainerResources: checked where they are made, with every problem in one error."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from polytrainer import TrainerResources

pytestmark = pytest.mark.unit

EVERYTHING = {
    "gpu": 2,
    "gpu_type": "amd.com/gpu",
    "cpu": "3500m",
    "memory": "16Gi",
    "cpu_request": 2,
    "memory_request": "8Gi",
    "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
    "tolerations": (
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "value": "ml", "effect": "NoExecute", "tolerationSeconds": 60},
        {"operator": "Exists"},
    ),
    "env": {"NCCL_DEBUG": "INFO"},
    "secrets": {"wandb": {"api-key": "WANDB_API_KEY"}},
    "volumes": {"datasets": "/data"},
    "shared_memory": "2Gi",
    "image_pull_policy": "IfNotPresent",
    "image_pull_secrets": ("registry",),
}


def test_everything_can_be_asked_for():
    assert dataclasses.asdict(TrainerResources(**EVERYTHING)) == EVERYTHING


def test_nothing_is_asked_for_unless_it_is_said():
    asked = dataclasses.asdict(TrainerResources())
    assert asked.pop("gpu_type") == "nvidia.com/gpu"
    assert {name: value for name, value in asked.items() if value} == {}


def test_they_are_values():
    resources = TrainerResources(**EVERYTHING)
    assert copy.deepcopy(resources) == pickle.loads(pickle.dumps(resources)) == resources
    with pytest.raises(dataclasses.FrozenInstanceError):
        resources.gpu = 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpu": 0.5}, r"resources\.gpu: got 0\.5; expected a whole number from 0\. Kubernetes gives out whole"),
        ({"gpu": -1}, r"resources\.gpu: got -1; expected a whole number from 0"),
        ({"gpu": True}, r"resources\.gpu: got True; expected a whole number from 0"),
        ({"gpu_type": ""}, r"resources\.gpu_type: got ''; expected the name of a device"),
        ({"cpu": "four"}, r"resources\.cpu: got 'four'; expected cores"),
        ({"memory": "16X"}, r"resources\.memory: got '16X'; expected memory, e\.g\. '16G' or '512Mi'"),
        ({"memory": 16}, r"resources\.memory: got 16; expected a megabyte at least"),
        ({"shared_memory": "lots"}, r"resources\.shared_memory: got 'lots'; expected memory"),
        ({"cpu": 1, "cpu_request": 2}, r"resources\.cpu_request: got 2; expected no more than cpu, which is 1"),
        (
            {"memory": "16G", "memory_request": "16Gi"},
            r"resources\.memory_request: got '16Gi'; expected no more than memory, which is '16G'",
        ),
        ({"node_selector": {"g": 1}}, r"""node_selector: got \{'g': 1\}; expected texts\. Write 'g': "1"\."""),
        ({"node_selector": "gpu"}, r"resources\.node_selector: got 'gpu'; expected a mapping"),
        ({"tolerations": {"key": "gpu"}}, r"resources\.tolerations: got \{'key': 'gpu'\}; expected a list"),
        ({"tolerations": [{}]}, r"resources\.tolerations\[0\]: got \{\}; expected a mapping with some of key, op"),
        ({"tolerations": [{"keys": "gpu"}]}, r"resources\.tolerations\[0\]: got the field 'keys'; expected some of k"),
        (
            {"tolerations": [{"key": "gpu", "operator": "In"}]},
            r"resources\.tolerations\[0\]\['operator'\]: got 'In'; expected one of Equal, Exists",
        ),
        (
            {"tolerations": [{"key": "gpu", "tolerationSeconds": "60"}]},
            r"resources\.tolerations\[0\]\['tolerationSeconds'\]: got '60'; expected int",
        ),
        ({"tolerations": [{"value": "gpu"}]}, r"resources\.tolerations\[0\]: got no key; expected a key"),
        (
            {"tolerations": [{"key": "gpu", "operator": "Exists", "value": "yes"}]},
            r"got a value beside the operator 'Exists'; expected a key alone",
        ),
        ({"env": {"DEPTH": 3}}, r"resources\.env: got \{'DEPTH': 3\}; expected texts"),
        ({"env": {"A B": ""}}, r"resources: got 'A B' as an environment variable; expected letters, digits"),
        ({"secrets": {"wandb": "api-key"}}, r"resources\.secrets\['wandb'\]: got 'api-key'; expected a mapping"),
        ({"secrets": {"W&B": {"key": "KEY"}}}, r"resources\.secrets: got 'W&B'; expected a name of Kubernetes"),
        (
            {"env": {"KEY": "1"}, "secrets": {"a": {"key": "KEY"}}},
            r"resources: got 'KEY' more than once in env and secrets; expected one source",
        ),
        ({"volumes": {"data": "data"}}, r"resources\.volumes\['data'\]: got 'data'; expected an absolute path"),
        ({"volumes": {"a": "/x", "b": "/x"}}, r"resources: got two mounts at /x; expected one volume at a path"),
        ({"volumes": {"a": "/dev/shm"}, "shared_memory": "1G"}, r"resources: got two mounts at /dev/shm"),
        ({"image_pull_policy": "always"}, r"resources\.image_pull_policy: got 'always'; expected one of Always"),
        ({"image_pull_secrets": "registry"}, r"resources\.image_pull_secrets: got 'registry'; expected a list"),
    ],
)  # fmt: skip
def test_what_no_cluster_could_be_asked_for(given, said):
    with pytest.raises(ValueError, match=said):
        TrainerResources(**given)


def test_all_problems_are_in_one_error():
    with pytest.raises(
        ValueError, match=r"(?s)3 problems:\n  1\. resources\.gpu.*2\. resources\.memory.*3\. resources\.v"
    ):
        TrainerResources(gpu=0.5, memory="16X", volumes={"data": "data"})
