"""Pods that are processes of this machine: what a kubelet would do with them, and say of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_NOT_INHERITED = ("PET_", "RANK", "WORLD_SIZE", "MASTER_", "TF_CONFIG", "KUBE")


def now() -> str:
    """As Kubernetes says it in its objects."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakePod:
    """One pod with one container, started when it is made.

    Args:
        name: Of the pod.
        labels: Of the pod; with annotations.
        container: As the job has it: name, command, args, env.
        env: What the controller adds.
        folder: For its termination log.
    """

    def __init__(
        self,
        name: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        container: Mapping[str, Any],
        env: Mapping[str, str],
        folder: Path,
    ):
        self.name, self.uid, self.labels, self.annotations = name, uuid.uuid4().hex, dict(labels), dict(annotations)
        self.container, self.created, self.finished = container, now(), ""
        self.reason, self.message, self.preempted, self.conditions = "", "", False, []
        self.lines: list[str] = []
        self._termination_log = folder / f"{self.uid}.termination"
        self._termination_log.touch()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}
        told = {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
        self.env = {**told, **env}
        self.process = subprocess.Popen(
            [sys.executable if part == "python" else part for part in [*container["command"], *container["args"]]],
            env={**inherited, **self.env, "POLYTRAINER_TERMINATION_LOG": str(self._termination_log)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def phase(self) -> str:
        """Running, Succeeded or Failed."""
        if self.process.poll() is None or self._reader.is_alive():
            return "Running"
        return "Failed" if self.process.returncode or self.reason else "Succeeded"

    @property
    def log(self) -> str:
        """Without the times."""
        return "\n".join(line.partition(" ")[2] for line in self.lines)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Sends its processes a signal."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, how)

    def evict(self) -> None:
        """As a kubelet under pressure does: the pod stays, failed."""
        self.reason, self.message = "Evicted", "The node was low on resource: memory."
        self.conditions = [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}]
        self.stop()

    def preempt(self) -> None:
        """As the scheduler does for a pod of a higher priority: it is deleted, and gone when it has ended."""
        self.preempted = True
        self.conditions = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
        self.stop()

    def as_json(self) -> dict[str, Any]:
        """As the API tells of it."""
        phase, code = self.phase, self.process.poll()
        state: dict[str, Any] = {"running": {"startedAt": self.created}}
        if phase != "Running":
            code = code if code >= 0 else 128 - code
            reason = "Completed" if code == 0 else "OOMKilled" if self.reason == "OOMKilled" else "Error"
            said = self._termination_log.read_text()
            state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": self.finished, "message": said}}
        status = {"phase": phase, "conditions": self.conditions, "containerStatuses": [{"state": state}]}
        if self.reason and self.reason != "OOMKilled":
            status.update(reason=self.reason, message=self.message)
        metadata = {"name": self.name, "uid": self.uid, "labels": self.labels, "annotations": self.annotations}
        return {"metadata": {**metadata, "creationTimestamp": self.created}, "status": status}

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            time = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            self.lines.append(f"{time} {line.decode(errors='replace').rstrip()}")
        self.process.wait()
        self.finished = now()
