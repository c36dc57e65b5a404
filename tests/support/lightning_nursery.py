"""Forks a process for each training of a LightningModule that it is told of: run by `lightning_nursery`."""

import os
import signal

import lightning
import nursery
import safetensors.torch
import torch
from lightning.pytorch import callbacks
from torch import nn

from polytrainer import TorchTrainer


def averaging(kind):
    """The callbacks of a kind of averaged weights."""
    if kind == "ema":
        return [callbacks.EMAWeightAveraging(decay=0.8)]
    return [callbacks.StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)] if kind == "swa" else []


class Network(lightning.LightningModule):
    def __init__(self, norm, synced, last_step):
        super().__init__()
        norms = [nn.BatchNorm1d(8)] if norm else []
        self.layers = nn.Sequential(nn.Linear(2, 8), *norms, nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 2))
        self.synced, self.last_step = synced, last_step

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, batch_idx):
        reach("step", self.global_step == 20 and self.trainer.state.fn == "fit")
        return nn.functional.cross_entropy(self(batch[0]["x"]), batch[1].flatten())

    def validation_step(self, batch, batch_idx):
        features, label = batch
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            reach("evaluation", self.global_step == 26 and batch_idx == 2)
            reach("last evaluation", self.global_step == self.last_step and batch_idx == 2)
        reach("final evaluation", self.trainer.state.fn == "validate" and batch_idx == 1)
        logits = self(features["x"])
        self.log("val_loss", nn.functional.cross_entropy(logits, label.flatten()), sync_dist=self.synced)
        self.log("val_accuracy", (logits.argmax(1) == label.flatten()).float().mean(), sync_dist=self.synced)

    def on_train_end(self):
        reach("end", True)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.3, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.2)
        watching = {"scheduler": scheduler, "monitor": "val_loss", "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": watching}


class Mine(TorchTrainer):
    def model_fn(self):
        return Network(self.norm, self.synced, self.schedule.total_steps)

    def test_fn(self, model):
        reach("test", True)
        return super().test_fn(model)

    def save(self, model=None):
        reach("export", True)
        safetensors.torch.save_file(model.state_dict(), f"{self.fn_args.model_run_dir}/weights.safetensors")


ends = None  # the phase that ends the training, and how


def reach(phase, is_there):
    if is_there and ends is not None and ends[0] == phase:
        print(f"reached the {phase}", flush=True)
        if ends[1] == "error":
            raise OSError("no room for the model")
        os.kill(os.getpid(), signal.Signals[ends[1]])


def train(dies=None, norm=True, average="", synced=False, config=None, **options):
    global ends  # noqa: PLW0603 -- a child's own
    ends = dies
    config = {"callbacks": averaging(average), "logger": False, **(config or {})}
    trainer = Mine("label", norm=norm, synced=synced, trainer_config=config)
    trainer.fit(**options)


if __name__ == "__main__":
    nursery.serve(train)
