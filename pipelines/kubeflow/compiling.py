"""TFX pipelines → the files that Kubeflow Pipelines and Vertex AI run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow import (
    caching,
    names,
    node_resources,
    node_values,
    notices,
    platform_spec,
    refusals,
    resource_refusals,
    runtime_parameters,
)
from polytrainer.pipelines.kubeflow.targets import TARGETS, Target
from polytrainer.proto.problems import Problem
from polytrainer.proto.resources import TrainerResources

MAX_BYTES = 256 * 1024


def compile(
    pipeline: Any,
    output: str | Path,
    *,
    image: str,
    target: str = "kfp",
    root: str | None = None,
    resources: Mapping[str, TrainerResources] | None = None,
    images: Mapping[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Compiles a pipeline for Kubeflow Pipelines 2 or Vertex AI, with TFX's own compiler.

    For `kfp` the file holds the PipelineSpec (schema 2.1.0) as YAML, with our entrypoint as the command of each
    container, and, where nodes ask for what only Kubernetes gives, a second document with the PlatformSpec. Nodes are
    named as Argo takes it: `Trainer.torch` becomes `Trainer-torch`. For `vertex` it holds the PipelineJob as JSON, with
    TFX's own entrypoint. What TFX's compiler leaves out is added for `kfp`: defaults of RuntimeParameters, and the
    pipeline's root, which the user interface proposes for a run. File-based ExampleGens are not cached there: KFP
    would take old examples for those of files that have changed.

    Args:
        pipeline: The `tfx.dsl.Pipeline`.
        output: The file to write: `.yaml` for `kfp`, `.json` for `vertex`.
        image: The container image that nodes run in, with polytrainer, TFX and all modules that nodes name.
        target: "kfp" or "vertex".
        root: Where artifacts are kept, `gs://…`, `s3://…` or `minio://…`. Default: the pipeline's own, which it
            replaces.
        resources: By node id what a node asks for. What is here replaces `Trainer(resources=…)`.
        images: By node id the image of a node that runs in another one.
        max_bytes: The largest spec to write for `kfp`, as JSON; 0: of any size. KFP before 2.3 takes 256 KiB at most.

    Returns:
        The path of `output`.

    Raises:
        KubeflowError: With everything that cannot run there; nothing is written then.
    """
    _refuse(refusals.of_environment())
    goal = _target(target)
    images = images or {}
    root = pipeline.pipeline_info.pipeline_root if root is None else root
    asked = _by_node(pipeline, resources or {})
    _refuse(
        refusals.of_output(str(output), goal),
        refusals.of_images(pipeline, image, images),
        refusals.of_nodes(pipeline, goal),
        refusals.of_root(root, goal),
        refusals.of_modules(pipeline, root),
        refusals.of_jobs(pipeline, root, goal),
        resource_refusals.of(pipeline, asked, goal),
    )
    pipeline.pipeline_info.pipeline_root = root
    job = _compiled_by_tfx(pipeline, image, images, goal)
    node_values.name_producers(job["pipelineSpec"])
    for node_id, each in asked.items():
        node_resources.add(each, job["pipelineSpec"]["deploymentSpec"]["executors"][f"{node_id}_executor"]["container"])
    documents = _for_kfp(pipeline, job["pipelineSpec"], asked) if goal.is_kubernetes else [job]
    if goal.is_kubernetes:
        _refuse(refusals.of_size(len(json.dumps(documents)), max_bytes))
    notices.give(pipeline, [image, *images.values()])
    return _written(Path(output), documents, goal)


def _refuse(*found: Iterable[Problem]) -> None:
    if problems := [problem for each in found for problem in each]:
        raise KubeflowError(*problems)


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise KubeflowError(Problem("target", repr(name), f"one of {', '.join(TARGETS)}"))
    return TARGETS[name]


def _by_node(pipeline: Any, given: Mapping[str, TrainerResources]) -> dict[str, TrainerResources]:
    own = {node.id: getattr(node, "resources", None) for node in pipeline.components}
    return {**{node_id: each for node_id, each in own.items() if isinstance(each, TrainerResources)}, **given}


def _compiled_by_tfx(pipeline: Any, image: str, images: Mapping[str, str], target: Target) -> dict[str, Any]:
    """A PipelineJob in the form of JSON."""
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner, pipeline_builder

    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image={**images, pipeline_builder.DEFAULT_IMAGE_PATH_KEY: image} if images else image,
        default_commands=list(target.command) if target.command else None,
        use_pipeline_spec_2_1=target.is_kubernetes,
    )
    try:
        job: dict[str, Any] = kubeflow_v2_dag_runner.KubeflowV2DagRunner(config).run(pipeline, write_out=False)
    except Exception as error:
        got = f"{type(error).__name__} of TFX's compiler: {error}"
        expected = "a pipeline that it takes"
        raise KubeflowError(Problem(pipeline.pipeline_info.pipeline_name, got, expected)) from error
    return job


def _for_kfp(pipeline: Any, spec: dict[str, Any], asked: Mapping[str, TrainerResources]) -> list[dict[str, Any]]:
    """The documents of the file: the PipelineSpec, and the PlatformSpec where there is need for one."""
    node_values.type_consumers(spec)
    names.make_safe(spec)
    runtime_parameters.add_defaults(pipeline, spec)
    caching.forget_file_based(pipeline, spec)
    if pipeline.pipeline_info.pipeline_root:
        spec["defaultPipelineRoot"] = pipeline.pipeline_info.pipeline_root
    platform = platform_spec.document({names.executor_label(node_id): each for node_id, each in asked.items()})
    return [spec, platform] if platform else [spec]


def _written(output: Path, documents: list[dict[str, Any]], target: Target) -> Path:
    import yaml

    output.parent.mkdir(parents=True, exist_ok=True)
    if target.is_kubernetes:
        text: str = yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True)
        output.write_text(f"# PIPELINE DEFINITION\n# Name: {documents[0]['pipelineInfo']['name']}\n{text}")
    else:
        output.write_text(json.dumps(documents[0], indent=1, sort_keys=True))
    return output
