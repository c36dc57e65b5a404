"""The type of test results: a type of its own, with the properties of Examples."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.line


@pytest.fixture
def results(tmp_path):
    import polytrainer

    artifact = polytrainer.TestResults()
    artifact.uri, artifact.splits = str(tmp_path), ["eval", "test"]
    return artifact


def test_it_has_the_attributes_of_examples_and_another_name():
    from tfx.types import standard_artifacts

    import polytrainer

    examples, results = standard_artifacts.Examples(), polytrainer.TestResults()
    for artifact in (examples, results):
        artifact.span, artifact.version, artifact.split_names = 3, 2, '["a"]'
    for name in standard_artifacts.Examples.PROPERTIES:
        assert getattr(results, name) == getattr(examples, name)
    assert polytrainer.TestResults.TYPE_ANNOTATION is standard_artifacts.Examples.TYPE_ANNOTATION
    assert polytrainer.TestResults.TYPE_NAME != standard_artifacts.Examples.TYPE_NAME


def test_tfx_finds_its_splits(results):
    from tfx.types import artifact_utils

    assert artifact_utils.decode_split_names(results.split_names) == ["eval", "test"] == results.splits
    assert artifact_utils.get_split_uris([results], "test") == [f"{results.uri}/Split-test"]
    assert results.path(split="eval") == f"{results.uri}/Split-eval"
    with pytest.raises(ValueError, match=r"Split does not exist.*train"):
        results.path(split="train")


def test_what_mlmd_remembers_is_read_as_this_class(results):
    from tfx.types import artifact_utils

    import polytrainer

    restored = artifact_utils.deserialize_artifact(results.artifact_type, results.mlmd_artifact)
    assert type(restored) is polytrainer.TestResults
    assert restored.splits == results.splits


def test_its_json_is_read_as_this_class(results):
    from tfx.types import artifact_utils

    import polytrainer

    text = artifact_utils.jsonify_artifact_dict({"test_results": [results]})
    [restored] = artifact_utils.parse_artifact_dict(text)["test_results"]
    assert type(restored) is polytrainer.TestResults
    assert json.loads(restored.split_names) == ["eval", "test"]


def test_a_container_of_kubeflow_pipelines_reads_it_as_this_class(results):
    """There TFX knows the name of the type alone, and imports the class by it."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as entrypoint

    import polytrainer

    schema = compiler_utils.get_artifact_schema(polytrainer.TestResults)
    value = {"uri": "gs://a", "type": {"instanceSchema": schema}, "metadata": {"split_names": '["test"]'}}
    artifacts = pipeline_spec_pb2.ArtifactList(
        artifacts=[json_format.ParseDict(value, pipeline_spec_pb2.RuntimeArtifact())]
    )
    [restored] = entrypoint.parse_raw_artifact_dict({"test_results": artifacts}, {})["test_results"]
    assert type(restored) is polytrainer.TestResults
    assert restored.splits == ["test"]
