"""How a cluster is reached, and what becomes of credentials that run out."""

from __future__ import annotations

import json

import pytest

from polytrainer.executors.distributed.kubernetes import api
from polytrainer.executors.distributed.kubernetes.api import Cluster
from polytrainer.executors.distributed.kubernetes.kinds import KINDS
from polytrainer.executors.errors import TrainingError

pytestmark = pytest.mark.line  # each has a Kubernetes client of its own

TRAIN_JOBS = KINDS["TrainJob"].resource


def test_the_namespace_is_the_one_asked_for_or_that_of_the_kubeconfigs_context(kubernetes):
    assert Cluster().namespace == "team-a"
    assert Cluster("team-b").namespace == "team-b"


def test_another_context_may_be_asked_for(kubernetes, tmp_path):
    path = tmp_path / "cluster" / "kubeconfig"
    config = json.loads(path.read_text())
    other = {"name": "there", "context": {"cluster": "here", "user": "me", "namespace": "team-c"}}
    config["contexts"].append(other)
    path.write_text(json.dumps(config))
    assert Cluster(context="there").namespace == "team-c"
    with pytest.raises(TrainingError, match=r"no way to it .*nowhere.*; expected a kubeconfig, named by KUBECONFIG"):
        Cluster(context="nowhere")


def test_no_kubeconfig_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(TrainingError, match=r"the cluster: got no way to it .*expected a kubeconfig"):
        Cluster()


def test_within_a_pod_its_service_account_is_used(monkeypatch, tmp_path):
    from kubernetes.config import incluster_config

    for name, text in (("token", "of-the-pod"), ("ca.crt", "a certificate"), ("namespace", "team-p\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(api, "_NAMESPACE_FILE", tmp_path / "namespace")
    seen = []
    monkeypatch.setattr("kubernetes.client.ApiClient", lambda configuration: seen.append(configuration) or _client())
    assert Cluster().namespace == "team-p"
    assert seen[0].host == "https://10.0.0.1:443"
    assert seen[0].get_api_key_with_prefix("authorization") == "bearer of-the-pod"


def _client():
    from types import SimpleNamespace

    return SimpleNamespace(configuration=SimpleNamespace())


def test_credentials_that_ran_out_are_read_again(kubernetes):
    kubernetes.faults = [401]
    assert Cluster().get(TRAIN_JOBS, "none") is None
    kubernetes.faults = [401, 401]
    with pytest.raises(TrainingError, match=r"401 .*Are the kubeconfig's credentials still good"):
        Cluster().get(TRAIN_JOBS, "none")
