"""A Kubernetes API on loopback: it checks jobs by their kinds' schemas, and runs their pods as processes."""

from __future__ import annotations

import copy
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import crd_schemas
import fake_controllers
import pytest
from fake_pods import FakePod, now

_OBJECTS = re.compile(
    r"/apis/(?P<group>[^/]+)/(?P<version>[^/]+)/namespaces/[^/]+/(?P<plural>[^/]+)(/(?P<name>[^/]+))?"
)
_PODS = re.compile(r"/api/v1/namespaces/[^/]+/pods(/(?P<name>[^/]+)/log)?")
_RESERVED = ("PET_", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")
_ENDS = ("Complete", "Succeeded", "Failed")
_TICK, _GRACE = 0.02, 15.0


class AnswerError(Exception):
    """A Status that is no success."""

    def __init__(self, code: int, reason: str, message: str, **details: str):
        super().__init__(message)
        said = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "details": details}
        self.code, self.body = code, json.dumps({**said, "code": code}).encode()


class FakeKubernetes:
    """A cluster with Kubeflow's controllers.

    Attributes:
        url: Of its API.
        jobs: Name to job, as it is stored.
        pods: All that there are now.
        past: Those that were deleted.
        requests: Method and path of each request, in order.
        faults: Status codes that the next requests are answered with; 0: the connection is cut.
        kinds: The kinds of jobs that are installed.
        pruned: Fields of `spec` that this cluster's version of a kind does not know, and drops.
        retries: Whether failed pods would be started again, so that no job is said to have failed.
        script: A shell script that pods run in place of their command; None: their command.
    """

    def __init__(self, folder: Path):
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: list[FakePod] = []
        self.past: list[FakePod] = []
        self.requests: list[tuple[str, str]] = []
        self.faults: list[int] = []
        self.kinds, self.pruned = {"trainjobs", "pytorchjobs", "tfjobs"}, set[str]()
        self.script: str | None = None
        self.retries = False
        self._folder, self._lock, self._closed = folder, threading.RLock(), False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
            threading.Thread(target=self._control, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def count(self, method: str) -> int:
        """Requests of a method."""
        return sum(each == method for each, _ in self.requests)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60.0) -> None:
        """Returns when it holds."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "\n".join(pod.log[-3000:] for pod in self.pods)
            time.sleep(_TICK)

    def close(self) -> None:
        """Ends everything."""
        self._closed = True
        self._server.shutdown()
        self._server.server_close()
        for pod in [*self.pods, *self.past]:
            pod.stop(signal.SIGKILL)
            pod.process.wait()
        for thread in self._threads:
            thread.join()

    def answer(self, method: str, address: str, body: bytes) -> Any:
        """What the API says to a request; raises `AnswerError` where it is no success."""
        parts = urlsplit(address)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            if matched := _OBJECTS.fullmatch(parts.path):
                return self._object(method, body, **matched.groupdict())
            if matched := _PODS.fullmatch(parts.path):
                return self._log(matched["name"], asked) if matched["name"] else self._list(asked)
        raise AnswerError(404, "NotFound", "404 page not found")

    def _object(self, method: str, body: bytes, group: str, version: str, plural: str, name: str | None) -> Any:
        known = crd_schemas.definition(plural) if plural in self.kinds else None
        if known is None or (known["group"], known["version"]) != (group, version):
            raise AnswerError(404, "NotFound", "the server could not find the requested resource")
        if method == "POST":
            return self._create(known, json.loads(body))
        job = self.jobs.get(name or "")
        if job is None or job["kind"] != known["kind"]:
            raise AnswerError(404, "NotFound", f'{plural}.{group} "{name}" not found', name=name or "", kind=plural)
        if method == "DELETE" and "deletionTimestamp" not in job["metadata"]:
            job["metadata"]["deletionTimestamp"] = now()
            self._stop(self._pods_of(job))
        return job

    def _create(self, known: dict[str, Any], job: dict[str, Any]) -> Any:
        name = job["metadata"]["name"]
        wrong = crd_schemas.problems(known["schema"], job)
        if job["kind"] != known["kind"] or not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
            wrong.append(f"metadata.name: Invalid value: {name!r}")
        if wrong:
            raise AnswerError(422, "Invalid", f'{known["kind"]} "{name}" is invalid: {"; ".join(wrong)}')
        reserved = [each["name"] for each in job["spec"].get("trainer", {}).get("env", [])]
        if any(each.startswith(_RESERVED) for each in reserved):
            raise AnswerError(403, "Forbidden", f"admission webhook denied the request: must not have {reserved}")
        if name in self.jobs:
            raise AnswerError(409, "AlreadyExists", f'{known["plural"]} "{name}" already exists', name=name)
        stored = copy.deepcopy(job)
        for field in self.pruned:
            stored["spec"].pop(field, None)
        stored["metadata"].update(creationTimestamp=now(), uid=name)
        self.jobs[name] = stored
        return stored

    def _list(self, asked: dict[str, str]) -> Any:
        wanted = dict(each.split("=") for each in asked["labelSelector"].split(","))
        return {"items": [pod.as_json() for pod in self.pods if wanted.items() <= pod.labels.items()]}

    def _log(self, name: str, asked: dict[str, str]) -> str:
        found = [pod for pod in self.pods if pod.name == name]
        if not found:
            raise AnswerError(404, "NotFound", f'pods "{name}" not found', name=name)
        if asked["container"] != found[0].container["name"] or asked.get("timestamps", "").lower() != "true":
            raise AnswerError(400, "BadRequest", f"container {asked['container']} is not valid for pod {name}")
        return "\n".join(found[0].lines)

    def _pods_of(self, job: dict[str, Any]) -> list[FakePod]:
        return [pod for pod in self.pods if job["metadata"]["name"] in pod.labels.values()]

    def _control(self) -> None:
        while not self._closed:
            with self._lock:
                for job in list(self.jobs.values()):
                    self._reconcile(job)
            time.sleep(_TICK)

    def _reconcile(self, job: dict[str, Any]) -> None:
        pods = self._pods_of(job)
        if "deletionTimestamp" in job["metadata"]:
            if all(pod.phase != "Running" for pod in pods):
                self._forget(pods)
                del self.jobs[job["metadata"]["name"]]
            return
        self._forget([pod for pod in pods if pod.preempted and pod.phase != "Running"])
        if any(each["type"] in _ENDS for each in job.get("status", {}).get("conditions", [])):
            return
        if not pods:
            self.pods += [self._started(planned) for planned in fake_controllers.plan(job)]
            return
        found = fake_controllers.conditions(job, pods)
        found = [each for each in found if not (self.retries and each["type"] == "Failed")]
        job["status"] = {"conditions": found}
        if any(each["type"] in _ENDS for each in found):
            self._stop(pods)

    def _started(self, planned: fake_controllers.Planned) -> FakePod:
        container = dict(planned.container)
        if self.script is not None:
            container["command"] = ["/bin/sh", "-c", self.script]
        return FakePod(planned.name, planned.labels, planned.annotations, container, planned.env, self._folder)

    def _stop(self, pods: list[FakePod]) -> None:
        """SIGTERM, and SIGKILL to those that take too long."""
        for pod in pods:
            pod.stop()
            timer = threading.Timer(_GRACE, pod.stop, [signal.SIGKILL])
            timer.daemon = True
            timer.start()

    def _forget(self, pods: list[FakePod]) -> None:
        self.past += pods
        self.pods = [pod for pod in self.pods if pod not in pods]


def _handler(cluster: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            cluster.requests.append((self.command, self.path))
            code, kind = 200, "application/json"
            try:
                if cluster.faults:
                    fault = cluster.faults.pop(0)
                    if fault == 0:
                        self.close_connection = True
                        return
                    raise AnswerError(fault, "InternalError", "etcdserver: leader changed")
                said = cluster.answer(self.command, self.path, body)
                kind, content = ("text/plain", said.encode()) if isinstance(said, str) else (kind, _dumped(said))
            except AnswerError as answer:
                code, content = answer.code, answer.body
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _do  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


def _dumped(said: Any) -> bytes:
    public = {name: value for name, value in said.items() if not name.startswith("_")}
    return json.dumps(public).encode()


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubernetes]:
    """A cluster, and a kubeconfig that leads to its namespace `team-a`."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = FakeKubernetes(folder)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "team-a"}}],
        "clusters": [{"name": "here", "cluster": {"server": cluster.url}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield cluster
    cluster.close()
