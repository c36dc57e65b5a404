"""What ML Metadata remembers of the runs of Trainer nodes: ours, and TFX's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from polytrainer.executors import properties
from polytrainer.executors.provenance import Provenance
from polytrainer.pipelines.errors import MetadataError
from polytrainer.proto import keys
from polytrainer.proto.problems import Problem

_SHOWN = 10  # runs in an error's list
_PIPELINE, _PIPELINE_RUN, _NODE = "pipeline", "pipeline_run", "node"  # TFX's context types
_OUTPUTS = (mlmd.Event.OUTPUT, mlmd.Event.DECLARED_OUTPUT)
_ENDED = (mlmd.Execution.COMPLETE, mlmd.Execution.FAILED, mlmd.Execution.CACHED, mlmd.Execution.CANCELED)
_GONE = (mlmd.Artifact.MARKED_FOR_DELETION, mlmd.Artifact.DELETED, mlmd.Artifact.ABANDONED)
# the version of the wheel into which TFX packages a user's module
_CODE_IN_WHEEL = re.compile(r"\+([0-9a-f]{64})-")


@dataclass(frozen=True)
class Run:
    """One execution of a Trainer node.

    What only our Trainer tells is None or empty where TFX's own has run, or where a run has not come to its end. Of
    numbers that are not whole, ML Metadata's databases keep six digits after the point.

    Attributes:
        id: Of the execution; unique in a store.
        name: Of the execution, a UUID; empty in stores of old TFX versions.
        pipeline: Its pipeline; empty if the store knows none.
        pipeline_run: The run of the pipeline, for LocalDagRunner the local time at which it began.
        node: Id of the node, e.g. "Trainer.torch".
        trainer: Type of the execution, which is the component's class path.
        state: "complete", "cached" (what an equal run before had made was taken), "failed", "running" (or ended
            without a word), "canceled", "new" or "unknown".
        started: When, in UTC.
        ended: When, in UTC; None if it has not.
        framework: What trained the model, e.g. "pytorch".
        framework_version: Its version.
        polytrainer_version: Ours.
        user_code: SHA-256 of the user's code.
        train_seconds: Of training alone.
        train_steps: Optimizer steps.
        best_step: The step whose weights became the model, where a metric chose them.
        metrics: By name; some may not be finite.
        parity: By written format, the largest difference to what the trained model says, relative.
        serving_rows: On how many real raw examples the served model was compared with the trained one.
        model_uri: Where the model is; None if there is none, or no longer.
        model_run_uri: Where its logs and its report are; likewise.
        test_results_uri: Where what the model says of the held-out examples is; likewise.
        arguments: What the node was told, by name: `train_args`, `custom_config`, …; JSON is decoded.
        provenance: Arguments of the trainer's constructor, tuned values, base model, seconds by phase.
    """

    id: int
    name: str
    pipeline: str
    pipeline_run: str
    node: str
    trainer: str
    state: str
    started: datetime
    ended: datetime | None
    framework: str | None
    framework_version: str | None
    polytrainer_version: str | None
    user_code: str | None
    train_seconds: float | None
    train_steps: int | None
    best_step: int | None
    metrics: Mapping[str, float]
    parity: Mapping[str, float]
    serving_rows: int | None
    model_uri: str | None
    model_run_uri: str | None
    test_results_uri: str | None
    arguments: Mapping[str, Any]
    provenance: Provenance

    @property
    def shown(self) -> str:
        """How messages call it."""
        return f"{self.id} ({self.started:%Y-%m-%d %H:%M}, {self.pipeline}, {self.node}, {self.state})"


def runs(store: MetadataStore, pipeline: str | None = None, node: str | None = None) -> Iterator[Run]:
    """The runs of Trainer nodes, newest first; each is read when it is asked for.

    Args:
        store: Of ML Metadata.
        pipeline: Only those of the pipeline of this name.
        node: Only those of nodes with this id.

    Raises:
        MetadataError: If the store knows no such pipeline.
    """
    executions = _trainers(store)
    if pipeline is not None:
        context = store.get_context_by_type_and_name(_PIPELINE, pipeline)
        if context is None:
            known = sorted(each.name for each in store.get_contexts_by_type(_PIPELINE))
            raise MetadataError(Problem("pipeline", repr(pipeline), f"one of {', '.join(known) or 'none'}"))
        ids = {execution.id for execution in store.get_executions_by_context(context.id)}
        executions = [execution for execution in executions if execution.id in ids]
    for execution in executions:
        run = _run(store, execution)
        if node in (None, run.node):
            yield run


def find(store: MetadataStore, wanted: str) -> Run:
    """The run of an execution's id, or of a unique beginning of an execution's or a pipeline run's name.

    Raises:
        MetadataError: If there is none, or more than one; says which there are.
    """
    executions = _trainers(store)
    found = [execution for execution in executions if str(execution.id) == wanted]
    if not found and wanted:
        ids = {
            execution.id
            for context in store.get_contexts_by_type(_PIPELINE_RUN)
            if context.name.startswith(wanted)
            for execution in store.get_executions_by_context(context.id)
        }
        found = [each for each in executions if each.id in ids or each.name.startswith(wanted)]
    if len(found) == 1:
        return _run(store, found[0])
    some = found or executions
    more = f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
    listed = ", ".join(_run(store, execution).shown for execution in some[:_SHOWN]) + more
    if found:
        raise MetadataError(
            Problem("run", f"{wanted!r}, with which the names of {len(found)} begin", f"one of {listed}")
        )
    raise MetadataError(Problem("run", repr(wanted), f"one of {listed or 'none'}"))


def _trainers(store: MetadataStore) -> list[mlmd.Execution]:
    """Executions of Trainer nodes, newest first."""
    types = [kind.name for kind in store.get_execution_types() if _trains(kind)]
    executions = [execution for name in types for execution in store.get_executions_by_type(name)]
    return sorted(executions, key=lambda each: (each.create_time_since_epoch, each.id), reverse=True)


def _trains(kind: mlmd.ExecutionType) -> bool:
    """Trainers say so by their base type, from TFX 1.2 on, and by their name before."""
    return bool(kind.base_type == mlmd.ExecutionType.TRAIN) or kind.name.endswith("trainer.component.Trainer")


def _run(store: MetadataStore, execution: mlmd.Execution) -> Run:
    contexts = {context.type: context.name for context in store.get_contexts_by_execution(execution.id)}
    pipeline, outputs = contexts.get(_PIPELINE, ""), _outputs(store, execution.id)
    model, model_run = outputs.get(keys.MODEL), outputs.get(keys.MODEL_RUN)
    described = model or model_run
    told = _values(described.custom_properties) if described else {}
    arguments = _values({**execution.properties, **execution.custom_properties})
    in_wheel = _CODE_IN_WHEEL.search(str(arguments.get(keys.MODULE_PATH, "")))
    state = execution.last_known_state
    return Run(
        id=execution.id,
        name=execution.name,
        pipeline=pipeline,
        pipeline_run=contexts.get(_PIPELINE_RUN, ""),
        node=contexts.get(_NODE, "").removeprefix(f"{pipeline}."),
        trainer=execution.type,
        state=mlmd.Execution.State.Name(state).lower(),
        started=_time(execution.create_time_since_epoch),
        ended=_time(execution.last_update_time_since_epoch) if state in _ENDED else None,
        framework=told.get(properties.FRAMEWORK),
        framework_version=told.get(properties.FRAMEWORK_VERSION),
        polytrainer_version=told.get(properties.POLYTRAINER_VERSION),
        user_code=told.get(properties.USER_CODE) or (in_wheel[1] if in_wheel else None),
        train_seconds=told.get(properties.TRAIN_SECONDS),
        train_steps=told.get(properties.TRAIN_STEPS),
        best_step=told.get(properties.BEST_STEP),
        metrics=_numbers(told, properties.METRIC),
        parity=_numbers({name: told[name] for name in told if name != properties.SERVING_ROWS}, properties.PARITY),
        serving_rows=told.get(properties.SERVING_ROWS),
        model_uri=_uri(model),
        model_run_uri=_uri(model_run),
        test_results_uri=_uri(outputs.get(keys.TEST_RESULTS)),
        arguments={name: _decoded(value) for name, value in sorted(arguments.items())},
        provenance=Provenance.of_properties(told),
    )


def _outputs(store: MetadataStore, execution: int) -> dict[str, mlmd.Artifact]:
    """The artifacts that an execution has made, or, if it is cached, taken; by output key."""
    events = [event for event in store.get_events_by_execution_ids([execution]) if event.type in _OUTPUTS]
    by_id = {artifact.id: artifact for artifact in store.get_artifacts_by_id([event.artifact_id for event in events])}
    return {
        event.path.steps[0].key: by_id[event.artifact_id]
        for event in events
        if event.path.steps and event.artifact_id in by_id
    }


def _uri(artifact: mlmd.Artifact | None) -> str | None:
    return artifact.uri if artifact is not None and artifact.state not in _GONE else None


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def _values(told: Mapping[str, mlmd.Value]) -> dict[str, Any]:
    """Properties as Python's values; those of kinds that nothing of ours or TFX's Trainer is in are left out."""
    kinds = {name: value.WhichOneof("value") for name, value in told.items()}
    plain = ("int_value", "double_value", "string_value", "bool_value")
    return {name: getattr(told[name], kind) for name, kind in kinds.items() if kind in plain}


def _numbers(told: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): float(value) for name, value in told.items() if name.startswith(prefix)}


def _decoded(value: Any) -> Any:
    """What JSON in a property stands for; what is no JSON object stays as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return None if value == "null" else value
    try:
        return json.loads(value)
    except ValueError:
        return value
