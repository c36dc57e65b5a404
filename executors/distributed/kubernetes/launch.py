"""A Trainer's execution, run by the pods of a training job in place of this process."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from absl import logging
from google.protobuf import json_format
from google.protobuf.message import Message
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from polytrainer.executors import preflight, user_code
from polytrainer.executors.distributed import ranks
from polytrainer.executors.distributed.kubernetes import identity, reach
from polytrainer.executors.distributed.kubernetes.api import Cluster
from polytrainer.executors.distributed.kubernetes.cancellation import Cancellation
from polytrainer.executors.distributed.kubernetes.following import Follower
from polytrainer.executors.distributed.kubernetes.handover import Handover
from polytrainer.executors.distributed.kubernetes.manifests import Submission
from polytrainer.executors.errors import PreflightError, TrainingError, UserCodeError
from polytrainer.proto import args, cluster, keys
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import TrainArgs

Artifacts = dict[str, list[Artifact]]


def run(
    executor: base_executor.BaseExecutor, inputs: Artifacts, outputs: Artifacts, exec_properties: Mapping[str, Any]
) -> None:
    """Has the pods of a job do what `executor.Do` would do, and brings home what came of it.

    A job of the same training that runs already, as this process's predecessor died, is followed on.

    Args:
        executor: Of this class the pods make one, too.
        inputs: As `Do` has them.
        outputs: Likewise; rank 0 writes into their folders, and the properties that it sets come back.
        exec_properties: Likewise, with `cluster`.

    Raises:
        PreflightError: Before there is a job.
        TrainingError: If it failed.
    """
    options = cluster.loads(exec_properties[keys.CLUSTER])
    ours, inputs, outputs = outputs, _as_pods_see(inputs, options), _as_pods_see(outputs, options)
    properties = {name: _plain(value) for name, value in exec_properties.items() if name != keys.CLUSTER}
    code = _checked(executor, options, inputs, outputs, properties)
    training = identity.training(executor, inputs, properties, code)
    folder = os.path.join(os.path.dirname(os.path.dirname(outputs[keys.MODEL][0].uri)), ".jobs", training)

    def prepare() -> None:
        _hand_over(folder, _arguments(executor, inputs, outputs, properties))

    cancellation = Cancellation()
    connection = Cluster(
        options.namespace,
        options.context,
        options.patience_seconds,
        first_pause=min(options.poll_seconds, 1.0),
        sleep=cancellation.sleep,
    )
    job = Submission(identity.name(executor, training), folder, options, identity.marks(executor, options))
    follower = Follower(job, connection, cancellation, prepare)
    left_in = follower.follow()
    _bring_home(Handover(left_in), outputs, ours)
    follower.delete()


def _checked(
    executor: base_executor.BaseExecutor,
    options: cluster.ClusterJob,
    inputs: Artifacts,
    outputs: Artifacts,
    properties: Mapping[str, Any],
) -> str:
    """The fingerprint of the user's code, if nothing is wrong that can be seen from here."""
    problems = preflight.check(inputs, outputs, dict(properties))
    problems += reach.problems(options, inputs, outputs, properties)
    problems += _strategy_problems(options, properties)
    kind = type(executor)
    if kind.__module__ == "__main__" or "<" in kind.__qualname__:
        got, expected = f"{kind.__module__}.{kind.__qualname__}", "a class at the top of a module that pods can import"
        problems.append(Problem("the executor", got, expected))
    try:
        code = user_code.locate(properties).fingerprint
    except UserCodeError as error:
        raise PreflightError([*problems, error.problem]) from error
    if problems:
        raise PreflightError(problems)
    return code


def _strategy_problems(options: cluster.ClusterJob, properties: Mapping[str, Any]) -> list[Problem]:
    try:
        strategy = args.parse(properties.get(keys.TRAIN_ARGS), TrainArgs).strategy
    except (TypeError, ValueError):  # which preflight reports
        return []
    of_tensorflow = options.kind == cluster.TFJob.kind
    if strategy == ranks.MULTI_WORKER and not of_tensorflow:
        got = f"{strategy!r} in a {options.kind}"
        return [Problem("train_args.strategy", got, "a TFJob, which sets TF_CONFIG", "cluster=polytrainer.TFJob(…).")]
    if strategy in ranks.RANKED and of_tensorflow:
        remedy = "cluster=polytrainer.TrainJob(…), or PyTorchJob."
        return [Problem("train_args.strategy", f"{strategy!r} in a TFJob", "a job of PyTorch", remedy)]
    return []


def _arguments(
    executor: base_executor.BaseExecutor, inputs: Artifacts, outputs: Artifacts, properties: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "executor": [type(executor).__module__, type(executor).__qualname__],
        "inputs": artifact_utils.jsonify_artifact_dict(inputs),
        "outputs": artifact_utils.jsonify_artifact_dict(outputs),
        "exec_properties": dict(properties),
        "names": identity.names(executor),
    }


def _hand_over(folder: str, arguments: dict[str, Any]) -> None:
    try:
        Handover(folder).give(arguments)
    except Exception as error:  # of whatever file system it is
        got, expected = f"{folder}, where nothing can be written ({error})", "a place that node and pods can write to"
        raise PreflightError([Problem("the pipeline root", got, expected)]) from error


def _plain(value: Any) -> Any:
    """An execution property as JSON can hold it; protos as their JSON, which every reader of them takes, too."""
    return json_format.MessageToJson(value, preserving_proto_field_name=True) if isinstance(value, Message) else value


def _as_pods_see(artifacts_by_key: Artifacts, options: cluster.ClusterJob) -> Artifacts:
    """The same artifacts, where pods find them."""
    seen = copy.deepcopy(artifacts_by_key)
    for artifacts in seen.values():
        for artifact in artifacts:
            artifact.uri = reach.for_pods(artifact.uri, options.mounts.values())
    return seen


def _bring_home(handover: Handover, wanted: Artifacts, ours: Artifacts) -> None:
    """Properties, and files where the job was another launcher's and wrote into the folders of that one's execution.

    Args:
        handover: Where rank 0 said what the outputs are now.
        wanted: Where this execution's outputs are to be, as pods see it.
        ours: The same artifacts, whose properties are set.
    """
    result = handover.result()
    if result is None:
        got, expected = f"no result of rank 0 in {handover.folder}", "one, as the job has ended well"
        raise TrainingError(Problem("the training job", got, expected, "Do its pods see that folder?"))
    for key, artifacts in artifact_utils.parse_artifact_dict(result).items():
        for theirs, place, artifact in zip(artifacts, wanted[key], ours[key], strict=True):
            if theirs.uri != place.uri and fileio.exists(theirs.uri):  # an output need not be written: test results
                logging.info("Copying %s from %s.", key, theirs.uri)
                io_utils.copy_dir(theirs.uri, place.uri)
            for name in ("properties", "custom_properties"):
                told, known = getattr(theirs.mlmd_artifact, name), getattr(artifact.mlmd_artifact, name)
                for each in told:
                    known[each].CopyFrom(told[each])
