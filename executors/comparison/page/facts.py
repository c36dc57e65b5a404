"""What was compared, where everything is, and how it was asked for."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from google.protobuf import json_format

from polytrainer.executors.comparison.page.found import Found
from polytrainer.executors.comparison.table import FILE
from polytrainer.executors.report.page import Block, Facts
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_pb2 import ComparatorArgs

_PACKAGES = ("polytrainer", "tfx", "tensorflow", "tensorflow-model-analysis", "apache-beam", "scikit-learn", "numpy")


def compared(found: Found, args: ComparatorArgs) -> list[Block]:
    """Which rows, and by what they are known to be the same ones."""
    document = found.document
    keys = list(args.key_features)
    pairs: list[tuple[str, Any]] = [
        ("task", document["task"]),
        ("label", document["label_key"]),
        ("splits", ", ".join(document["splits"])),
        ("rows", document["rows"]),
        *_queries(found, args),
        ("rows are told apart by", ", ".join(keys) or "everything that no trainer added"),
        ("weight", args.example_weight_key or "none: each row counts 1"),
        ("slices by", "; ".join(" and ".join(each) for each in comparator_args.slices(args)) or "nothing"),
        ("intervals", f"paired bootstrap, {comparator_args.bootstrap_samples(args)} draws, seed {args.seed}"),
        ("confidence of intervals", f"{document['confidence']:.6g}"),
        ("confidence of differences", f"{document['confidence_of_differences']:.6g}"),
    ]
    names = [(number, word) for number, word in document["class_names"].items()]
    return [Facts(pairs), *([Facts(names, "Names of classes")] if names else [])]


def places(found: Found, uri: str) -> list[Block]:
    """Where models, test results and what was found are."""
    models = [
        Facts(
            [("model", told["uri"]), ("id in ML Metadata", str(told["id"])), ("test results", told["test_results"])],
            name,
        )
        for name, told in found.document["models"].items()
    ]
    own = [("all that was found, for programs", f"{uri}/{FILE}"), ("TFMA's files, for tfma.load_eval_results", uri)]
    return [*models, Facts(own, "Comparison")]


def configuration(args: ComparatorArgs) -> list[Block]:
    """The arguments as they were given, and versions."""
    fields = json_format.MessageToDict(args, preserving_proto_field_name=True)
    told = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in fields.items()]
    versions = [("python", platform.python_version()), *((name, _version(name)) for name in _PACKAGES)]
    return [Facts(told, "ComparatorArgs"), Facts([each for each in versions if each[1]], "Versions")]


def _queries(found: Found, args: ComparatorArgs) -> list[tuple[str, Any]]:
    queries = found.document["candidates"][found.best].get("queries")
    return [] if queries is None else [("queries by", args.query_key), ("queries with a relevant row", queries)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
