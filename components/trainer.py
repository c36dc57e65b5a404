"""The component a pipeline author writes in place of `tfx.v1.components.Trainer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from absl import logging
from google.protobuf.message import Message
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.placeholder import placeholder
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ComponentSpec
from tfx.utils import json_utils

from polytrainer.components import notebook
from polytrainer.components.lineage import raw_examples_behind
from polytrainer.components.spec import TrainerSpec, with_extra_inputs, with_results_as_examples
from polytrainer.executors.generic_executor import GenericExecutor
from polytrainer.proto import args, keys
from polytrainer.proto import cluster as cluster_lib
from polytrainer.proto import export_args as export_args_lib
from polytrainer.proto.cluster import ClusterJob
from polytrainer.proto.problems import describe
from polytrainer.proto.resources import TrainerResources
from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs

Text: TypeAlias = str | RuntimeParameter
Args: TypeAlias = Message | Mapping[str, Any] | str | RuntimeParameter


class Trainer(base_component.BaseComponent):  # type: ignore[misc]
    """Trains a model with the user's own code: Keras, Estimator, PyTorch or anything else that Python runs.

    Takes every argument of TFX's Trainer from 1.15 to 1.21, by keyword, and gives its outputs and one more: swap the
    import and a pipeline goes on as before. The user's code is a `run_fn(fn_args)` or, as TFX up to 1.15 had it, a
    `trainer_fn(fn_args, schema)` that returns an Estimator.

    Outputs:
        model: `standard_artifacts.Model`, the serving model in `Format-Serving`, the eval model, where there is one, in
            `Format-TFMA`. Its custom properties say framework, version, user code hash, steps, seconds, metrics, the
            arguments of the trainer's constructor, tuned values and the base model.
        model_run: `standard_artifacts.ModelRun`, logs and whatever else the user's code leaves.
        test_results: `polytrainer.TestResults`, what the model says of each held-out example: a split for each of
            `EvalArgs.test_splits`, or of `EvalArgs.splits` without them; none where a plain `run_fn` wrote none. With
            `test_results_as_examples` it is `standard_artifacts.Examples`, which TFX's components read.

    Example:
        ```python
        trainer = polytrainer.Trainer(
            module_file="penguins.py",
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            schema=schema_gen.outputs["schema"],
            train_args=polytrainer.TrainArgs(num_epochs=20, batch_size=32),
        )
        ```

    A subclass may override `SPEC_CLASS` (further optional parameters, further outputs) and `EXECUTOR_SPEC`.
    """

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(GenericExecutor)

    def __init__(
        self,
        *,
        examples: BaseChannel | None = None,
        transformed_examples: BaseChannel | None = None,
        transform_graph: BaseChannel | None = None,
        schema: BaseChannel | None = None,
        statistics: BaseChannel | None = None,
        base_model: BaseChannel | None = None,
        hyperparameters: BaseChannel | None = None,
        module_file: Text | None = None,
        run_fn: Text | None = None,
        trainer_fn: Text | None = None,
        train_args: Args | None = None,
        eval_args: Args | None = None,
        export_args: Args | None = None,
        custom_config: dict[str, Any] | RuntimeParameter | None = None,
        extra_inputs: Mapping[str, BaseChannel] | None = None,
        raw_examples: BaseChannel | None = None,
        resume: bool = True,
        resources: TrainerResources | None = None,
        cluster: ClusterJob | None = None,
        test_results_as_examples: bool = False,
        custom_executor_spec: executor_spec.ExecutorSpec | None = None,
    ):
        """Describes the training node.

        Args:
            examples: Channel of `Examples`, raw or transformed. Required, unless `transformed_examples` is given.
            transformed_examples: Deprecated by TFX; use `examples`.
            transform_graph: Channel of `TransformGraph`, what Transform made of the examples.
            schema: Channel of `Schema`. Optional where a transform graph is given or the user's code needs none.
            statistics: Channel of `ExampleStatistics`; the user's code sees `fn_args.num_examples[split]`.
            base_model: Channel of `Model` to start from; the user's code sees its serving model's path as
                `fn_args.base_model`, or None while there is no such model yet.
            hyperparameters: Channel of `HyperParameters`, a Tuner's best; the user's code sees a dict.
            module_file: Path of a Python file with `run_fn(fn_args)`, or `trainer_fn(fn_args, schema)`, at its top
                level. TFX packages it together with its sibling `.py` files. Exactly one of `module_file`, `run_fn` and
                `trainer_fn` is given.
            run_fn: Dotted path of a `run_fn` in an installed package.
            trainer_fn: Dotted path of a `trainer_fn` in an installed package.
            train_args: `polytrainer.TrainArgs`, TFX's TrainArgs, a dict or JSON. Default: the split "train".
            eval_args: `polytrainer.EvalArgs`, TFX's EvalArgs, a dict or JSON. Default: the split "eval".
            export_args: `polytrainer.ExportArgs`, a dict or JSON: which formats the trainer classes write beside a
                SavedModel. A plain `run_fn` finds it as `fn_args.export_args`.
            custom_config: A dict of whatever JSON can hold, for the user's code.
            extra_inputs: Further channels of any type by name; the user's code sees their artifacts as
                `fn_args.extra_inputs[name]`.
            raw_examples: Channel of the raw `Examples` of which Transform made `examples`. The trainer classes call the
                served model on some of them before it is published, and compare. By default those that the Transform
                which made `transform_graph` has read, where it is a node of the same pipeline.
            resume: Go on where a run that died was, if inputs, code and arguments are the same (the trainer classes do
                so; a plain `run_fn` may, with `fn_args.checkpoint_dir`). False: start afresh.
            resources: What the node asks of the cluster that it runs on. `polytrainer.pipelines.kubeflow.compile` reads
                it; local runners do not.
            cluster: `polytrainer.TrainJob`, `PyTorchJob` or `TFJob`: the training runs in the pods of such a job of
                Kubernetes, and the node follows it.
            test_results_as_examples: Publish `test_results` as TFX's type Examples, so that TFX's Evaluator and
                StatisticsGen can read them. A Resolver of Examples in the same ML Metadata store then finds them, too:
                give its channel a `producer_component_id`.
            custom_executor_spec: Deprecated by TFX; override `EXECUTOR_SPEC` in a subclass.

        `module_file`, `run_fn`, `trainer_fn`, `train_args`, `eval_args`, `export_args` and `custom_config` may be
        RuntimeParameters, the last four of them with `ptype=str`, holding JSON.

        Raises:
            ValueError: If not exactly one of `module_file`, `run_fn` and `trainer_fn` is given; if not exactly one of
                `examples` and `transformed_examples` is given; if `transformed_examples` comes without
                `transform_graph`; if the args contradict themselves.
            TypeError: If the args or a channel are of another type.
        """
        _exactly_one_entry_point(module_file, run_fn, trainer_fn)
        _exactly_one_examples(examples, transformed_examples, transform_graph)
        if custom_executor_spec:
            logging.warning(
                "`custom_executor_spec` is deprecated. Override EXECUTOR_SPEC in a subclass of Trainer instead."
            )
        if transformed_examples:
            logging.warning("`transformed_examples` is deprecated. Please use `examples` instead.")

        spec_class = with_extra_inputs(self.SPEC_CLASS, extra_inputs or {})
        if test_results_as_examples:
            spec_class = with_results_as_examples(spec_class)
        train_args, eval_args, export_args = _checked_args(spec_class, train_args, eval_args, export_args)
        if not isinstance(custom_config, RuntimeParameter):
            custom_config = json_utils.dumps(custom_config)
        arguments = {
            keys.EXAMPLES: examples or transformed_examples,
            keys.RAW_EXAMPLES: raw_examples,
            keys.TRANSFORM_GRAPH: transform_graph,
            keys.SCHEMA: schema,
            keys.STATISTICS: statistics,
            keys.BASE_MODEL: base_model,
            keys.HYPERPARAMETERS: hyperparameters,
            keys.MODULE_FILE: module_file,
            keys.RUN_FN: run_fn,
            keys.TRAINER_FN: trainer_fn,
            keys.TRAIN_ARGS: train_args,
            keys.EVAL_ARGS: eval_args,
            keys.EXPORT_ARGS: export_args,
            keys.CUSTOM_CONFIG: custom_config,
            keys.RESUME: None if resume else 0,
            keys.CLUSTER: None if cluster is None else cluster_lib.dumps(cluster),
        }
        declared = {**spec_class.PARAMETERS, **spec_class.INPUTS}
        if raw_examples is None and keys.RAW_EXAMPLES in declared:
            arguments[keys.RAW_EXAMPLES] = raw_examples_behind(transform_graph)
        spec = spec_class(
            # a SPEC_CLASS that lacks an optional argument of ours (TFX's own has no trainer_fn from 1.16 on) is fine
            **{key: value for key, value in arguments.items() if key in declared or value is not None},
            **{keys.extra_input(name): channel for name, channel in (extra_inputs or {}).items()},
            **{key: Channel(type=parameter.type) for key, parameter in spec_class.OUTPUTS.items()},
        )
        super().__init__(spec=spec, custom_executor_spec=custom_executor_spec)
        self.resources = _checked_resources(resources)
        notebook.register_visualizations()

        from tfx.components.util import udf_utils  # brings all of tfx.components, TensorFlow included, with it

        if udf_utils.should_package_user_modules():
            udf_utils.add_user_module_dependency(self, keys.MODULE_FILE, keys.MODULE_PATH)


def _checked_resources(resources: Any) -> TrainerResources | None:
    if resources is not None and not isinstance(resources, TrainerResources):
        raise TypeError(f"resources: got {resources!r}; expected a polytrainer.TrainerResources.")
    return resources


def _exactly_one_entry_point(module_file: Any, run_fn: Any, trainer_fn: Any) -> None:
    named = {"module_file": module_file, "run_fn": run_fn, "trainer_fn": trainer_fn}
    given = [name for name, value in named.items() if value]
    if len(given) != 1:
        raise ValueError(
            "Exactly one of 'module_file', 'trainer_fn', or 'run_fn' must be supplied. Got "
            f"{' and '.join(given) or 'none of them'}."
        )


def _exactly_one_examples(examples: Any, transformed_examples: Any, transform_graph: Any) -> None:
    if bool(examples) == bool(transformed_examples):
        raise ValueError(
            "Exactly one of 'example' or 'transformed_example' must be supplied. Got "
            f"{'both' if examples else 'neither'}."
        )
    if transformed_examples and not transform_graph:
        raise ValueError("If 'transformed_examples' is supplied, 'transform_graph' must be supplied too.")


def _checked_args(
    spec_class: type[ComponentSpec], train_args: Any, eval_args: Any, export_args: Any
) -> tuple[Any, Any, Any]:
    """The args in the form the spec takes, after everything that can be checked without running has been."""
    problems = args.check(
        _readable(keys.TRAIN_ARGS, train_args, TrainArgs), _readable(keys.EVAL_ARGS, eval_args, EvalArgs)
    )
    problems += export_args_lib.check(_readable(keys.EXPORT_ARGS, export_args, ExportArgs))
    if problems:
        raise ValueError(describe(problems))
    return (
        _as_declared(spec_class, keys.TRAIN_ARGS, train_args),
        _as_declared(spec_class, keys.EVAL_ARGS, eval_args),
        None if export_args is None else _as_declared(spec_class, keys.EXPORT_ARGS, export_args),
    )


def _readable(name: str, value: Any, kind: type[args.Args]) -> args.Args:
    """What can be read of the args now: all but what a RuntimeParameter or a placeholder brings only later."""
    if isinstance(value, (RuntimeParameter, placeholder.Placeholder)):
        return kind()
    if isinstance(value, Mapping):
        value = {key: item for key, item in value.items() if not isinstance(item, RuntimeParameter)}
    try:
        return args.parse(value, kind)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _as_declared(spec_class: type[ComponentSpec], name: str, value: Any) -> Any:
    """Turns a proto into the one that the spec declares: TFX's TrainArgs into ours, or ours into that of a subclass."""
    declared = spec_class.PARAMETERS[name].type
    if value is None:
        return declared()
    if isinstance(value, Message) and not isinstance(value, declared):
        return declared.FromString(value.SerializeToString())
    return value
