"""What is logged: what often turns out to be a mistake."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from polytrainer.pipelines.kubeflow import notices

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "image", ["trainer", "a/trainer:latest", "registry:5000/a/trainer", "registry:5000/trainer:latest"]
)
def test_images_that_may_be_others_tomorrow(image):
    assert notices.is_moving(image)


@pytest.mark.parametrize(
    "image", ["trainer:1.4", "registry:5000/a/trainer:v1", "a/trainer@sha256:abc", "a/trainer:latest@sha256:abc"]
)
def test_images_that_stay(image):
    assert not notices.is_moving(image)


def test_images_and_folders_are_warned_of(caplog):
    nodes = [
        SimpleNamespace(id="CsvExampleGen", exec_properties={"input_base": "/data"}),
        SimpleNamespace(id="Elsewhere", exec_properties={"input_base": "gs://bucket/data"}),
        SimpleNamespace(id="Trainer", exec_properties={"run_fn": "package.run_fn"}),
    ]
    notices.give(SimpleNamespace(components=nodes), ["trainer:1.4", "trainer"])
    [of_image, of_folder] = [record.getMessage() for record in caplog.records]
    assert of_image.startswith("image trainer: a node of the cluster may have an older one of this name.")
    assert of_folder.startswith("CsvExampleGen.input_base: /data is looked for inside of the container")
