"""What is known of a run when it ends, and what of it is on a page: facts, metrics, configuration, places."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from polytrainer.executors.report.cells import Heat
from polytrainer.executors.report.page import Block, Facts, Table
from polytrainer.executors.report.raw_rows import RawSplit
from polytrainer.executors.report.split_counts import split_counts
from polytrainer.executors.result import TrainResult

if TYPE_CHECKING:
    from polytrainer.executors.run_args import RunArgs

_NOT_SERVED = (
    "serving_default was not called on real raw examples: none are known (Trainer(raw_examples=…) names some)."
)
STATE, METRICS = "trainer_state.json", os.path.join("logs", "metrics.csv")


@dataclass(frozen=True)
class Run:
    """A training that has ended well.

    Attributes:
        told: What `run_fn` was given: `FnArgs`, or `RunArgs`.
        result: What it returned.
        seconds: It took.
        framework: As in the artifact's properties, and its version.
        code: The user's module: how it is called, and the hash of its source.
        names: Of pipeline, run and node, as far as they are known.
        inputs: Addresses of the input artifacts by their key.
        outputs: And those of the output artifacts.
        signatures: Of the serving model.
        raw_splits: The raw examples of which Transform made those of a split, where they are known.
    """

    told: RunArgs
    result: TrainResult
    seconds: float
    framework: tuple[str, str] = ("unknown", "unknown")
    code: tuple[str, str] = ("", "")
    names: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    outputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    signatures: Sequence[str] = ()
    raw_splits: Mapping[str, RawSplit] = field(default_factory=dict)

    @property
    def state(self) -> dict[str, Any]:
        """What a trainer class has written of itself; empty for a plain `run_fn`, which need not."""
        text = self.read(STATE)
        found = json.loads(text) if text else {}
        return found if isinstance(found, dict) else {}

    def read(self, name: str) -> str:
        """A file of the ModelRun; "" where there is none."""
        from tensorflow.io import gfile

        path = os.path.join(self.told.model_run_dir, name)
        if not gfile.exists(path):
            return ""
        with gfile.GFile(path, "rb") as file:
            return bytes(file.read()).decode("utf-8", "replace")


def overview(run: Run, state: Mapping[str, Any]) -> list[Block]:
    """What ran on what data."""
    told = run.told
    pairs: list[tuple[str, Any]] = [*run.names.items(), ("framework", " ".join(run.framework))]
    pairs += [("module", run.code[0])] if run.code[0] else []
    pairs += [("seed", str(state["seed"]))] if "seed" in state else []
    steps = run.result.steps if run.result.steps is not None else state.get("step")
    pairs += [("steps taken", steps)] if steps is not None else []
    pairs += [("steps planned", state["total_steps"])] if "total_steps" in state else []
    pairs += [("batch size", state["batch_size"])] if "batch_size" in state else []
    pairs += [("resumed from step", state["resumed_from"])] if state.get("resumed_from") else []
    return [Facts(pairs), Table(["split", "used for", "examples"], split_counts(told, state), "Data")]


def metrics(run: Run) -> list[Block]:
    """The metrics of the trained model: a row for each metric, a column for each split."""
    splits = [*run.told.eval_args.splits, *run.told.eval_args.test_splits]
    columns: dict[str, dict[str, float]] = {}
    for name, value in run.result.metrics.items():
        split = next((each for each in splits if name.startswith(f"{each}.")), "")
        columns.setdefault(split, {})[name.removeprefix(f"{split}.") if split else name] = value
    if not columns:
        return []
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [[name, *(column.get(name) for column in columns.values())] for name in names]
    return [Table(["metric", *(split or "evaluation" for split in columns)], rows, note=_chosen(run))]


def _chosen(run: Run) -> str:
    best = run.result.best_step
    return f"The model has the weights of step {best}, which were the best." if best is not None else ""


def timing(run: Run, state: Mapping[str, Any]) -> list[Block]:
    """Seconds by phase, as far as the trainer knows them."""
    found = {str(name): float(seconds) for name, seconds in dict(state.get("timings") or {}).items()}
    whole = max(run.seconds, sum(found.values()))
    rows: list[list[Any]] = [
        [name, Heat(seconds, share := seconds / whole if whole else 0.0, right=True), f"{share:.0%}"]
        for name, seconds in {**found, **({"the rest" if found else "all": whole - sum(found.values())})}.items()
    ]
    if found:
        rows.append(["all", whole, "100%"])
    note = "Training is its steps and the reading of data for them; the rest is mostly imports, checks and set-up."
    return [Table(["phase", "seconds", "share"], rows, note=note if found else "")]


def configuration(run: Run, state: Mapping[str, Any]) -> list[Block]:
    """Arguments, versions, and how far what was written is from what was trained."""
    told = run.told
    found: list[Block] = []
    for title, message in (
        ("TrainArgs", told.train_args),
        ("EvalArgs", told.eval_args),
        ("ExportArgs", told.export_args),
    ):
        fields = json_format.MessageToDict(message, preserving_proto_field_name=True)
        found.append(Facts([(name, _plain(value)) for name, value in fields.items()], title))
    for title, values in (
        ("Training", state.get("training")),
        ("Arguments of the trainer", state.get("arguments")),
        ("Hyperparameters", told.hyperparameters),
        ("custom_config", told.custom_config),
    ):
        if isinstance(values, Mapping):
            found.append(Facts([(str(name), _plain(value)) for name, value in values.items()], title))
    versions = {**dict(state.get("versions") or {}), **dict([run.framework])}
    found.append(Facts([(name, str(version)) for name, version in versions.items() if name != "unknown"], "Versions"))
    parity = [[name, float(difference)] for name, difference in run.result.parity.items()]
    if parity:
        rows = run.result.serving_rows
        served = f"serving_default was called on {rows} real raw examples." if rows else _NOT_SERVED
        note = f"The largest difference on real examples, relative to the largest output. {served}"
        found.append(Table(["format", "difference"], parity, "Written models compared with the trained one", note))
    return [block for block in found if not isinstance(block, Facts) or block.pairs]


def artifacts(run: Run) -> list[Block]:
    """Where everything is."""
    found: list[Block] = []
    for title, artifacts in (("Inputs", run.inputs), ("Outputs", run.outputs)):
        pairs = [(key, "\n".join(uris)) for key, uris in artifacts.items() if uris]
        found += [Facts(pairs, title)] if pairs else []
    model = [("serving model", run.told.serving_model_dir), ("signatures", ", ".join(run.signatures))]
    model += [("user code (SHA-256)", run.code[1])]
    return [*found, Facts([(name, value) for name, value in model if value], "Model")]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=repr)
