"""The executor of a Trainer node: from artifacts to a model, by way of the user's code."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import Any

from absl import logging
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
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
        from polytrainer.executors import preflight, publish, storage, training, verify
        from polytrainer.executors.checkpoint_lock import locked
        from polytrainer.executors.checkpoints import remove_checkpoints
        from polytrainer.executors.distributed import ranks
        from polytrainer.executors.provenance import Provenance
        from polytrainer.executors.report.node import write_node_report
        from polytrainer.executors.termination import Termination

        self._log_startup(input_dict, output_dict, exec_properties)
        with ExitStack() as stack:
            user_code = stack.enter_context(preflight.passed(input_dict, output_dict, exec_properties))
            code_fingerprint = user_code.location.fingerprint
            fn_args = fn_args_lib.resolve(input_dict, output_dict, exec_properties, code_fingerprint)
            places = _places(output_dict, fn_args.checkpoint_dir)
            storage.check_writable(places)
            stack.enter_context(storage.errors_explained(places))
            is_chief = self._is_chief(fn_args.train_args.strategy)
            stack.enter_context(locked(fn_args.checkpoint_dir if is_chief else None))
            if exec_properties.get(keys.RESUME) == 0:
                remove_checkpoints(fn_args.checkpoint_dir)
            started = time.monotonic()
            result = training.train(user_code, fn_args)
            seconds = time.monotonic() - started
            # up to the end of what is published the checkpoint stays: whatever fails here is not trained again
            stack.enter_context(Termination.exits_at_once(result.steps))
            # of the processes of a multi-worker job only the chief has to write a model
            is_chief = is_chief or (not ranks.in_job() and fileio.exists(fn_args.serving_model_dir))
            models = verify.verify(fn_args) if is_chief else []
            for key in (keys.MODEL, keys.MODEL_RUN):
                publish.describe(output_dict[key][0], result, user_code, models, seconds)
                Provenance.of_training(fn_args).write(output_dict[key][0])
            for artifact in output_dict.get(keys.TEST_RESULTS, []):
                publish.describe_test_results(artifact)
            if is_chief:
                artifacts = (input_dict, output_dict)
                write_node_report(fn_args, result, user_code, models, seconds, artifacts, self._context)
                remove_checkpoints(fn_args.checkpoint_dir)
        logging.info("Trained in %.1f s. Models: %s. ModelRun: %s", seconds, models, fn_args.model_run_dir)

    def _is_chief(self, strategy: str) -> bool:
        """Whether this process has to write a model.

        What a runner has started, it publishes: there a process is one of several only if its strategy, or a training
        job of ours, says so. Without a runner (`tfx.scripts.run_executor`, which gives no id) this may be a worker of
        somebody's cluster, whose variables count.
        """
        from polytrainer.executors.distributed import ranks

        if self._has_runner() or ranks.in_job() or strategy in (ranks.MULTI_WORKER, *ranks.RANKED):
            return ranks.is_chief(strategy)
        return ranks.is_chief_by_environment()

    def _has_runner(self) -> bool:
        try:
            return self._context is not None and bool(self._context.get_tmp_path())
        except RuntimeError:  # without an id there is no such path
            return False


def _places(output_dict: Artifacts, checkpoint_dir: str | None) -> dict[str, str | None]:
    """The folders that a run writes to."""
    outputs = {f"the output {key!r}": found[0].uri for key, found in output_dict.items() if found}
    return {**outputs, "the checkpoints": checkpoint_dir and os.path.dirname(checkpoint_dir)}
