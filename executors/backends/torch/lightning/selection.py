"""By which metric the weights of a LightningModule that are published are chosen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

from absl import logging

from polytrainer.executors.monitors import VALIDATION, ModelSelection, Monitor
from polytrainer.proto.trainer_pb2 import TrainArgs


class LightningSelection(ModelSelection):
    """As TrainArgs have it; where they say nothing, as the user's own ModelCheckpoint does.

    Attributes:
        checkpoint: What the ModelCheckpoint monitors that chooses; None where TrainArgs do, or nothing.
    """

    checkpoint: str | None = None

    @classmethod
    def of(
        cls, train_args: TrainArgs, config: Mapping[str, Any], model: Any, package: ModuleType
    ) -> LightningSelection:
        """Of the first ModelCheckpoint with a `monitor`, among trainer_config's callbacks and then the module's.

        Args:
            train_args: Their `early_stopping` and `keep_checkpoints` go before it.
            config: Arguments of `lightning.Trainer`.
            model: The LightningModule; None: it is not evaluated, and nothing chooses.
            package: `lightning.pytorch`, or `pytorch_lightning`.
        """
        told = ModelSelection.from_args(train_args)
        found = cls(told.stopping, told.selecting, told.patience)
        if told.selecting is None and model is not None:
            for each in [*_listed(config.get("callbacks")), *_listed(model.configure_callbacks())]:
                if isinstance(each, package.callbacks.ModelCheckpoint) and each.monitor and each.save_top_k != 0:
                    metric = each.monitor.removeprefix(VALIDATION).removeprefix("val/")
                    found.selecting, found.checkpoint = Monitor(metric, each.mode), each.monitor
                    break
        return found

    def forget_if_unknown(self, names: Collection[str]) -> None:
        """Leaves the choice to nobody, with a warning, if an evaluation does not log what the ModelCheckpoint monitors.

        Args:
            names: Of the metrics of an evaluation, without `val_`.
        """
        if self.checkpoint and self.selecting is not None and self.selecting.metric not in names:
            logging.warning(
                "ModelCheckpoint(monitor=%r): validation_step logs only %s; the last weights are published.",
                self.checkpoint,
                sorted(names),
            )
            self.selecting = self.checkpoint = None


def _listed(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
