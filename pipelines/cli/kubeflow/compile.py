"""`polytrainer kubeflow compile`: a pipeline as the file that Kubeflow Pipelines or Vertex AI runs."""

from __future__ import annotations

import argparse
from typing import Any

from polytrainer.pipelines.cli import pipeline_function
from polytrainer.pipelines.quiet import quieten


def add_to(subcommands: Any) -> None:
    """Adds the command."""
    parser = subcommands.add_parser("compile", help="write the file that is uploaded", description=__doc__)
    pipeline_function.add_to(parser)
    parser.add_argument("--image", required=True, help="the container image of every node, with a tag or a digest")
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="what to write: .yaml for kfp, .json for vertex"
    )
    parser.add_argument("--target", choices=("kfp", "vertex"), default="kfp", help="where it is to run (default: kfp)")
    parser.add_argument(
        "--root", metavar="URI", help="the pipeline's root, in place of its own: gs://, s3://, minio://"
    )
    parser.add_argument(
        "--max-bytes", type=int, metavar="N", help="the largest spec that is written (default: 262144; 0: any size)"
    )
    parser.set_defaults(call=write)


def write(options: argparse.Namespace) -> None:
    """Compiles and says what was written."""
    quieten()
    from polytrainer.pipelines import kubeflow

    size = {} if options.max_bytes is None else {"max_bytes": options.max_bytes}
    pipeline = pipeline_function.call(options.pipeline)
    written = kubeflow.compile(
        pipeline, options.output, image=options.image, target=options.target, root=options.root, **size
    )
    print(f"{written}: {pipeline.pipeline_info.pipeline_name}, {len(pipeline.components)} nodes, for {options.target}")
