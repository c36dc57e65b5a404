"""What cannot run where a pipeline is to be compiled for, found before it is compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any

from polytrainer.pipelines.kubeflow import names, node_values, packaging
from polytrainer.pipelines.kubeflow.targets import Target
from polytrainer.proto import keys
from polytrainer.proto.problems import Problem


def of_environment() -> Iterator[Problem]:
    """What is missing on this machine."""
    if find_spec("kfp") is None:
        remedy = 'pip install "polytrainer[kfp]"'
        yield Problem("kfp", "no such package in this environment", "the one that TFX's compiler writes with", remedy)


def of_output(output: str, target: Target) -> Iterator[Problem]:
    """What is wrong with the file that is to be written."""
    if PurePath(output).suffix not in target.endings:
        expected = f"a name that ends in {' or '.join(target.endings)}"
        yield Problem("output", repr(output), expected, f"{target.title} reads no other.")


def of_images(pipeline: Any, image: Any, images: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the image of all nodes, and with those of single ones."""
    nodes = sorted(node.id for node in pipeline.components)
    for unknown in sorted(set(images) - set(nodes)):
        yield Problem("images", f"a node {unknown!r}", f"some of {', '.join(nodes)}")
    named = {"image": image, **{f"images[{node_id!r}]": each for node_id, each in images.items()}}
    for where, name in named.items():
        if not isinstance(name, str) or not name or any(letter.isspace() for letter in name):
            yield Problem(where, repr(name), 'a container image, e.g. "registry.example.com/team/trainer:1.4"')


def of_nodes(pipeline: Any, target: Target) -> Iterator[Problem]:
    """What is wrong with the pipeline's name and with its nodes."""
    from tfx.orchestration.kubeflow.v2 import pipeline_builder

    name = pipeline.pipeline_info.pipeline_name
    if not pipeline_builder._LEGAL_NAME_PATTERN.fullmatch(name):
        yield Problem("pipeline_name", repr(name), "lower case letters, digits and '-', 128 of them at most")
    for node in pipeline.components:
        yield from _of_any_target(node)
        if target.is_kubernetes:
            yield from _of_kubeflow_pipelines(node, pipeline)
            if not 0 < len(names.safe(node.id)) <= names.LONGEST:
                yield Problem("node id", repr(node.id), f"1 to {names.LONGEST} letters, digits and '-'")
    if target.is_kubernetes:
        for safe, node_ids in names.clashes(node.id for node in pipeline.components).items():
            got = f"{' and '.join(map(repr, node_ids))}, which are both {safe!r} there"
            yield Problem("node ids", got, "ids that differ in letters and digits", "Argo's names have '-' besides.")


def of_root(root: Any, target: Target) -> Iterator[Problem]:
    """What is wrong with the pipeline's root."""
    expected = f"a text that begins with {' or '.join(f'{scheme}://' for scheme in target.root_schemes)}"
    if not isinstance(root, str):
        yield Problem("pipeline_root", "a placeholder", expected)
    elif not root and not target.is_kubernetes:  # KFP has a root of its own for those that have none
        yield Problem("pipeline_root", "none", expected)
    elif root and packaging.scheme(root) not in target.root_schemes:
        got = repr(root) if packaging.scheme(root) else f"{root!r}, a path of this machine"
        yield Problem("pipeline_root", got, expected, f"{target.title} keeps artifacts nowhere else.")


def of_modules(pipeline: Any, root: Any) -> Iterator[Problem]:
    """User modules that TFX cannot package under the root, or has packaged elsewhere."""
    there = f"packages under {root!r}" if root else "packages under the pipeline's root, and there is none"
    for node in pipeline.components:
        if isinstance(root, str) and not packaging.can_write(root):
            for argument, file in packaging.files_to_package(node).items():
                yield Problem(
                    f"{node.id}.{argument}", f"{file!r}, which TFX {there}",
                    "a module that is in the image, or a root that TFX writes to from here, e.g. gs://",
                    f"Install the module in the image and give {packaging.remedy(node)} in place of it.",
                )  # fmt: skip
        for wheel in packaging.local_wheels(node):
            got = f"{wheel!r}, which was packaged for a run on this machine"
            yield Problem(node.id, got, "a pipeline that has not run yet", "Make the pipeline anew.")


def of_jobs(pipeline: Any, root: Any, target: Target) -> Iterator[Problem]:
    """Training jobs whose pods could not open the pipeline's artifacts."""
    if not target.is_kubernetes or not isinstance(root, str) or packaging.scheme(root) not in ("", "minio"):
        return
    for node in pipeline.components:
        if getattr(node, "exec_properties", {}).get(keys.CLUSTER):
            got = f"a training job, and artifacts at {root or 'the root of Kubeflow Pipelines, which is minio://'}"
            expected = "a root that the pods of the job can open, e.g. gs://"
            yield Problem(f"{node.id}.{keys.CLUSTER}", got, expected, "TFX does not read minio:// in them.")


def of_size(num_bytes: int, max_bytes: int) -> Iterator[Problem]:
    """What is wrong with the size of a compiled pipeline."""
    if max_bytes and num_bytes > max_bytes:
        yield Problem(
            "compiled pipeline", f"{num_bytes} bytes", f"at most {max_bytes}",
            "Shorten what arguments of nodes hold (eval_config, custom_config, queries), or make two pipelines of it. "
            "KFP takes 256 KiB before 2.3; since then the limit is that of a Kubernetes object, about 1.5 MB for all "
            "that KFP makes of it: give max_bytes to try it.",
        )  # fmt: skip


def _of_any_target(node: Any) -> Iterator[Problem]:
    from tfx.components import InfraValidator
    from tfx.orchestration.pipeline import Pipeline

    if isinstance(node, Pipeline):
        yield Problem(node.id, "a pipeline in the pipeline", "its nodes", "TFX's compiler for Kubeflow knows no other.")
    if isinstance(node, InfraValidator):
        yield Problem(node.id, "an InfraValidator", "another node", "TFX's compiler for Kubeflow knows none.")
    executor = getattr(node.executor_spec, "executor_class", None)
    if executor is not None and executor.__module__ == "__main__":
        got = f"the executor {executor.__qualname__} of the script that is running"
        yield Problem(node.id, got, "one that can be imported in the image", "Move it into a module of your package.")


def _of_kubeflow_pipelines(node: Any, pipeline: Any) -> Iterator[Problem]:
    from tfx.dsl.components.common.importer import Importer
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.experimental.conditionals import conditional

    if isinstance(node, Resolver):
        yield Problem(
            node.id, "a Resolver", "a node that Kubeflow Pipelines runs; its backend has no resolvers",
            "Name the artifact with a tfx.dsl.Importer; or leave it out: an Evaluator without one blesses by its "
            "thresholds alone.",
        )  # fmt: skip
    if isinstance(node, Importer) and conditional.get_predicates(node, pipeline.dsl_context_registry):
        yield Problem(node.id, "an Importer under a condition", "one outside of it", "The backend takes no other.")
    importers = {each.id for each in pipeline.components if isinstance(each, Importer)}
    for name, producers in node_values.producers(node).items():
        for producer in sorted(producers & importers):
            expected = "one that a node with a container writes, or a RuntimeParameter"
            yield Problem(f"{node.id}.{name}", f"a value that the Importer {producer} names", expected)
