"""What is asked of a Kubernetes cluster, again where it did not answer."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from polytrainer.executors.distributed.kubernetes.kinds import Resource
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

# the cluster's trouble, which passes; any other answer is about what was asked
_PASSING = frozenset([0, 408, 429, 500, 502, 503, 504])
_FORBIDDEN, _UNAUTHORIZED, _NOT_FOUND, _CONFLICT = 403, 401, 404, 409
_CONNECT_SECONDS, _ANSWER_SECONDS = 10, 60
_LONGEST_PAUSE = 30.0
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_ROLE = "See docs/kubeflow-jobs.md for the Role that the pipeline's service account needs."


class Cluster:
    """A namespace of a cluster, from within one of its pods or by a kubeconfig.

    Args:
        namespace: Empty: this pod's, or as the kubeconfig's context has it.
        context: The kubeconfig's; empty: the current one.
        patience_seconds: How long to ask again where the cluster does not answer.
        first_pause: Seconds before the second try; each later pause is twice as long, up to half a minute.
        sleep: What to wait with; it may raise.

    Attributes:
        namespace: Where jobs are made.
    """

    def __init__(
        self,
        namespace: str = "",
        context: str = "",
        patience_seconds: float = 900.0,
        first_pause: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._context, self._patience, self._first_pause, self._sleep = context, patience_seconds, first_pause, sleep
        self._connect()
        self.namespace = namespace or _own_namespace(context)

    def create(self, resource: Resource, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
        """Makes an object.

        Returns:
            It, as the cluster has it; None if there is one of that name.

        Raises:
            TrainingError: If the cluster refuses it; with the cluster's words.
        """
        place = (resource.group, resource.version, self.namespace, resource.plural)
        try:
            return self._asked(lambda: self._objects.create_namespaced_custom_object(*place, dict(manifest)))  # type: ignore[no-any-return]
        except RefusedError as refused:
            if refused.status == _CONFLICT:
                return None
            raise refused.error(f"create {resource}") from refused

    def get(self, resource: Resource, name: str) -> dict[str, Any] | None:
        """The object of that name; None if there is none."""
        place = (resource.group, resource.version, self.namespace, resource.plural, name)
        try:
            return self._asked(lambda: self._objects.get_namespaced_custom_object(*place))  # type: ignore[no-any-return]
        except RefusedError as refused:
            if refused.status == _NOT_FOUND:
                return None
            raise refused.error(f"get {resource}") from refused

    def delete(self, resource: Resource, name: str) -> None:
        """Deletes an object with all that it owns; its pods first, so that it is gone when they are."""
        place = (resource.group, resource.version, self.namespace, resource.plural, name)
        options = {"propagationPolicy": "Foreground"}
        try:
            self._asked(lambda: self._objects.delete_namespaced_custom_object(*place, body=options))
        except RefusedError as refused:
            if refused.status != _NOT_FOUND:
                raise refused.error(f"delete {resource}") from refused

    def pods(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """The pods with these labels, oldest first, in the words of Kubernetes' JSON."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        raw = {"label_selector": selector, "_preload_content": False}
        try:
            answer = self._asked(lambda: self._core.list_namespaced_pod(self.namespace, **raw).data)
        except RefusedError as refused:
            raise refused.error("list pods") from refused
        pods: list[dict[str, Any]] = json.loads(answer)["items"]
        return sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")

    def log(self, pod: str, container: str, since_seconds: int | None) -> list[str] | None:
        """Lines of a container's log, each behind its time; None if there is none to be had now."""
        asked = {"container": container, "timestamps": True, "_preload_content": False}
        if since_seconds:
            asked["since_seconds"] = since_seconds
        try:
            answer = self._answer(lambda: self._core.read_namespaced_pod_log(pod, self.namespace, **asked).data)
        except (RefusedError, _PassingError):
            return None
        return list(answer.decode(errors="replace").splitlines())

    def _asked(self, call: Callable[[], Any]) -> Any:
        """The cluster's answer, however long it takes."""
        started, pause = time.monotonic(), self._first_pause
        while True:
            try:
                return self._answer(call)
            except _PassingError as passing:
                if time.monotonic() - started + pause > self._patience:
                    raise self._out_of_reach(passing) from passing
                logging.warning("The cluster does not answer (%s); asking again in %.1f s.", passing, pause)
            self._sleep(pause * random.uniform(0.8, 1.2))  # so that many nodes do not ask all at once
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _answer(self, call: Callable[[], Any], *, again: bool = True) -> Any:
        """One try; another one with new credentials where the old ones have run out."""
        from kubernetes.client.rest import ApiException  # type: ignore[import-untyped]
        from urllib3.exceptions import HTTPError  # type: ignore[import-untyped]

        try:
            return call()
        except ApiException as error:
            if error.status == _UNAUTHORIZED and again:
                self._connect()
                return self._answer(call, again=False)
            if error.status in _PASSING:
                raise _PassingError(f"{error.status} {error.reason}") from error
            raise RefusedError(error.status, error.body or error.reason) from error
        except (HTTPError, OSError) as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from error

    def _connect(self) -> None:
        from kubernetes import client, config  # type: ignore[import-untyped]

        if os.environ.get("KUBERNETES_SERVICE_HOST") and not self._context:
            configuration = client.Configuration()
            config.load_incluster_config(client_configuration=configuration)
            api = client.ApiClient(configuration)
        else:
            try:
                api = config.new_client_from_config(config_file=_kubeconfig(), context=self._context or None)
            except config.ConfigException as error:
                expected = "a kubeconfig, named by KUBECONFIG or in ~/.kube/config, or a pod of the cluster"
                raise TrainingError(Problem("the cluster", f"no way to it ({error})", expected)) from error
        api.configuration.retries = False
        timed = _Timed(api)
        self._objects, self._core = client.CustomObjectsApi(timed), client.CoreV1Api(timed)

    def _out_of_reach(self, passing: _PassingError) -> TrainingError:
        got = f"no answer of its API for {self._patience:.0f} s ({passing})"
        remedy = "A job that runs goes on; start the same pipeline again, and it is followed on."
        return TrainingError(Problem("the cluster", got, "one that answers", remedy))


