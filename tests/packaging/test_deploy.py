"""deploy/: the image and what Kubernetes is told. They belong to the checkout, not to the package."""

from __future__ import annotations

import re
from pathlib import PurePath

import pytest

pytestmark = pytest.mark.unit


@pytest.fixture
def dockerfile(checkout):
    return (checkout / "deploy" / "Dockerfile").read_text()


def test_the_image_knows_every_tfx_line_by_its_lock(checkout, dockerfile):
    assert "COPY requirements/tfx-${TFX}.txt constraints.txt" in dockerfile
    [lines] = re.findall(r"^# TFX +(.+): the one", dockerfile, re.M)
    locks = sorted(lock.stem.removeprefix("tfx-") for lock in (checkout / "requirements").glob("tfx-*.txt"))
    assert re.findall(r"\d\.\d+", lines) == locks


def test_the_image_has_what_the_package_is_built_of(checkout):
    """The ignore file lets in what is named there, and no more: an environment in the checkout has gigabytes."""
    rules = (checkout / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert rules[1] == "*"
    assert let_in == {
        *("components", "executors", "pipelines", "proto", "requirements"),
        *("__init__.py", "py.typed", "setup.py", "pyproject.toml", "README.md", "LICENSE"),
    }
    assert all((checkout / name).exists() for name in let_in)


def test_the_image_has_the_extras_that_there_are(checkout, dockerfile):
    [extras] = re.findall(r"^ARG EXTRAS=(.+)$", dockerfile, re.M)
    known = re.findall(r"^(\w+) = \[", (checkout / "pyproject.toml").read_text(), re.M)
    assert set(extras.split(",")) <= set(known)
    assert "kfp" in extras


def test_the_image_runs_as_a_user_that_clusters_can_tell_from_root(dockerfile):
    """KFP sets runAsNonRoot from 2.16 on, and Kubernetes believes numbers only."""
    assert re.findall(r"^USER (.+)$", dockerfile, re.M) == ["1000:0"]


def test_the_role_is_bound_to_the_account_of_the_steps(checkout):
    import yaml

    [role, binding] = yaml.safe_load_all((checkout / "deploy" / "training-jobs.yaml").read_text())
    assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "kubeflow"}]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "kubeflow"
    allowed = {
        (group, kind): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for kind in rule["resources"]
    }
    jobs = {"create", "get", "list", "watch", "delete"}
    assert allowed == {
        ("trainer.kubeflow.org", "trainjobs"): jobs,
        ("kubeflow.org", "pytorchjobs"): jobs,
        ("kubeflow.org", "tfjobs"): jobs,
        ("", "pods"): {"get", "list"},
        ("", "pods/log"): {"get", "list"},
    }


def test_none_of_it_is_part_of_the_package(checkout):
    files = [file.name for file in (checkout / "deploy").iterdir()]
    assert sorted(files) == ["Dockerfile", "Dockerfile.dockerignore", "training-jobs.yaml"]
    assert not any(PurePath(name).suffix == ".py" for name in files)
    assert "deploy" not in (checkout / "setup.py").read_text()
