"""By what a job is found again."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from polytrainer.proto.cluster import TrainJob


def executor(node="Trainer.torch", run="monday", pipeline="penguins"):
    context = SimpleNamespace(
        pipeline_node=SimpleNamespace(node_info=SimpleNamespace(id=node)),
        pipeline_info=SimpleNamespace(id=pipeline),
        pipeline_run_id=run,
    )
    return SimpleNamespace(_context=context)


INPUTS = {"examples": [SimpleNamespace(uri="gs://bucket/1")]}
PROPERTIES = {"train_args": "{}", "module_path": "penguins@gs://bucket/_wheels/1.whl"}


def named(executor=executor(), inputs=INPUTS, properties=PROPERTIES, code="abc"):  # noqa: B008
    from polytrainer.executors.distributed.kubernetes import identity

    return identity.name(executor, identity.training(executor, inputs, properties, code))


def test_another_run_of_the_same_training_finds_its_job():
    assert named(executor(run="tuesday")) == named()
    assert named(properties={**PROPERTIES, "module_path": "penguins@gs://bucket/_wheels/2.whl"}) == named()


@pytest.mark.parametrize(
    "change",
    [
        {"executor": executor(node="Trainer.keras")},
        {"executor": executor(pipeline="digits")},
        {"inputs": {"examples": [SimpleNamespace(uri="gs://bucket/2")]}},
        {"properties": {**PROPERTIES, "train_args": '{"seed": 2}'}},
        {"code": "abd"},
    ],
)
def test_another_training_has_another_job(change):
    assert named(**change) != named()


@pytest.mark.parametrize(
    ("node", "start"),
    [("Trainer.torch", "trainer-torch-"), ("9 Lives", "lives-"), ("_", "trainer-"), ("T" * 80, "t" * 30 + "-")],
)
def test_its_name_is_one_that_kubernetes_takes_and_a_person_knows(node, start):
    name = named(executor(node=node))
    assert name.startswith(start)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 43  # and that of its pods, "-worker-99" or "-node-0-99-abcde" longer, at most 63


def test_a_job_that_is_told_otherwise_is_another_and_one_that_is_followed_otherwise_is_not():
    from polytrainer.executors.distributed.kubernetes import identity

    def marks(**options):
        return identity.marks(executor(), TrainJob(image="trainer:1", **options))

    assert marks(poll_seconds=1, restarts=3, timeout_seconds=60) == marks()
    assert marks(nodes=2) != marks()
    assert marks()["polytrainer/pipeline-run"] == "monday"
