"""The executor of a Trainer node: from artifacts to a model, by way of the user's code."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from absl import logging
from tfx.dsl.components.base import base_executor
from tfx.types import Artifact

from polytrainer.proto import (
    artifacts,  # noqa: F401 - where MLMD alone knows a type, TFX finds its class among those that are imported
    keys,
)

Artifacts = dict[str, list[Artifact]]


class GenericExecutor(base_executor.BaseExecutor):  # type: ignore[misc]
    """Calls the user's `run_fn(fn_args)`, or trains the Estimator of a `trainer_fn(fn_args, schema)`.

    Works behind `polytrainer.Trainer`, and behind TFX's own Trainer as its `custom_executor_spec`.
    """

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Trains one model.

        Args:
            input_dict: Artifacts by the keys of `TrainerSpec.INPUTS`.
            output_dict: The `model` and `model_run` artifacts to write, and `test_results` where the spec has it; their
                properties are set.
            exec_properties: Values by the keys of `TrainerSpec.PARAMETERS`. With `cluster` the pods of a training job
                do all this, and this process waits for them.

        Raises:
            PreflightError: Before training, if anything is wrong with inputs, arguments or the user's code.
            TrainingError: After it, if no usable model was written.
        """
        if exec_properties.get(keys.CLUSTER):
            from polytrainer.executors.distributed.kubernetes import launch

            launch.run(self, input_dict, output_dict, exec_properties)
            return
        # a pipeline definition imports this class: what a run needs is imported when there is one
        from polytrainer.executors import fn_args as fn_args_lib
        from polytrainer.executors import preflight, publish, training, verify
        from polytrainer.executors.checkpoint_lock import locked
        from polytrainer.executors.checkpoints import remove_checkpoints
        from polytrainer.executors.distributed.ranks import is_chief
        from polytrainer.executors.provenance import Provenance
        from polytrainer.executors.report.node import write_node_report
        from polytrainer.executors.termination import Termination

        self._log_startup(input_dict, output_dict, exec_properties)
        with ExitStack() as stack:
            user_code = stack.enter_context(preflight.passed(input_dict, output_dict, exec_properties))
            code_fingerprint = user_code.location.fingerprint
            fn_args = fn_args_lib.resolve(input_dict, output_dict, exec_properties, code_fingerprint)
            stack.enter_context(locked(fn_args.checkpoint_dir if is_chief() else None))
            if exec_properties.get(keys.RESUME) == 0:
                remove_checkpoints(fn_args.checkpoint_dir)
            started = time.monotonic()
            result = training.train(user_code, fn_args)
            seconds = time.monotonic() - started
            # up to the end of what is published the checkpoint stays: whatever fails here is not trained again
            stack.enter_context(Termination.exits_at_once(result.steps))
            # of the processes of a multi-worker job only the chief has written a model
            models = verify.verify(fn_args) if is_chief() else []
            for key in (keys.MODEL, keys.MODEL_RUN):
                publish.describe(output_dict[key][0], result, user_code, models, seconds)
                Provenance.of_training(fn_args).write(output_dict[key][0])
            for artifact in output_dict.get(keys.TEST_RESULTS, []):
                publish.describe_test_results(artifact)
            if is_chief():
                artifacts = (input_dict, output_dict)
                write_node_report(fn_args, result, user_code, models, seconds, artifacts, self._context)
                remove_checkpoints(fn_args.checkpoint_dir)
        logging.info("Trained in %.1f s. Models: %s. ModelRun: %s", seconds, models, fn_args.model_run_dir)
