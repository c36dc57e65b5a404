"""The newest blessed model with its test results, in a store of ML Metadata, whatever type these have."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.line
OURS, EXAMPLES = "polytrainer.TestResults", "Examples"


@pytest.fixture
def mlmd():
    """A store in memory: `publish(results)` adds a blessed model and its test results; `resolve(results)` finds."""
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2
    from tfx.types import artifact_utils, standard_artifacts

    import polytrainer
    from polytrainer.components.latest_blessed import LatestBlessedResults

    store = MetadataStore(metadata_store_pb2.ConnectionConfig(fake_database={}))
    kinds = {
        kind.TYPE_NAME: kind
        for kind in (*(getattr(standard_artifacts, n) for n in ("Model", "ModelBlessing", "Examples")),
                     polytrainer.TestResults)
    }  # fmt: skip
    types = {name: kind()._artifact_type for name, kind in kinds.items()}
    for each in types.values():
        each.id = store.put_artifact_type(each)
    trainer = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))

    def put(name, **custom):
        [key] = store.put_artifacts([metadata_store_pb2.Artifact(type_id=types[name].id, uri=f"/{name}")])
        [artifact] = store.get_artifacts_by_id([key])
        for each, value in custom.items():
            artifact.custom_properties[each].int_value = value
        store.put_artifacts([artifact])
        return key

    def publish(results):
        model, told = put("Model"), put(results)
        [execution] = store.put_executions([metadata_store_pb2.Execution(type_id=trainer)])
        output = metadata_store_pb2.Event.OUTPUT
        store.put_events(
            [metadata_store_pb2.Event(artifact_id=key, execution_id=execution, type=output) for key in (model, told)]
        )
        put("ModelBlessing", blessed=1, current_model_id=model)
        return model, told

    def resolve(results):
        channels = {
            key: artifact_utils.deserialize_artifacts(types[name], store.get_artifacts_by_type(name))
            for key, name in {"model": "Model", "blessing": "ModelBlessing", "results": results}.items()
        }
        chosen = LatestBlessedResults().resolve_artifacts(store, channels)
        return tuple(artifact.id for key in ("model", "results") for artifact in chosen[key])

    return publish, resolve


@pytest.mark.parametrize("kind", [OURS, EXAMPLES])
def test_the_newest_blessed_model_comes_with_its_test_results(mlmd, kind):
    publish, resolve = mlmd
    assert resolve(kind) == ()
    publish(kind)
    newest = publish(kind)
    assert resolve(kind) == newest


def test_a_store_that_is_older_than_the_type_has_no_baseline_and_says_so(mlmd, caplog):
    publish, resolve = mlmd
    publish(EXAMPLES)
    assert resolve(OURS) == ()
    assert "has test results of type Examples, which the channel 'results' of polytrainer.TestResults" in caplog.text
    newest = publish(OURS)
    assert resolve(OURS) == newest


def test_an_older_winner_is_not_taken_for_the_newest_by_a_channel_of_examples(mlmd):
    publish, resolve = mlmd
    publish(EXAMPLES)
    publish(OURS)
    with pytest.raises(
        ValueError, match=r"of type polytrainer\.TestResults, .*Channel\(type=polytrainer.TestResults\)"
    ):
        resolve(EXAMPLES)


def test_other_channels_are_refused(mlmd):
    from polytrainer.components.latest_blessed import LatestBlessedResults

    with pytest.raises(ValueError, match=r"got the channels \['a'\] of \[\]; expected one each of Model"):
        LatestBlessedResults().resolve_artifacts(None, {"a": []})
