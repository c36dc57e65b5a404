"""What the user's code is told: TFX's FnArgs, value for value, and what polytrainer adds to it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import attr
from tfx.components.trainer import fn_args_utils
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils, path_utils

from polytrainer.executors import examples_lineage
from polytrainer.executors.checkpoints import data_signature, fingerprint
from polytrainer.executors.data.files import matching_files
from polytrainer.executors.inputs import read_hyperparameters, read_num_examples
from polytrainer.executors.result import TrainResult
from polytrainer.proto import args, keys
from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs

Artifacts = dict[str, list[Artifact]]
CHECKPOINT_ROOT = "POLYTRAINER_CHECKPOINT_ROOT"
# the module's own path is that of a wheel whose name holds a hash of the code; the code itself counts instead
_TRAINING_FOLLOWS_FROM = (keys.TRAIN_ARGS, keys.EVAL_ARGS, keys.CUSTOM_CONFIG, keys.RUN_FN, keys.TRAINER_FN)


@attr.s
class FnArgs(fn_args_utils.FnArgs):  # type: ignore[misc]
    """TFX's FnArgs and more.

    Attributes:
        train_args: `polytrainer.TrainArgs`, with `splits` filled in.
        eval_args: `polytrainer.EvalArgs`, with `splits` filled in.
        export_args: `polytrainer.ExportArgs`, as they were given.
        num_examples: Number of examples by split, from the `statistics` given to the Trainer; None without them. (TFX
            has this attribute from 1.17 on, and only where statistics are given.)
        eval_split_files: File patterns by split, for each of `eval_args.splits`; `eval_files` has them all in one list.
        test_files: File patterns by split, for each of `eval_args.test_splits`.
        checkpoint_dir: A folder that outlives a failed run and is found again by the next one with the same inputs,
            code and arguments; removed when the run succeeds. Beside the node's outputs, or in the folder that the
            environment variable POLYTRAINER_CHECKPOINT_ROOT names; None without it where outputs are not on a local
            file system.
        test_results_dir: The folder of the `test_results`, see `polytrainer.write_test_results`; None where the node
            has no such output, which is so behind TFX's own Trainer.
        extra_inputs: Artifacts by the name given in `Trainer(extra_inputs={name: channel})`.
        examples_are: "raw" or "transformed", where the artifacts of the examples tell; else None.
        raw_eval_files: File patterns of the raw examples of which Transform made those of `eval_args.splits`: on these
            the trainer classes compare the served model with the trained one. Empty where they are not known.
        exported: What `polytrainer.export_torch` or `export_keras` has measured; None where neither was called.
    """

    train_args: TrainArgs = attr.ib(default=None)
    eval_args: EvalArgs = attr.ib(default=None)
    export_args: ExportArgs = attr.ib(factory=ExportArgs)
    num_examples: dict[str, int] | None = attr.ib(default=None)
    eval_split_files: dict[str, list[str]] = attr.ib(factory=dict)
    test_files: dict[str, list[str]] = attr.ib(factory=dict)
    checkpoint_dir: str | None = attr.ib(default=None)
    test_results_dir: str | None = attr.ib(default=None)
    extra_inputs: dict[str, list[Artifact]] = attr.ib(factory=dict)
    examples_are: str | None = attr.ib(default=None)
    raw_eval_files: list[str] = attr.ib(factory=list)
    exported: TrainResult | None = attr.ib(default=None)


def resolve(
    input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any], code_fingerprint: str = ""
) -> FnArgs:
    """Turns artifacts and execution properties into FnArgs; both have passed `preflight`.

    The part that TFX has is made by TFX's own code, so that it is what TFX's Trainer would have made of it.
    """
    common = fn_args_utils.get_common_fn_args(input_dict, exec_properties)
    result = FnArgs(**{field.name: getattr(common, field.name) for field in attr.fields(fn_args_utils.FnArgs)})
    result.transform_output = result.transform_graph_path
    result.schema_file = result.schema_path
    result.hyperparameters = read_hyperparameters(input_dict)

    model_uri = artifact_utils.get_single_uri(output_dict[keys.MODEL])
    result.serving_model_dir = path_utils.serving_model_dir(model_uri)
    result.eval_model_dir = path_utils.eval_model_dir(model_uri)
    result.model_run_dir = artifact_utils.get_single_uri(output_dict[keys.MODEL_RUN])
    if output_dict.get(keys.TEST_RESULTS):
        result.test_results_dir = artifact_utils.get_single_uri(output_dict[keys.TEST_RESULTS])

    result.train_args = args.parse(exec_properties.get(keys.TRAIN_ARGS), TrainArgs)
    result.eval_args = args.parse(exec_properties.get(keys.EVAL_ARGS), EvalArgs)
    result.export_args = args.parse(exec_properties.get(keys.EXPORT_ARGS), ExportArgs)
    args.resolve_aliases(result.train_args)
    result.train_args.splits[:] = result.train_args.splits or ["train"]
    result.eval_args.splits[:] = result.eval_args.splits or ["eval"]
    result.num_examples = read_num_examples(input_dict)
    result.eval_split_files = _patterns(input_dict, result.eval_args.splits)
    result.test_files = _patterns(input_dict, result.eval_args.test_splits)
    data = [*_patterns(input_dict, result.train_args.splits).values(), *result.eval_split_files.values()]
    patterns = [pattern for split in data for pattern in split]
    result.checkpoint_dir = _checkpoint_dir(model_uri, input_dict, exec_properties, code_fingerprint, patterns)
    result.extra_inputs = {
        name: artifacts for key, artifacts in input_dict.items() if (name := keys.extra_input_name(key))
    }
    result.examples_are = examples_lineage.examples_are(input_dict)
    result.raw_eval_files = raw_patterns(input_dict, result.eval_args.splits)
    return result


def raw_patterns(input_dict: Artifacts, splits: Iterable[str]) -> list[str]:
    """Patterns of the files of some splits of the raw examples; of those splits that all of their artifacts have."""
    artifacts = input_dict.get(keys.RAW_EXAMPLES) or []
    return [
        io_utils.all_files_pattern(uri)
        for split in splits
        if all(split in artifact_utils.decode_split_names(artifact.split_names or "[]") for artifact in artifacts)
        for uri in artifact_utils.get_split_uris(artifacts, split)
    ]


def _patterns(input_dict: Artifacts, splits: Iterable[str]) -> dict[str, list[str]]:
    """Patterns of the files of some splits, as TFX makes them."""
    return {
        split: [
            io_utils.all_files_pattern(uri) for uri in artifact_utils.get_split_uris(input_dict[keys.EXAMPLES], split)
        ]
        for split in splits
    }


def _checkpoint_dir(
    model_uri: str,
    input_dict: Artifacts,
    exec_properties: dict[str, Any],
    code_fingerprint: str,
    data_patterns: Iterable[str] = (),
) -> str | None:
    """`<node folder>/.checkpoints/<fingerprint>`: TFX gives each try new output folders, inside the same node's.

    Where these are gone with the machine, or in a bucket, CHECKPOINT_ROOT can name a folder that stays.
    """
    root = os.environ.get(CHECKPOINT_ROOT)
    model_uri = model_uri.removeprefix("file://")  # so a local path
    if "://" in model_uri and not root:
        return None
    said = {key: value for key, value in exec_properties.items() if key in _TRAINING_FOLLOWS_FROM}
    inputs = {key: [artifact.uri for artifact in artifacts] for key, artifacts in input_dict.items()}
    data = data_signature(file for pattern in data_patterns for file in matching_files(pattern))
    name = fingerprint({"inputs": inputs, "properties": said, "code": code_fingerprint, "data": data})
    node_folder = os.path.dirname(os.path.dirname(model_uri))  # above <output key>/<execution>
    return os.path.join(root or os.path.join(node_folder, ".checkpoints"), name)
