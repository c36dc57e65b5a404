"""What came of the Trainers of a ready pipeline, as ML Metadata tells it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from polytrainer.executors.report.write import FILE as REPORT
from polytrainer.pipelines.cli import terminal
from polytrainer.pipelines.cli.terminal import Column
from polytrainer.pipelines.metadata import runs


@dataclass(frozen=True)
class Outcome:
    """One Trainer's result.

    Attributes:
        backend: "keras", "estimator" or "torch".
        framework: Framework and version.
        accuracy: On the eval split, 0 to 1.
        seconds: Of training.
        blessed: What the Evaluator said; None if there is none.
        pushed: Where the model was pushed by itself; None if it was not.
        report: The page of the training; None if there is none.
    """

    backend: str
    framework: str
    accuracy: float
    seconds: float
    blessed: bool | None
    pushed: Path | None
    report: Path | None


def outcomes(store: MetadataStore, backends: tuple[str, ...], pipeline: str) -> list[Outcome]:
    """The newest result of each Trainer.

    Raises:
        LookupError: If one of them has none.
    """
    return [_outcome(store, pipeline, backend) for backend in backends]


def table(results: list[Outcome]) -> str:
    """The results as a table for a terminal."""
    columns = [
        Column("backend", [result.backend for result in results]),
        Column("framework", [result.framework for result in results]),
        Column("accuracy", [f"{result.accuracy:.3f}" for result in results]),
        Column("seconds", [f"{result.seconds:.1f}" for result in results]),
        Column("pushed to", [_pushed_to(result) for result in results]),
    ]
    return terminal.table(columns)[0]


def reports(results: list[Outcome]) -> str:
    """The pages of the trainings, a line for each; nothing where there are none."""
    return "\n".join(f"report of {result.backend}: {shown(result.report)}" for result in results if result.report)


def newest(store: MetadataStore, pipeline: str, node: str, type_name: str, since: int = 0) -> mlmd.Artifact | None:
    """The newest artifact of a type that a node has published.

    Args:
        store: Of ML Metadata.
        pipeline: Name of the pipeline.
        node: Id of the node.
        type_name: Of the artifact's type.
        since: In milliseconds of the epoch: what is older belongs to an earlier run, in which the node took part.
    """
    context = store.get_context_by_type_and_name("node", f"{pipeline}.{node}")
    if context is None:
        return None
    artifacts = [
        artifact
        for artifact in store.get_artifacts_by_context(context.id)
        if artifact.type == type_name and artifact.state == mlmd.Artifact.LIVE
    ]
    artifact = max(artifacts, key=lambda artifact: artifact.id, default=None)
    return artifact if artifact is not None and artifact.create_time_since_epoch >= since else None


def pushed_by(store: MetadataStore, pipeline: str, pusher: str, since: int) -> Path | None:
    """Where a Pusher has pushed a model since a time, in milliseconds of the epoch; None if it did not."""
    artifact = newest(store, pipeline, pusher, "PushedModel", since)
    told = artifact.custom_properties["pushed_destination"].string_value if artifact else ""
    return Path(told) if told else None


def shown(path: Path) -> str:
    """A path as a person would type it here: from the current folder, unless it is elsewhere."""
    here = os.path.relpath(path)
    return str(path) if here.startswith(os.pardir) else here


def _pushed_to(result: Outcome) -> str:
    if result.pushed:
        return shown(result.pushed)
    return "not pushed: no Evaluator" if result.blessed is None else "not pushed: not blessed"


def _outcome(store: MetadataStore, pipeline: str, backend: str) -> Outcome:
    run = next((run for run in runs(store, pipeline, f"Trainer.{backend}") if run.model_uri), None)
    if run is None:
        raise LookupError(f"no model of Trainer.{backend} in the metadata; did the pipeline run to its end?")
    since = int(run.started.timestamp() * 1000)
    blessing = newest(store, pipeline, f"Evaluator.{backend}", "ModelBlessing", since)
    report = Path(run.model_run_uri, REPORT) if run.model_run_uri else None
    return Outcome(
        backend,
        f"{run.framework} {run.framework_version}",
        run.metrics["accuracy"],
        run.train_seconds or 0.0,
        bool(blessing.custom_properties["blessed"].int_value) if blessing else None,
        pushed_by(store, pipeline, f"Pusher.{backend}", since),
        report if report and report.exists() else None,
    )
