"""polytrainer.ModelComparator at definition time, and in a pipeline with two tiny candidates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from comparisons import rows_of, write_results

pytestmark = pytest.mark.line
ARGS = {"task": "REGRESSION", "label_key": "label"}
RANKING = {**ARGS, "task": "RANKING", "query_key": "query"}


def channels(results=None):
    from tfx.types import Channel, standard_artifacts

    import polytrainer

    return Channel(type=results or polytrainer.TestResults), Channel(type=standard_artifacts.Model)


def comparator(**changes):
    import polytrainer

    return polytrainer.ModelComparator(**{"candidates": {"one": channels()}, "args": ARGS, **changes})


def test_candidates_become_inputs_by_name():
    from tfx.types import standard_artifacts

    import polytrainer

    trainer = polytrainer.Trainer(examples=channels(standard_artifacts.Examples)[0], run_fn="a.run_fn")
    node = comparator(candidates={"torch": trainer, "keras": channels()}, baseline=channels())
    assert {key: channel.type for key, channel in node.spec.inputs.items()} == {
        key: standard_artifacts.Model if "model" in key else polytrainer.TestResults
        for key in (
            "test_results_torch", "model_torch", "test_results_keras", "model_keras", "baseline_results",
            "baseline_model",
        )
    }  # fmt: skip
    assert list(node.outputs) == ["blessing", "comparison", "best_model"]
    assert json.loads(node.spec.exec_properties["comparator_args"]) == ARGS
    assert node.spec.inputs["model_torch"] is trainer.outputs["model"]


def test_test_results_of_type_examples_are_compared_beside_others():
    """A store that is older than the type, and Trainers with `test_results_as_examples`."""
    from tfx.types import standard_artifacts

    import polytrainer

    older = channels(standard_artifacts.Examples)
    node = comparator(candidates={"new": channels(), "old": older}, baseline=older)
    assert {key: channel.type for key, channel in node.spec.inputs.items() if "results" in key} == {
        "test_results_new": polytrainer.TestResults,
        "test_results_old": standard_artifacts.Examples,
        "baseline_results": standard_artifacts.Examples,
    }


def test_a_channel_of_another_type_holds_no_test_results():
    from tfx.types import standard_artifacts

    match = r"candidates\['a'\]: got a channel of Schema for the test results; expected one of polytrainer.TestResults"
    with pytest.raises(TypeError, match=match):
        comparator(candidates={"a": channels(standard_artifacts.Schema)})


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"candidates": {}}, ValueError, r"candidates: got none; expected at least one"),
        ({"candidates": {"a-b": 1}}, ValueError, r"candidates: got the name 'a-b'; expected a Python identifier"),
        ({"candidates": {"baseline": 1}}, ValueError, r"'baseline' is what the baseline is called"),
        ({"candidates": {"a": 1}}, TypeError, r"candidates\['a'\]: got int; expected a Trainer, or the channels"),
        ({"baseline": (1, 2)}, TypeError, r"baseline: got tuple; expected a Trainer, or the channels"),
        ({"args": 3}, TypeError, r"args: expected ComparatorArgs, a dict or JSON, got int"),
        ({"args": {**ARGS, "metric": 1}}, ValueError, r"not a valid ComparatorArgs: .*metric.* primary_metric"),
        ({"args": {"label_key": "y"}}, ValueError, r"comparator_args.task: got 0; expected one of BINARY, MULTI"),
        ({"args": {**ARGS, "query_key": "q"}}, ValueError, r"query_key: got 'q'; expected none, as REGRESSION has no"),
        ({"args": {**ARGS, "task": "RANKING"}}, ValueError, r"query_key: got none; expected the feature that names"),
        ({"args": {**RANKING, "query_key": "label"}}, ValueError, r"query_key: got 'label'; expected another feature"),
        ({"args": {**RANKING, "metrics": ["ndcg@0"]}}, ValueError, r"got 'ndcg@0'; expected one of ndcg, .* or ndcg@k"),
        ({"args": {**RANKING, "primary_metric": "map@5"}}, ValueError, r"primary_metric: got 'map@5'; expected one of"),
        ({"args": {**ARGS, "metrics": ["ndcg@5"]}}, ValueError, r"metrics: got 'ndcg@5'; expected one of mse, rmse"),
        ({"args": {**ARGS, "label_key": ""}}, ValueError, r"label_key: got none; expected the name of the label"),
        ({"args": {**ARGS, "metrics": ["f1"]}}, ValueError, r"metrics: got 'f1'; expected one of mse, rmse, mae"),
        ({"args": {**ARGS, "primary_metric": "auc"}}, ValueError, r"primary_metric: got 'auc'; expected one of mse"),
        ({"args": {**ARGS, "metrics": ["mae", "mae"]}}, ValueError, r"metrics: got \['mae', 'mae'\]; expected diff"),
        ({"args": {**ARGS, "confidence": 1}}, ValueError, r"confidence: got 1.0; expected more than 0 and less"),
        ({"args": {**ARGS, "bootstrap_samples": -1}}, ValueError, r"bootstrap_samples: got -1; expected 0 or more"),
        ({"args": {**ARGS, "slices": [{}]}}, ValueError, r"slices\[0\].features: got none; expected the names"),
        ({"args": {**ARGS, "thresholds": [{"metric": "mse"}]}}, ValueError, r"thresholds\[0\]: got no bound; exp"),
        (
            {"args": {**ARGS, "thresholds": [{"metric": "mse", "lower": 2, "upper": 1}]}},
            ValueError, r"got lower=2.0 and upper=1.0; expected a lower that is not above",
        ),
        (
            {"args": {**ARGS, "thresholds": [{"metric": "mse", "lower": 2, "slice_features": ["x"]}]}},
            ValueError, r"slice_features: got \['x'\]; expected the features of one of comparator_args.slices",
        ),
        (
            {"args": {**ARGS, "slices": [{"features": ["x", "y"]}], "thresholds": [
                {"metric": "mse", "lower": 2, "slice_features": ["x"]}]}},
            ValueError, r"thresholds\[0\].slice_features: got \['x'\]; expected the features of one of",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_at_definition_time(changes, error, match):
    with pytest.raises(error, match=match):
        comparator(**changes)


@pytest.mark.e2e
def test_in_a_pipeline_the_blessed_model_becomes_the_baseline_of_the_next_run(tmp_path):
    """Two runs: in the first there is no baseline; in the second the same models are no better than it."""
    from ml_metadata.metadata_store import MetadataStore
    from tfx import v1 as tfx
    from tfx.types import standard_artifacts as artifacts

    import polytrainer
    from polytrainer.components.latest_blessed import LatestBlessedResults
    from polytrainer.pipelines.penguins.pipeline import local_beam_args

    labels = np.random.RandomState(0).randn(80).astype(np.float32)
    candidates = {}
    for name, error in (("good", 0.1), ("bad", 1.0)):
        told = labels + error * np.random.RandomState(1).randn(80).astype(np.float32)
        write_results(tmp_path / name / "results", rows_of(told, labels))
        (tmp_path / name / "model" / "Format-Serving").mkdir(parents=True)
        (tmp_path / name / "model" / "Format-Serving" / "model.txt").write_text(name)
        candidates[name] = tmp_path / name
    source = tmp_path / "code" / "tiny_trainer.py"
    source.parent.mkdir()
    source.write_text(TINY_TRAINER)

    config = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

    def run():
        import importlib.util
        import sys

        spec = importlib.util.spec_from_file_location("tiny_trainer", source)
        module = importlib.util.module_from_spec(spec)
        sys.modules["tiny_trainer"] = module
        spec.loader.exec_module(module)
        trainers = {name: module.tiny(source=str(path)).with_id(name) for name, path in candidates.items()}
        latest = tfx.dsl.Resolver(
            strategy_class=LatestBlessedResults,
            model=tfx.dsl.Channel(type=artifacts.Model),
            model_blessing=tfx.dsl.Channel(type=artifacts.ModelBlessing),
            test_results=tfx.dsl.Channel(type=polytrainer.TestResults),
        ).with_id("latest")
        baseline = latest.outputs["test_results"], latest.outputs["model"]
        compare = polytrainer.ModelComparator(candidates=trainers, baseline=baseline, args=ARGS)
        push = tfx.components.Pusher(
            model=compare.outputs["best_model"],
            model_blessing=compare.outputs["blessing"],
            push_destination={"filesystem": {"base_directory": str(tmp_path / "serving")}},
        )
        nodes = [*trainers.values(), latest, compare, push]
        pipeline = tfx.dsl.Pipeline(
            "comparing", str(tmp_path / "artifacts"), components=nodes, metadata_connection_config=config,
            beam_pipeline_args=local_beam_args(),
        )  # fmt: skip
        tfx.orchestration.LocalDagRunner().run(pipeline)
        store = MetadataStore(config)
        newest = max(store.get_artifacts_by_type("ModelEvaluation"), key=lambda each: each.id)
        return store, json.loads(Path(newest.uri, "comparison.json").read_text())

    store, first = run()
    assert (first["best"], first["blessed"], sorted(first["models"])) == ("good", True, ["bad", "good"])
    [blessing] = store.get_artifacts_by_type("ModelBlessing")
    of_trainer = {each.id: each.uri for each in store.get_artifacts_by_type("Model")}
    assert of_trainer[blessing.custom_properties["current_model_id"].int_value] == first["models"]["good"]["uri"]
    [pushed] = (tmp_path / "serving").rglob("model.txt")
    assert pushed.read_text() == "good"

    _, second = run()
    assert (second["best"], second["blessed"]) == ("good", False)
    assert second["models"]["baseline"]["id"] == blessing.custom_properties["current_model_id"].int_value
    assert second["candidates"]["bad"]["against"]["baseline"]["mse"]["verdict"] == "worse"
    assert len(list((tmp_path / "serving").rglob("model.txt"))) == 1


TINY_TRAINER = """
import pathlib, shutil
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
import polytrainer

@component
def tiny(
    source: Parameter[str],
    model: OutputArtifact[standard_artifacts.Model],
    test_results: OutputArtifact[polytrainer.TestResults],
):
    shutil.copytree(pathlib.Path(source, "model"), model.uri, dirs_exist_ok=True)
    shutil.copytree(pathlib.Path(source, "results"), test_results.uri, dirs_exist_ok=True)
    test_results.split_names = '["test"]'
"""
