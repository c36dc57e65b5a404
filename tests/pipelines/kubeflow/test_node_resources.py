"""TrainerResources in the container of a compiled pipeline."""

from __future__ import annotations

import pytest

from polytrainer import TrainerResources
from polytrainer.pipelines.kubeflow import node_resources

pytestmark = pytest.mark.unit


def container(**asked):
    result = {"image": "trainer:1"}
    node_resources.add(TrainerResources(**asked), result)
    return result


def test_numbers_are_cores_and_gigabytes():
    assert container(cpu="3500m", memory="16Gi", cpu_request=2, memory_request="8G")["resources"] == {
        "cpuLimit": 3.5,
        "memoryLimit": 17.179869184,
        "cpuRequest": 2.0,
        "memoryRequest": 8.0,
    }


def test_an_accelerator_has_a_type_and_a_count():
    assert container(gpu=2)["resources"] == {"accelerator": {"type": "nvidia.com/gpu", "count": "2"}}
    assert container(gpu=1, gpu_type="amd.com/gpu")["resources"]["accelerator"]["type"] == "amd.com/gpu"


def test_environment_variables_are_the_containers_own():
    assert container(env={"A": "1", "B": ""})["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": ""}]


def test_a_container_stays_as_it_is_where_nothing_is_asked_for():
    assert container(secrets={"wandb": {"key": "KEY"}}) == {"image": "trainer:1"}
