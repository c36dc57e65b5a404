"""One rank of a training job: `python -m polytrainer.executors.distributed.kubernetes.worker FOLDER`.

Run by torchrun in the pods of a TrainJob and a PyTorchJob, as it is in those of a TFJob. What is to be done stands in
the folder, as the launcher wrote it; what came of it, the chief writes there.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

_TERMINATION_LOG = "POLYTRAINER_TERMINATION_LOG"
_TERMINATION_BYTES = 4096  # Kubernetes' own limit


def main(folder: str) -> None:
    """Does one rank's part; leaves a result or an error in the folder."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a log is read while it is written
    # before TensorFlow: see there
    from polytrainer.executors.backends import triton_beside_tensorflow

    triton_beside_tensorflow.install()
    try:
        _do(folder)
    except BaseException as error:
        traceback.print_exc()
        _tell(folder, error)
        sys.stdout.flush()
        # not through the interpreter's own end, where a thread of the process group may wait for ranks that are gone
        os._exit(1)


def _do(folder: str) -> None:
    from tfx.types import artifact_utils

    from polytrainer.executors.distributed import ranks
    from polytrainer.executors.distributed.kubernetes.handover import Handover

    handover = Handover(folder)
    arguments = handover.arguments()
    inputs, outputs = (artifact_utils.parse_artifact_dict(arguments[name]) for name in ("inputs", "outputs"))
    with ranks.job(), tempfile.TemporaryDirectory(prefix="polytrainer-rank-") as temporary:
        executor = _class(*arguments["executor"])(_context(arguments["names"], temporary))
        executor.Do(inputs, outputs, arguments["exec_properties"])
    if ranks.is_chief_by_environment():
        handover.succeed(artifact_utils.jsonify_artifact_dict(outputs))


def _class(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _context(names: dict[str, str], temporary: str) -> Any:
    from tfx.dsl.components.base import base_executor
    from tfx.proto.orchestration import pipeline_pb2

    return base_executor.BaseExecutor.Context(
        tmp_dir=temporary,
        unique_id="0",
        pipeline_node=pipeline_pb2.PipelineNode(node_info=pipeline_pb2.NodeInfo(id=names["node"])),
        pipeline_info=pipeline_pb2.PipelineInfo(id=names["pipeline"]),
        pipeline_run_id=names["run"],
    )


def _tell(folder: str, error: BaseException) -> None:
    """To the launcher; and to Kubernetes, for who looks at the pod."""
    _leave_at_the_pod(f"{type(error).__name__}: {error}")
    try:
        from polytrainer.executors.distributed.kubernetes.handover import Handover
        from polytrainer.executors.distributed.kubernetes.rank_error import RankError

        Handover(folder).fail(RankError.of(_rank(), error))
    except Exception:  # the folder may be what is wrong
        traceback.print_exc()


def _leave_at_the_pod(message: str) -> None:
    """The first rank of a pod that fails says why; without a pod there is no such file, and none is made."""
    path = Path(os.environ.get(_TERMINATION_LOG, "/dev/termination-log"))
    if path.exists() and not path.stat().st_size:
        path.write_bytes(message.encode()[:_TERMINATION_BYTES])


def _rank() -> int:
    task = json.loads(os.environ.get("TF_CONFIG") or "{}").get("task", {})
    return int(task.get("index", os.environ.get("RANK", "0")))


if __name__ == "__main__":
    main(*sys.argv[1:])
