"""Which process writes the model, and what the environment has to say about it."""

from __future__ import annotations

import json
import os

import pytest

from polytrainer.executors.distributed import ranks
from polytrainer.executors.errors import PreflightError

pytestmark = pytest.mark.unit
OF_A_RANK = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def tf_config(cluster, task, index):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": task, "index": index}})}


WORKER_1 = tf_config({"worker": ["a", "b"]}, "worker", 1)


@pytest.fixture
def environ(monkeypatch):
    """Sets the environment: `environ({name: value})`."""
    for name in (*OF_A_RANK, "TF_CONFIG", "PET_NODE_RANK", "PET_NNODES", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)

    def set_variables(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


# ---- nobody asked for several processes


@pytest.mark.parametrize("strategy", ["", "default", "mirrored", "single"])
@pytest.mark.parametrize(
    "left",
    [{}, {"RANK": "1"}, {"RANK": ""}, OF_A_RANK, {"PET_NODE_RANK": "1"}, WORKER_1, {"TF_CONFIG": "{no json"}],
    ids=["nothing", "RANK", "empty RANK", "whole", "PET_NODE_RANK", "TF_CONFIG", "broken TF_CONFIG"],
)
def test_what_is_left_in_the_environment_makes_no_process_one_of_several(environ, strategy, left):
    environ(left)
    assert ranks.is_chief(strategy)
    assert not ranks.is_ranked(strategy)


def test_what_is_ignored_is_said(environ, caplog):
    environ({"RANK": "1", **WORKER_1})
    ranks.warn_of_ignored("")
    assert "RANK=1, TF_CONFIG=" in caplog.text
    assert "ignored: train_args.strategy 'default' is that of one process" in caplog.text


def test_nothing_is_said_of_variables_that_count_or_that_say_nothing(environ, caplog):
    environ({"RANK": "0"})
    ranks.warn_of_ignored("")
    environ(OF_A_RANK)
    ranks.warn_of_ignored("ddp")
    assert not caplog.records


def test_an_estimator_does_not_see_the_cluster_of_another_job(environ):
    environ(WORKER_1)
    with ranks.cluster_of_the_job():
        assert "TF_CONFIG" not in os.environ
        assert ranks.is_chief_of_cluster()
    assert os.environ["TF_CONFIG"] == WORKER_1["TF_CONFIG"]
    with ranks.job(), ranks.cluster_of_the_job():
        assert not ranks.is_chief_of_cluster()


# ---- somebody did


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_of_several_ranks_the_first_is_the_chief(environ, strategy):
    environ({**OF_A_RANK, **WORKER_1})
    assert ranks.is_ranked(strategy)
    assert not ranks.is_chief(strategy)
    environ({"RANK": "0"})
    assert ranks.is_chief(strategy)


def test_torchrun_asks_for_several(environ):
    environ({**OF_A_RANK, "TORCHELASTIC_RUN_ID": "1"})
    assert ranks.is_ranked("")
    assert not ranks.is_chief("")


@pytest.mark.parametrize("size", ["1", "", None])
def test_a_rank_of_one_starts_ranks_itself(environ, size):
    environ({"RANK": "1", **({} if size is None else {"WORLD_SIZE": size})})
    assert not ranks.is_ranked("ddp")
    assert ranks.is_chief("ddp")


def test_of_several_nodes_that_start_ranks_the_first_has_the_chief(environ):
    environ({"PET_NNODES": "2", "PET_NODE_RANK": "1"})
    assert not ranks.is_chief("ddp")
    environ({"PET_NNODES": "1"})
    assert ranks.is_chief("ddp")


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
def test_tf_config_names_the_chief_of_workers(environ, cluster, task, index, chief):
    environ(tf_config(cluster, task, index))
    assert ranks.is_chief("multi_worker_mirrored") is chief
    assert ranks.is_chief_by_environment() is chief


@pytest.mark.parametrize(
    ("variables", "chief"),
    [
        ({}, True),
        ({"TF_CONFIG": ""}, True),
        ({"TF_CONFIG": '{"cluster": {}}'}, True),
        ({"RANK": "0"}, True),
        ({"RANK": "1"}, False),
        ({"PET_NODE_RANK": "1"}, False),
        ({"PET_NODE_RANK": "1", "RANK": "0"}, True),
        ({**tf_config({"worker": ["a", "b"]}, "worker", 0), "RANK": "1"}, True),
    ],
)
def test_in_a_training_job_its_variables_count(environ, variables, chief):
    environ(variables)
    with ranks.job():
        assert ranks.is_chief("") is chief
    assert ranks.is_chief("")


# ---- what does not fit together


@pytest.mark.parametrize("text", ["no json", '{"cluster": {"worker": ["a"]}}', "[1]"])
def test_a_tf_config_that_cannot_be_read_is_an_error(environ, text):
    environ({"TF_CONFIG": text})
    with pytest.raises(PreflightError, match=r"variable TF_CONFIG: got .*cluster and task.*\n?.*Unset it"):
        ranks.is_chief("multi_worker_mirrored")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"RANK": ""}, r"variable RANK: got ''; expected a number from 0 to 1"),
        ({"RANK": "first"}, r"variable RANK: got 'first'"),
        ({"RANK": "2"}, r"variable RANK: got '2'; expected a number from 0 to 1, as WORLD_SIZE is 2"),
        ({"WORLD_SIZE": "two"}, r"variable WORLD_SIZE: got 'two'"),
        ({"MASTER_ADDR": ""}, r"variable MASTER_ADDR: got ''; expected where rank 0 listens"),
    ],
)
def test_variables_of_ranks_that_do_not_fit_are_an_error_that_names_them(environ, changes, match):
    environ({**OF_A_RANK, **changes})
    with pytest.raises(PreflightError, match=match):
        ranks.is_ranked("ddp")


def test_an_address_that_is_missing_is_named(environ):
    environ({"RANK": "0", "WORLD_SIZE": "2"})
    with pytest.raises(PreflightError, match=r"MASTER_ADDR: got nothing.*\n?.*Unset it if this process is alone"):
        ranks.is_ranked("ddp")
