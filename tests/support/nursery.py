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


class Network(nn.Module):
    def __init__(self, dropout, norm):
        super().__init__()
        norms = [nn.BatchNorm1d(8)] if norm else []
        self.layers = nn.Sequential(nn.Linear(2, 8), *norms, nn.Dropout(dropout), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)


class Mine(TorchTrainer):
    slow = 0.0  # no argument, which a training would follow from
    fail_at = None

    def model_fn(self):
        return Network(self.dropout, self.norm)

    def train_step(self, model, batch):
        time.sleep(self.slow)
        if self.fail_at is not None and self.engine.state.step == self.fail_at[1] and self.rank == self.fail_at[0]:
            raise ArithmeticError("this rank does not count any further")
        return super().train_step(model, batch)

    @property
    def rank(self):
        return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def train(slow=0.0, fail_at=None, dropout=0.2, norm=True, learning_rate=None, **options):
    Mine.slow, Mine.fail_at = slow, fail_at
    arguments = {"scheduler": "cosine", "warmup_steps": 5, "learning_rate": learning_rate}
    Mine("label", metrics=["accuracy", "auroc"], dropout=dropout, norm=norm, **arguments).fit(**options)


def run(log, env, module=None, **options):
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


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        if "wait" in told:
            print(os.waitpid(told["wait"], 0)[1], flush=True)
            continue
        child = os.fork()
        if child == 0:
            os._exit(run(**told))
        print(child, flush=True)
