"""What is wrong with a LightningModule is said with its remedy, not by a traceback of Lightning's."""

from __future__ import annotations

import pytest

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:`isinstance.treespec, LeafSpec"),
]


@pytest.mark.parametrize("returned", [lambda self: "adam", lambda self: [1, 2], lambda self: {"lr_scheduler": None}])
def test_what_is_no_optimizer_is_refused(returned, lightning_fit, lightning_network):
    with pytest.raises(ValueError, match=r"configure_optimizers: got .*expected an optimizer; a list of them; \(\["):
        lightning_fit(lightning_network(configure_optimizers=returned))


def test_a_module_without_a_training_step_is_refused(lightning_fit):
    import lightning
    from torch import nn

    class Empty(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x)

    with pytest.raises(ValueError, match=r"the LightningModule: got No `training_step\(\)` method defined"):
        lightning_fit(Empty)


def test_a_plateau_of_a_metric_that_nobody_logs_is_explained(lightning_fit, lightning_network):
    import torch

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_auc"}}

    match = r"configure_optimizers: got .*val_auc.*val_loss.*; expected a monitor that is logged"
    with pytest.raises(RuntimeError, match=match):
        lightning_fit(lightning_network(configure_optimizers=configure_optimizers))


@pytest.mark.parametrize("sanity_steps", [2, 0])
def test_a_validation_step_that_logs_nothing_cannot_be_monitored(sanity_steps, lightning_fit, lightning_network):
    network = lightning_network(validation_step=lambda self, batch, batch_idx: None)
    config = {"max_epochs": 1, "num_sanity_val_steps": sanity_steps}
    match = r"validation_step: got no metric, while early_stopping or keep_checkpoints .*self.log\('val_loss', …\)"
    with pytest.raises(ValueError, match=match):
        lightning_fit(network, config, early_stopping={})


def test_batches_of_three_for_a_step_of_two_are_explained(lightning_fit):
    match = r"training_step: got a batch of 3 parts .*; expected features, label, weight = batch.*class_weights"
    with pytest.raises(RuntimeError, match=match):
        lightning_fit(arguments={"class_weights": {1: 2.0}})


def test_a_batch_of_one_with_batch_norm_is_explained(lightning_fit, lightning_network):
    from torch import nn

    def init(self):
        super(self.__class__.__mro__[1], self).__init__()
        self.layers = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    network = lightning_network(__init__=init)
    with pytest.raises(RuntimeError, match=r"single value for BatchNorm.*drop_last=True"):
        lightning_fit(network, batch_size=17)  # 103 = 6 * 17 + 1
    assert lightning_fit(network, batch_size=17, drop_last=True).result.steps == 12


def test_a_loss_without_a_graph_is_explained(lightning_fit, lightning_network):
    network = lightning_network(training_step=lambda self, batch, batch_idx: self.loss(batch).detach())
    with pytest.raises(RuntimeError, match=r"the loss: got a loss that depends on no parameter"):
        lightning_fit(network)


class Died(Exception):  # noqa: N818 -- stands for the death of a process
    """Nothing is saved any more."""


@pytest.fixture
def edited(lightning_network, lightning_kinds):
    """A module of two linear layers that dies in its second epoch; edited: `edited(width=…, optimizer=…)`."""
    import torch
    from torch import nn

    def make(width=4, optimizer="SGD", dies=False, lazy=False):
        def init(self):
            super(self.__class__.__mro__[1], self).__init__()
            if not lazy:
                self.layers = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))

        def setup(self, stage):
            if not hasattr(self, "layers"):
                self.layers = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))

        def on_train_batch_end(self, outputs, batch, batch_idx):
            if dies and self.global_step == 20:
                raise Died

        def configure_optimizers(self):
            return getattr(torch.optim, optimizer)(self.parameters(), lr=0.1)

        methods = {"on_train_batch_end": on_train_batch_end, "configure_optimizers": configure_optimizers}
        return lightning_network(__init__=init, **methods, **({"setup": setup} if lazy else {}))

    return make


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        ({"width": 5}, r"the model: got .*layers.0.weight of shape \[4, 2\], which has \[5, 2\] now.*resume=False"),
        ({"width": 5, "lazy": True}, r"the model: got .*size mismatch for layers.0.weight.*resume=False"),
        ({"optimizer": "Adam"}, r"the optimizers: got Adam, but SGD in the checkpoint of step 13.*resume=False"),
    ],
)
def test_an_edited_module_is_not_resumed(edit, match, lightning_fit, edited):
    lazy = {"lazy": edit.get("lazy", False)}
    with pytest.raises(Died):
        lightning_fit(edited(dies=True, **lazy))
    with pytest.raises(ValueError, match=match):
        lightning_fit(edited(**edit))
    assert lightning_fit(edited(**edit), resume=False).result.steps == 26


def test_another_number_of_callbacks_is_not_resumed(lightning_fit, edited):
    from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor

    network = edited(dies=True)
    network.configure_callbacks = lambda self: [LearningRateMonitor()]
    with pytest.raises(Died):
        lightning_fit(network)
    network = edited()
    network.configure_callbacks = lambda self: [LearningRateMonitor(), EMAWeightAveraging()]
    match = r"the callbacks: got LearningRateMonitor, EMAWeightAveraging, but LearningRateMonitor in the checkpoint"
    with pytest.raises(ValueError, match=match):
        lightning_fit(network)


def test_callbacks_of_trainer_config_are_of_another_training(lightning_fit, edited):
    from lightning.pytorch.callbacks import LearningRateMonitor

    with pytest.raises(Died):
        lightning_fit(edited(dies=True), {"max_epochs": 2})
    trainer = lightning_fit(edited(), {"max_epochs": 2, "callbacks": [LearningRateMonitor()]})
    assert (trainer.engine.resumed_from, trainer.result.steps) == (None, 26)


def test_with_reset_optimizer_another_optimizer_goes_on(lightning_fit, edited):
    with pytest.raises(Died):
        lightning_fit(edited(dies=True), reset_optimizer=True)
    trainer = lightning_fit(edited(optimizer="Adam"), reset_optimizer=True)
    assert (trainer.engine.resumed_from, trainer.result.steps) == (13, 26)


def test_synchronized_batch_norm_is_refused_on_a_cpu(lightning_fit):
    import torch

    from polytrainer.executors.errors import PreflightError

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PreflightError, match=r"train_args.sync_batch_norm: got True on a CPU; expected GPUs"):
        lightning_fit(sync_batch_norm=True)
