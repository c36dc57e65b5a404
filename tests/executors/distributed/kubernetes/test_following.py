"""A job from its submission to its end: against an API on loopback, with real processes for pods."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.cluster import PyTorchJob, TFJob, TrainJob

pytestmark = pytest.mark.line  # each has a Kubernetes client of its own

QUICK = {"image": "trainer:1", "nodes": 2, "poll_seconds": 0.05, "patience_seconds": 5.0}


@pytest.fixture
def launcher(kubernetes, tmp_path):
    """Makes launchers of one training, each as a process of its own would be."""
    from polytrainer.executors.distributed.kubernetes.api import Cluster
    from polytrainer.executors.distributed.kubernetes.cancellation import Cancellation
    from polytrainer.executors.distributed.kubernetes.following import Follower
    from polytrainer.executors.distributed.kubernetes.handover import Handover
    from polytrainer.executors.distributed.kubernetes.manifests import OPTIONS, Submission

    def make(kind=TrainJob, digest="same", **options):
        said = kind(**{**QUICK, **options})
        cancellation, prepared = Cancellation(), []
        handover = Handover(str(tmp_path / "jobs" / "0123"))

        def prepare():
            prepared.append(True)
            handover.give({"exec_properties": {"any": "thing", "resume": 0}})

        cluster = Cluster(patience_seconds=said.patience_seconds, first_pause=0.02, sleep=cancellation.sleep)
        job = Submission("penguins-0123", handover.folder, said, {OPTIONS: digest})
        follower = Follower(job, cluster, cancellation, prepare)
        return SimpleNamespace(follow=follower.follow, prepared=prepared, handover=handover)

    return make


def said_by(error, time, **more):
    return json.dumps({"rank": 0, "time": time, "error": error, "trace": "Traceback", "stopped": False, **more})


@pytest.mark.parametrize("kind", [TrainJob, PyTorchJob, TFJob])
def test_a_job_is_submitted_and_followed_to_its_end_with_the_log_of_rank_0(kind, kubernetes, launcher, capsys):
    kubernetes.script = (
        "rank=${PET_NODE_RANK:-$(echo $TF_CONFIG | tr -dc 0-9 | tail -c 1)}; "
        "for i in 1 2 3; do echo rank $rank step $i; sleep 0.1; done"
    )
    launcher(kind).follow()
    printed = capsys.readouterr().out
    assert printed.splitlines() == ["rank 0 step 1", "rank 0 step 2", "rank 0 step 3"]
    assert len(kubernetes.pods) == 2
    assert ("POST", f"/apis/{_place(kind)}") in kubernetes.requests
    assert all("/namespaces/team-a/" in path for _, path in kubernetes.requests)


def _place(kind):
    group, plural = {
        TrainJob: ("trainer.kubeflow.org/v1alpha1", "trainjobs"),
        PyTorchJob: ("kubeflow.org/v1", "pytorchjobs"),
        TFJob: ("kubeflow.org/v1", "tfjobs"),
    }[kind]
    return f"{group}/namespaces/team-a/{plural}"


def test_an_api_that_fails_three_times_and_hangs_up_is_asked_again(kubernetes, launcher):
    kubernetes.script = "exit 0"
    kubernetes.faults = [500, 500, 500, 0, 429, 503]
    launcher().follow()
    assert not kubernetes.faults
    assert kubernetes.count("POST") == 1


def test_a_job_made_by_a_request_whose_answer_was_lost_is_not_made_twice(kubernetes, launcher):
    kubernetes.script = "exit 0"
    create, lost = kubernetes._create, []

    def losing(*args):
        stored = create(*args)
        if not lost:
            lost.append(True)
            kubernetes.faults = []
            raise _gateway_timeout()
        return stored

    kubernetes._create = losing
    launcher().follow()
    assert kubernetes.count("POST") == 2
    assert len(kubernetes.pods) == 2


def _gateway_timeout():
    from kubernetes_api import AnswerError

    return AnswerError(504, "Timeout", "request did not complete within the allotted timeout")


def test_what_the_cluster_does_not_accept_is_not_asked_again_and_its_words_are_shown(kubernetes, launcher):
    options = {"annotations": {"sidecar.istio.io/inject": False}}
    with pytest.raises(TrainingError, match=r'422 .*create trainjobs.*penguins-0123" is invalid.*annotations.*inject'):
        launcher(**options).follow()
    assert kubernetes.count("POST") == 1


def test_a_kind_that_is_not_installed_is_named(kubernetes, launcher):
    kubernetes.kinds = {"pytorchjobs", "tfjobs"}
    with pytest.raises(TrainingError, match=r"404 .*trainjobs.*TrainJob comes with Kubeflow Trainer v2"):
        launcher().follow()


def test_a_service_account_that_may_not_is_told_of_the_role(kubernetes, launcher):
    kubernetes.faults = [403]
    with pytest.raises(TrainingError, match=r"403 .*docs/kubeflow-jobs.md.*Role"):
        launcher().follow()


def test_a_cluster_that_drops_what_it_was_told_does_not_train_without_it(kubernetes, launcher):
    kubernetes.pruned = {"runtimePatches", "activeDeadlineSeconds"}
    kubernetes.script = "sleep 60"
    with pytest.raises(TrainingError, match=r"got spec.runtimePatches, which .* does not know.*older than 2.2"):
        launcher(volumes={"runs": "/data"}, timeout_seconds=60).follow()
    kubernetes.wait_for(lambda: not kubernetes.jobs)
    kubernetes.script = "exit 0"
    launcher(timeout_seconds=60).follow()  # the launcher minds the time itself


def test_a_pod_that_dies_gives_its_exit_code_and_the_end_of_its_log(kubernetes, launcher):
    kubernetes.script = '[ "$PET_NODE_RANK" = 1 ] && { echo no such libcudart; exit 3; }; sleep 60'
    with pytest.raises(
        TrainingError, match=r"(?s)the pod penguins-0123-node-0-1-x1 of .*got Error \(exit code 3\).*no such libcudart"
    ):
        launcher().follow()
    assert kubernetes.jobs  # to be looked at


def test_a_pod_that_the_machine_killed_gives_its_reason(kubernetes, launcher):
    kubernetes.script = "sleep 60"

    def kill():
        kubernetes.wait_for(lambda: kubernetes.pods)
        kubernetes.pods[1].reason = "OOMKilled"
        kubernetes.pods[1].stop(signal.SIGKILL)

    threading.Thread(target=kill).start()
    with pytest.raises(TrainingError, match=r"node-0-1-x1 .*got OOMKilled \(exit code 137\).*resources.memory"):
        launcher().follow()


def test_the_rank_that_failed_first_is_the_one_that_is_named(kubernetes, launcher, tmp_path):
    errors = tmp_path / "jobs" / "0123" / "errors"
    first = said_by("ValueError: labels", 1.0, rank=1)
    then = said_by("RuntimeError: Connection closed by peer", 2.0, rank=0)
    asked = said_by("TrainingError: SIGTERM; it is saved", 3.0, rank=2, stopped=True)
    kubernetes.script = f"mkdir -p {errors}; echo '{first}' > {errors}/rank-1.json; " + (
        f"echo '{then}' > {errors}/rank-0.json; echo '{asked}' > {errors}/rank-2.json; exit 1"
    )
    with pytest.raises(TrainingError, match=r"(?s)rank 1 of the TrainJob team-a/penguins-0123: got ValueError: labels"):
        launcher(restarts=3).follow()
    assert kubernetes.count("POST") == 1


def test_a_rank_that_would_fail_for_ever_is_not_started_again_until_the_cluster_tires_of_it(
    kubernetes, launcher, tmp_path
):
    errors = tmp_path / "jobs" / "0123" / "errors"
    said = said_by("PreflightError: Nothing was trained", 1.0, final=True)
    kubernetes.retries = True
    kubernetes.script = f"mkdir -p {errors}; echo '{said}' > {errors}/rank-0.json; exit 1"
    with pytest.raises(TrainingError, match=r"rank 0 of .*got PreflightError: Nothing was trained"):
        launcher().follow()
    kubernetes.wait_for(lambda: not kubernetes.jobs)


def test_a_preempted_job_is_submitted_again(kubernetes, launcher, tmp_path):
    done = tmp_path / "checkpoint"
    kubernetes.script = f"[ -e {done} ] && exit 0; trap 'sleep 0.2; exit 1' TERM; sleep 60 & wait; exit 1"

    def preempt():
        kubernetes.wait_for(lambda: kubernetes.pods)
        time.sleep(0.2)
        done.touch()
        for pod in kubernetes.pods:
            pod.preempt() if pod.env["PET_NODE_RANK"] == "1" else pod.stop()

    threading.Thread(target=preempt).start()
    preempted = launcher(restarts=1)
    preempted.follow()
    assert kubernetes.count("POST") == 2
    assert preempted.prepared == [True]
    # what is to be done stays as it was, but for the order to start afresh
    assert preempted.handover.arguments() == {"exec_properties": {"any": "thing"}}


def test_a_job_that_is_evicted_once_too_often_fails(kubernetes, launcher):
    kubernetes.script = "sleep 60"

    def evict():
        kubernetes.wait_for(lambda: kubernetes.pods)
        kubernetes.pods[1].evict()

    threading.Thread(target=evict).start()
    with pytest.raises(TrainingError, match=r"x1: Evicted .*low on resource: memory.*after 0 restarts.*restarts="):
        launcher().follow()


def test_a_job_that_takes_too_long_is_deleted(kubernetes, launcher):
    kubernetes.script = "sleep 60"
    with pytest.raises(TrainingError, match=r"got no end within 2 s \(\d of 2 pods running\); it is deleted"):
        launcher(timeout_seconds=2).follow()
    kubernetes.wait_for(lambda: not kubernetes.jobs)


def test_sigterm_deletes_the_job_and_waits_for_no_answer(kubernetes, launcher):
    kubernetes.script = "sleep 60"

    def cancel():
        kubernetes.wait_for(lambda: kubernetes.pods)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=cancel).start()
    started = time.monotonic()
    with pytest.raises(TrainingError, match=r"got SIGTERM; the TrainJob team-a/penguins-0123 is deleted"):
        launcher(poll_seconds=30).follow()
    assert time.monotonic() - started < 10
    kubernetes.wait_for(lambda: not kubernetes.jobs)
    assert all(pod.process.poll() is not None for pod in kubernetes.past)


def test_a_launcher_that_is_started_again_follows_on_its_job(kubernetes, launcher, capsys):
    kubernetes.script = "echo started; while [ ! -e $GO ]; do sleep 0.05; done; echo done"
    go = str(kubernetes._folder / "go")
    options = {"resources": {"env": {"GO": go}}}

    def cut_off():
        kubernetes.wait_for(lambda: kubernetes.pods)
        kubernetes.faults = [503] * 1000

    threading.Thread(target=cut_off).start()
    with pytest.raises(TrainingError, match=r"no answer of its API for 1 s .*start the same pipeline again"):
        launcher(patience_seconds=1.0, **options).follow()
    kubernetes.faults = []
    assert kubernetes.jobs
    capsys.readouterr()

    second = launcher(**options)
    threading.Timer(0.3, Path(go).touch).start()
    second.follow()
    assert kubernetes.count("POST") == 1
    assert not second.prepared
    assert capsys.readouterr().out.splitlines() == ["started", "done"]


def test_a_job_that_failed_before_or_was_told_otherwise_is_made_anew(kubernetes, launcher):
    kubernetes.script = "exit 1"
    with pytest.raises(TrainingError, match=r"exit code 1"):
        launcher().follow()
    kubernetes.script = "exit 0"
    again = launcher()
    again.follow()
    assert again.prepared
    launcher(digest="other").follow()
    assert kubernetes.count("POST") == 3


def test_a_job_of_somebody_else_is_left_alone(kubernetes, launcher):
    kubernetes.jobs["penguins-0123"] = {"kind": "TrainJob", "metadata": {"name": "penguins-0123", "_": 0}, "spec": {}}
    with kubernetes._lock:
        kubernetes.jobs["penguins-0123"]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    with pytest.raises(TrainingError, match=r"penguins-0123 of somebody else's"):
        launcher().follow()
    assert kubernetes.count("DELETE") == 0


def test_a_job_that_somebody_deletes_is_an_error_unless_it_was_done(kubernetes, launcher):
    kubernetes.script = "sleep 60"

    def delete(done=None):
        kubernetes.wait_for(lambda: kubernetes.pods)
        if done:
            done.handover.succeed("{}")
        kubernetes.answer("DELETE", "/apis/trainer.kubeflow.org/v1alpha1/namespaces/x/trainjobs/penguins-0123", b"")

    threading.Thread(target=delete).start()
    with pytest.raises(TrainingError, match=r"got no TrainJob team-a/penguins-0123 any more; somebody has deleted it"):
        launcher().follow()
    second = launcher()
    threading.Thread(target=delete, args=[second]).start()
    assert second.follow() == second.handover.folder