class RefusedError(Exception):
    """The cluster will not do what it was asked for, however often.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, status: int, body: Any):
        self.status = status
        text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
        try:
            self._message = str(json.loads(text).get("message") or text)
        except (ValueError, AttributeError):
            self._message = text.strip()
        super().__init__(f"{status}: {self._message}")

    def error(self, what: str) -> TrainingError:
        """What to raise."""
        remedies = {
            _FORBIDDEN: _ROLE,
            _UNAUTHORIZED: "Are the kubeconfig's credentials still good?",
            _NOT_FOUND: "Is that kind of jobs installed? TrainJob comes with Kubeflow Trainer v2, PyTorchJob and TFJob "
            "with the Training Operator.",
        }
        got = f"{self.status} on the wish to {what}: {self._message}"
        return TrainingError(Problem("the cluster", got, "a cluster that does so", remedies.get(self.status, "")))


class _PassingError(Exception):
    """The cluster did not answer, or not now."""


class _Timed:
    """An ApiClient whose calls end."""

    def __init__(self, api: Any):
        self._api = api

    def call_api(self, *args: Any, **options: Any) -> Any:
        if not options.get("_request_timeout"):
            options["_request_timeout"] = (_CONNECT_SECONDS, _ANSWER_SECONDS)
        return self._api.call_api(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


def _kubeconfig() -> str | None:
    """As the environment says now; the client's own default is that of its import."""
    return os.environ.get("KUBECONFIG") or None


def _own_namespace(context: str) -> str:
    from kubernetes import config

    if os.environ.get("KUBERNETES_SERVICE_HOST") and not context:
        return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"
    contexts, current = config.list_kube_config_contexts(config_file=_kubeconfig())
    chosen = next((each for each in contexts if each["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")
