"""What artifacts tell of examples: whether Transform has made them."""

from __future__ import annotations

import pytest


def examples(uri="/data/7", name="", **custom):
    from tfx.types import standard_artifacts

    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.name = uri, name
    for key, value in custom.items():
        artifact.set_string_custom_property(key, value)
    return artifact


@pytest.mark.parametrize(
    ("artifacts", "kind"),
    [
        ([{"name": "penguins:2026:Transform:transformed_examples:0"}], "transformed"),
        ([{"uri": "gs://bucket/run/Transform_-12/transformed_examples"}], "transformed"),
        ([{"uri": "/root/Transform/transformed_examples/5"}], "transformed"),
        ([{"uri": "/root/CsvExampleGen/examples/1", "input_fingerprint": "split:…"}], "raw"),
        ([{"uri": "/raw/1"}], "raw"),
        ([{"uri": "/home/transformed_examples_of_mine/1"}], None),
        ([{"uri": "/data/1"}], None),
        ([{"uri": "/raw/1"}, {"uri": "/root/Transform/transformed_examples/5"}], None),
    ],
)
def test_name_folder_and_properties_tell(artifacts, kind):
    from polytrainer.executors.examples_lineage import examples_are

    inputs = {"examples": [examples(**each) for each in artifacts], "raw_examples": [examples("/raw/1")]}
    assert examples_are(inputs) == kind
