"""What came of the Trainers, as ML Metadata tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from polytrainer.pipelines.cli import terminal
from polytrainer.pipelines.cli.terminal import Column
from polytrainer.pipelines.metadata import runs
from polytrainer.pipelines.metadata_connection import connect


@dataclass(frozen=True)
class Outcome:
    """One Trainer's result.

    Attributes:
        backend: "keras", "estimator" or "torch".
        framework: Framework and version.
        accuracy: On the eval split, 0 to 1.
        seconds: Of training.
        pushed: Where the model was pushed; None if it was not.
        blessed: What the Evaluator said; None if there is none.
    """

    backend: str
    framework: str
    accuracy: float
    seconds: float
    pushed: str | None
    blessed: bool | None


def outcomes(metadata: Path, backends: tuple[str, ...], pipeline_name: str = "penguins") -> list[Outcome]:
    """The newest result of each Trainer in a SQLite metadata file."""
    store = connect(metadata)
    return [_outcome(store, pipeline_name, backend) for backend in backends]


def table(results: list[Outcome], root: Path) -> str:
    """The results as a table for a terminal, paths relative to `root`."""
    columns = [
        Column("backend", [result.backend for result in results]),
        Column("framework", [result.framework for result in results]),
        Column("accuracy", [f"{result.accuracy:.3f}" for result in results]),
        Column("seconds", [f"{result.seconds:.1f}" for result in results]),
        Column("pushed to", [_pushed_to(result, root) for result in results]),
    ]
    return terminal.table(columns)[0]


def _pushed_to(result: Outcome, root: Path) -> str:
    if result.pushed:
        path = Path(result.pushed)
        return str(path.relative_to(root) if path.is_relative_to(root) else path)
    return "not pushed: no Evaluator" if result.blessed is None else "not pushed: not blessed"


def _outcome(store: MetadataStore, pipeline_name: str, backend: str) -> Outcome:
    run = next((run for run in runs(store, pipeline_name, f"Trainer.{backend}") if run.model_uri), None)
    if run is None:
        raise LookupError(f"no model of Trainer.{backend} in the metadata; did the pipeline run to its end?")
    blessing = _newest(store, f"{pipeline_name}.Evaluator.{backend}", "ModelBlessing")
    pushed = _newest(store, f"{pipeline_name}.Pusher.{backend}", "PushedModel")
    return Outcome(
        backend,
        f"{run.framework} {run.framework_version}",
        run.metrics["accuracy"],
        run.train_seconds or 0.0,
        pushed.custom_properties["pushed_destination"].string_value or None if pushed else None,
        bool(blessing.custom_properties["blessed"].int_value) if blessing else None,
    )


def _newest(store: MetadataStore, node: str, type_name: str) -> mlmd.Artifact | None:
    context = store.get_context_by_type_and_name("node", node)
    if context is None:
        return None
    artifacts = [
        artifact
        for artifact in store.get_artifacts_by_context(context.id)
        if artifact.type == type_name and artifact.state == mlmd.Artifact.LIVE
    ]
    return max(artifacts, key=lambda artifact: artifact.id, default=None)
