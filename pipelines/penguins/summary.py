"""What came of the Trainers, as ML Metadata tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd


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
    config = mlmd.ConnectionConfig(sqlite=mlmd.SqliteMetadataSourceConfig(filename_uri=str(metadata)))
    store = MetadataStore(config)
    return [_outcome(store, pipeline_name, backend) for backend in backends]


def table(results: list[Outcome], root: Path) -> str:
    """The results as a table for a terminal, paths relative to `root`."""
    rows = [("backend", "framework", "accuracy", "seconds", "pushed to")]
    rows += [
        (
            result.backend,
            result.framework,
            f"{result.accuracy:.3f}",
            f"{result.seconds:.1f}",
            _pushed_to(result, root),
        )
        for result in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _pushed_to(result: Outcome, root: Path) -> str:
    if result.pushed:
        path = Path(result.pushed)
        return str(path.relative_to(root) if path.is_relative_to(root) else path)
    return "not pushed: no Evaluator" if result.blessed is None else "not pushed: not blessed"


def _outcome(store: MetadataStore, pipeline_name: str, backend: str) -> Outcome:
    model = _newest(store, f"{pipeline_name}.Trainer.{backend}", "Model")
    if model is None:
        raise LookupError(f"no model of Trainer.{backend} in the metadata; did the pipeline run to its end?")
    told = model.custom_properties
    blessing = _newest(store, f"{pipeline_name}.Evaluator.{backend}", "ModelBlessing")
    pushed = _newest(store, f"{pipeline_name}.Pusher.{backend}", "PushedModel")
    return Outcome(
        backend,
        f"{told['framework'].string_value} {told['framework_version'].string_value}",
        told["metric.accuracy"].double_value,
        told["train_seconds"].double_value,
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
