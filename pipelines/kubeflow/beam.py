"""Steps whose work is done by Beam on other machines, such as Dataflow's: those see no mirror of this one."""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.proto.problems import Problem

_HERE = ("DirectRunner", "FnApiRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner", "PrismRunner")


def runs_elsewhere(executor_class_path: str, beam_args: Sequence[str]) -> bool:
    """Whether an executor is one for Beam, and Beam's runner is not on this machine."""
    runner = _runner(beam_args)
    if runner in _HERE:
        return False
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.utils import import_utils

    return issubclass(import_utils.import_class_by_path(executor_class_path), BaseBeamExecutor)


def keep_in_the_store(executor_input: Any, beam_args: Sequence[str]) -> None:
    """Lets a step read and write the object store itself, in which its workers can see everything.

    The output file goes there, too: TFX keeps what workers share in a folder beside it.

    Args:
        executor_input: Is changed in place.
        beam_args: What an error names the runner from.

    Raises:
        KubeflowError: An artifact is in a store that Beam cannot read.
    """
    for uri in _uris(executor_input):
        if uri.startswith("minio://"):
            expected = "artifacts in gs:// or s3://, which its workers can read"
            remedy = "Give the pipeline such a root, or run the step with --runner=DirectRunner."
            raise KubeflowError(Problem(f"--runner={_runner(beam_args)}", f"an artifact in {uri}", expected, remedy))
    outputs = executor_input.outputs
    for artifacts in outputs.artifacts.values():
        outputs.output_file = posixpath.join(posixpath.dirname(artifacts.artifacts[0].uri), "output_metadata.json")


def _runner(beam_args: Sequence[str]) -> str:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner", default=_HERE[0])
    return str(parser.parse_known_args(list(beam_args))[0].runner.rpartition(".")[2])


def _uris(executor_input: Any) -> Iterator[str]:
    for lists in (executor_input.inputs.artifacts, executor_input.outputs.artifacts):
        for artifacts in lists.values():
            yield from (artifact.uri for artifact in artifacts.artifacts)
