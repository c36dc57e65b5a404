"""What the values of a trainer's data must be before it trains: there, and numbers; what evaluations are told of."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from polytrainer.executors.data import anomalies, diagnosis, records
from polytrainer.executors.data.anomalies import INFINITE, MISSING, NAN, OUTSIDE, UNEQUAL, Anomaly
from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.executors.data.parsing import Parser
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.base import BaseTrainer

TRAIN = "train"  # the training splits together, whatever they are called
Anomalies = dict[str, list[Anomaly]]  # by split


def find(trainer: BaseTrainer) -> Anomalies:
    """The anomalies of the training splits, and of each split that is evaluated or tested on.

    Raises:
        PreflightError: If an example cannot be parsed.
    """
    transform = trainer._transform_layer if trainer._is_raw else None
    found: dict[tuple[str, ...], list[Anomaly]] = {}
    by_split: Anomalies = {}
    for split, patterns in _patterns(trainer).items():
        files = tuple(trainer.files(patterns))
        if files not in found:
            if problems := records.oversized_records(files):  # `fit` has no preflight
                raise PreflightError(problems)
            try:
                found[files] = anomalies.find_anomalies(files, trainer._stored_spec, transform)
            except diagnosis.failures() as error:
                raise PreflightError([_parse_problem(files, trainer._stored_spec, error)]) from error
        by_split[split] = found[files]
    return by_split


def check_sizes(trainer: BaseTrainer, default_input_fn: Any) -> list[Problem]:
    """What cannot be parsed: examples of any split that lack a value, or have another number of values.

    Args:
        trainer: With its data.
        default_input_fn: The one that parses as is looked at here; another may know what to do.
    """
    try:
        by_split = trainer._anomalies
    except PreflightError as error:
        return list(error.problems)
    problems: dict[tuple[str, str], Problem] = {}
    for split, found in by_split.items():
        for anomaly in found:
            if anomaly.is_unparsable:
                problem = _size_problem(anomaly, split, trainer._stored_spec[anomaly.feature])
                problems.setdefault((anomaly.feature, anomaly.kind), problem)
    if type(trainer).input_fn is default_input_fn:
        return list(problems.values())
    for problem in problems.values():
        logging.warning("%s", problem)
    return []


def check_finite(trainer: BaseTrainer, default_input_fn: Any, by_split: Anomalies, names: Collection[str] = ()) -> None:
    """Refuses NaN and infinity in what is trained on; warns of them in what is evaluated on.

    Args:
        trainer: With its data and schema.
        default_input_fn: As in `check_sizes`.
        by_split: Anomalies of its data.
        names: Features that the model takes, where that is known.

    Raises:
        PreflightError: With each feature that has some in training.
    """
    taken = {*names, trainer.label_key, trainer.weight_key} if names else None
    problems = []
    for split, found in by_split.items():
        for anomaly in found:
            if anomaly.kind not in (NAN, INFINITE) or (taken is not None and anomaly.feature not in taken):
                continue
            if is_allowed(trainer.schema, anomaly):
                continue
            if split == TRAIN and type(trainer).input_fn is default_input_fn:
                problems.append(_finite_problem(anomaly, trainer))
            else:
                logging.warning(
                    "The %s: feature %r has %s. Metrics of it may not be finite.",
                    _title(split),
                    anomaly.feature,
                    anomaly,
                )
    if problems:
        raise PreflightError(sorted(problems, key=lambda problem: problem.where))


def is_allowed(schema: Any, anomaly: Anomaly) -> bool:
    """Whether a schema says itself that a feature may be NaN, or infinite."""
    field = "disallow_nan" if anomaly.kind == NAN else "disallow_inf"
    for feature in schema.feature if schema is not None else ():
        if feature.name == anomaly.feature and feature.HasField("float_domain"):
            return feature.float_domain.HasField(field) and not getattr(feature.float_domain, field)
    return False


def warn_of_metrics(metrics: Mapping[str, float], by_split: Anomalies) -> None:
    """Says of each metric that is not finite that it is so, and what of the data may be the cause."""
    causes = [
        f"the {_title(split)} has {anomaly} of {anomaly.feature!r}"
        for split, found in by_split.items()
        for anomaly in found
        if anomaly.kind in (NAN, INFINITE)
    ]
    for name, value in metrics.items():
        if not math.isfinite(value):
            cause = "; ".join(causes) or "no value of the data that was looked at is NaN or infinite"
            logging.warning("The metric %r of the published model is %s: %s.", name, value, cause)


def describe(by_split: Anomalies) -> dict[str, list[str]]:
    """Anomalies in words, by split; those without any are left out."""
    return {split: [f"{anomaly.feature}: {anomaly}" for anomaly in found] for split, found in by_split.items() if found}


def optional_features(trainer: BaseTrainer) -> list[str]:
    """Features of the stored examples that an example may lack: as the schema says, or as the data show.

    Those that have a default are not among them: a value is never missing.
    """
    found = {
        anomaly.feature
        for split in trainer._anomalies.values()
        for anomaly in split
        if anomaly.kind == MISSING and not anomaly.required
    }
    schema = trainer.transform_output.raw_metadata.schema if trainer._is_raw else trainer.schema  # type: ignore[union-attr]
    for feature in schema.feature if schema is not None else ():
        if feature.HasField("presence") and feature.presence.min_fraction < 1:
            found.add(feature.name)
    spec = trainer._stored_spec
    return sorted(name for name in found & set(spec) if not hasattr(spec[name], "default_value"))


def default_remedy(name: str, *, quoted: bool = True) -> str:
    """How a feature that may be missing is given a value."""
    key = repr(name) if quoted else name
    return f"Give it a value where it is missing: defaults={{{key}: value}}, or fill it in with Transform."


def _patterns(trainer: BaseTrainer) -> dict[str, Sequence[str]]:
    fn_args = trainer.fn_args
    evaluated = getattr(fn_args, "eval_split_files", None) or {"eval": fn_args.eval_files}
    evaluated = {**evaluated, **(getattr(fn_args, "test_files", None) or {})}
    return {
        TRAIN: fn_args.train_files,
        **{name if name != TRAIN else f"{TRAIN} (evaluated)": each for name, each in evaluated.items()},
    }


def _title(split: str) -> str:
    return "training data" if split == TRAIN else f"split {split!r}"


def _parse_problem(files: Sequence[str], spec: FeatureSpec, error: Exception) -> Problem:
    """Which example cannot be parsed, and why."""
    compression = "GZIP" if files[0].endswith(".gz") else ""
    return diagnosis.explain(files, compression, Parser(spec, {}, None), error).problem


def _size_problem(anomaly: Anomaly, split: str, feature: Any) -> Problem:
    where = f"feature {anomaly.feature!r} of the {_title(split)}"
    if anomaly.kind in (OUTSIDE, UNEQUAL):
        expected = f"an index within {feature.size} for each value"
        return Problem(where, str(anomaly), expected, diagnosis.MEND)
    size = diagnosis.values_text(math.prod(feature.shape))
    if anomaly.kind == MISSING:
        return Problem(where, str(anomaly), f"{size} in each example", default_remedy(anomaly.feature))
    return Problem(where, str(anomaly), f"{size} in each example", diagnosis.MEND)


def _finite_problem(anomaly: Anomaly, trainer: BaseTrainer) -> Problem:
    name = anomaly.feature
    if name == trainer.label_key:
        remedy = "Leave out the examples without a label, or impute it in Transform."
    elif anomaly.kind == NAN:
        remedy = (
            f"Impute it in Transform; or defaults={{{name!r}: value}}, which takes the place of NaN, too; or leave the "
            "feature out (feature_spec). A schema with float_domain { disallow_nan: false } lets it through."
        )
    else:
        remedy = (
            "Clip it in Transform, or leave the feature out (feature_spec). A schema with "
            "float_domain { disallow_inf: false } lets it through."
        )
    return Problem(f"feature {name!r} of the training data", str(anomaly), "finite numbers", remedy)
