"""Names of nodes that Argo takes."""

from __future__ import annotations

import re

import pytest

from polytrainer.pipelines.kubeflow import names

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("node_id", "name"),
    [
        ("CsvExampleGen", "CsvExampleGen"),
        ("Trainer.torch", "Trainer-torch"),
        ("my_trainer", "my-trainer"),
        ("_a..b_", "a-b"),
        ("Trainer-1", "Trainer-1"),
    ],
)
def test_what_argo_does_not_take_becomes_a_dash(node_id, name):
    assert names.safe(node_id) == name
    assert re.fullmatch("[a-zA-Z0-9][-a-zA-Z0-9]*", name)  # argo-workflows' workflowFieldNameFmt


def test_names_that_fall_together_are_known():
    assert names.clashes(["Trainer.a", "Trainer_a", "Trainer"]) == {"Trainer-a": ["Trainer.a", "Trainer_a"]}


def test_a_node_has_its_name_wherever_it_is_named():
    spec = {
        "root": {
            "dag": {
                "tasks": {
                    "Gen.a": {"taskInfo": {"name": "Gen.a"}, "componentRef": {"name": "Gen.a"}},
                    "Train.b": {
                        "taskInfo": {"name": "Train.b"},
                        "componentRef": {"name": "Train.b"},
                        "dependentTasks": ["Gen.a"],
                        "inputs": {
                            "artifacts": {
                                "examples": {
                                    "taskOutputArtifact": {"producerTask": "Gen.a", "outputArtifactKey": "a.b"}
                                }
                            },
                            "parameters": {
                                "run_fn": {"runtimeValue": {"constant": "a.b.run_fn"}},
                                "steps": {
                                    "taskOutputParameter": {"producerTask": "Gen.a", "outputParameterKey": "a.b"}
                                },
                            },
                        },
                    },
                }
            }
        },
        "components": {"Gen.a": {"executorLabel": "Gen.a_executor"}, "Train.b": {"executorLabel": "Train.b_executor"}},
        "deploymentSpec": {"executors": {"Gen.a_executor": {}, "Train.b_executor": {}}},
    }
    names.make_safe(spec)
    assert spec == {
        "root": {
            "dag": {
                "tasks": {
                    "Gen-a": {"taskInfo": {"name": "Gen-a"}, "componentRef": {"name": "Gen-a"}},
                    "Train-b": {
                        "taskInfo": {"name": "Train-b"},
                        "componentRef": {"name": "Train-b"},
                        "dependentTasks": ["Gen-a"],
                        "inputs": {
                            "artifacts": {
                                "examples": {
                                    "taskOutputArtifact": {"producerTask": "Gen-a", "outputArtifactKey": "a.b"}
                                }
                            },
                            "parameters": {
                                "run_fn": {"runtimeValue": {"constant": "a.b.run_fn"}},
                                "steps": {
                                    "taskOutputParameter": {"producerTask": "Gen-a", "outputParameterKey": "a.b"}
                                },
                            },
                        },
                    },
                }
            }
        },
        "components": {"Gen-a": {"executorLabel": "Gen-a_executor"}, "Train-b": {"executorLabel": "Train-b_executor"}},
        "deploymentSpec": {"executors": {"Gen-a_executor": {}, "Train-b_executor": {}}},
    }
