"""Forks a process for each training that it is told of, so that these need not import anything: run by `nursery`.

Reads a line of JSON for each: either the log, the environment, and the options of a training (and the `module` beside
this one whose `train` it calls, if it is not the one here), and answers with the number of its process; or a number of
a process to wait for, and answers with its exit status.
"""

import importlib
import json
import os
import sys
import time
import traceback

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from polytrainer.executors.backends import triton_beside_tensorflow

triton_beside_tensorflow.install()

import safetensors.torch  # noqa: F401, E402
import tensorflow  # noqa: F401, E402
import tensorflow_transform.tf_metadata.schema_utils  # noqa: F401, E402
import torch  # noqa: E402
import torch._dynamo  # noqa: E402
import torch.distributed  # noqa: E402
import torch.export  # noqa: E402
import torch.utils.tensorboard  # noqa: E402
import torchmetrics  # noqa: F401, E402
from torch import nn  # noqa: E402

from polytrainer import TorchTrainer  # noqa: E402
from polytrainer.executors.backends.torch.callbacks import Callback  # noqa: E402


class Network(nn.Module):
    def __init__(self, dropout, norm, buffers):
        super().__init__()
        if buffers:
            self.register_buffer("mask", torch.ones(3, 3, dtype=torch.bool).tril())
            self.register_buffer("transposed", torch.arange(6.0).view(2, 3).t())
            self.register_buffer("rounded", torch.ones(2, dtype=torch.bfloat16))
            self.register_buffer("empty", torch.ones(0))
        norms = [nn.BatchNorm1d(8)] if norm else []
        self.layers = nn.Sequential(nn.Linear(2, 8), *norms, nn.Dropout(dropout), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)


class Ema(Callback):
    """Keeps a moving average of the weights, and makes it the model in the end."""

    def __init__(self):
        self.average = {}

    def on_step_end(self, engine, loss):
        for name, weight in engine.model.state_dict().items():
            old = self.average.get(name, weight)
            self.average[name] = torch.where(torch.tensor(weight.is_floating_point()), 0.9 * old + 0.1 * weight, weight)

    def on_train_end(self, engine):
        engine.model.load_state_dict(self.average)


class Mine(TorchTrainer):
    slow = 0.0  # no argument, which a training would follow from
    fail_at = None
    ema = False
    buffers = False

    def callbacks(self):
        return [Ema()] if self.ema else []

    def model_fn(self):
        return Network(self.dropout, self.norm, self.buffers)

    def train_step(self, model, batch):
        time.sleep(self.slow)
        if self.fail_at is not None and self.engine.state.step == self.fail_at[1] and self.rank == self.fail_at[0]:
            raise ArithmeticError("this rank does not count any further")
        return super().train_step(model, batch)

    @property
    def rank(self):
        return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def train(
    slow=0.0,
    fail_at=None,
    ema=False,
    buffers=False,
    dropout=0.2,
    norm=True,
    learning_rate=None,
    arguments=None,
    **options,
):
    Mine.slow, Mine.fail_at, Mine.ema, Mine.buffers = slow, fail_at, ema, buffers
    arguments = {"scheduler": "cosine", "warmup_steps": 5, "learning_rate": learning_rate, **(arguments or {})}
    if isinstance(by_class := arguments.get("class_weights"), dict):  # whose keys are words in JSON
        arguments["class_weights"] = {int(label): weight for label, weight in by_class.items()}
    Mine("label", metrics=["accuracy", "auroc"], dropout=dropout, norm=norm, **arguments).fit(**options)


def run(train, log, env, module=None, **options):
    with open(log, "w") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(env)
    try:
        (importlib.import_module(module).train if module else train)(**options)
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()


def serve(train):
    """Answers lines until there are no more; `train` is what each child does with its options."""
    print("ready", flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        if "wait" in told:
            print(os.waitpid(told["wait"], 0)[1], flush=True)
            continue
        child = os.fork()
        if child == 0:
            os._exit(run(train, **told))
        print(child, flush=True)


if __name__ == "__main__":
    serve(train)
