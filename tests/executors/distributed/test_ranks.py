"""Who writes the model."""

from __future__ import annotations

import json

import pytest

from polytrainer.executors.distributed.ranks import is_chief

pytestmark = pytest.mark.unit


def tf_config(cluster, task, index):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": task, "index": index}})}


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": ""}, {"TF_CONFIG": "{}"}, {"TF_CONFIG": '{"cluster": {}}'}])
def test_a_process_that_is_told_nothing_is_alone(environ):
    assert is_chief(environ)


@pytest.mark.parametrize(
    ("cluster", "task", "index", "chief"),
    [
        ({"chief": ["a"], "worker": ["b"]}, "chief", 0, True),
        ({"chief": ["a"], "worker": ["b"]}, "worker", 0, False),
        ({"master": ["a"], "worker": ["b"]}, "master", 0, True),
        ({"master": ["a"], "worker": ["b"]}, "worker", 0, False),
        ({"worker": ["a", "b"]}, "worker", 0, True),
        ({"worker": ["a", "b"]}, "worker", 1, False),
        ({"chief": ["a"], "ps": ["b"]}, "ps", 0, False),
    ],
)
def test_tf_config_names_the_chief(cluster, task, index, chief):
    assert is_chief(tf_config(cluster, task, index)) is chief


def test_torchrun_gives_the_rank():
    assert is_chief({"RANK": "0"})
    assert not is_chief({"RANK": "1"})
    assert not is_chief({"PET_NODE_RANK": "1"})
    assert is_chief({"PET_NODE_RANK": "1", "RANK": "0"})


def test_tf_config_counts_before_rank():
    assert is_chief({**tf_config({"worker": ["a", "b"]}, "worker", 0), "RANK": "1"})


@pytest.mark.parametrize("text", ["no json", '{"cluster": {"worker": ["a"]}}', "[1]"])
def test_a_tf_config_that_cannot_be_read_is_an_error(text):
    with pytest.raises(ValueError, match="TF_CONFIG: got"):
        is_chief({"TF_CONFIG": text})


def test_a_rank_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="RANK: got 'first'"):
        is_chief({"RANK": "first"})
