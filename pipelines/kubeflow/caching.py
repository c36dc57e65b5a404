"""Which nodes of a compiled pipeline Kubeflow Pipelines may take from an earlier run."""

from __future__ import annotations

from typing import Any

from polytrainer.pipelines.kubeflow import names


def forget_file_based(pipeline: Any, spec: dict[str, Any]) -> None:
    """Has file-based ExampleGens run each time, whatever `enable_cache` says.

    TFX has a hook that looks at the files before the cache is asked (`lifecycle.preCacheCheck`). Kubeflow Pipelines
    does not call it, and knows of the files no more than the folder's name, which stays when they change.

    Args:
        pipeline: The pipeline.
        spec: Its PipelineSpec in the form of JSON, changed in place, with the names of tasks made safe.
    """
    from tfx.components import FileBasedExampleGen

    for node in pipeline.components:
        if isinstance(node, FileBasedExampleGen):
            spec["root"]["dag"]["tasks"][names.safe(node.id)].pop("cachingOptions", None)
