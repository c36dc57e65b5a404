"""TorchTrainer with features of any name, some of which the model has no use for."""

from __future__ import annotations

import json

import pytest
from odd_names import ID, LABEL, UNREAD, check_served

pytestmark = pytest.mark.line

MODULE = """
    import torch
    from torch import nn
    from polytrainer import TorchTrainer

    class Network(nn.Module):
        def __init__(self, names):
            super().__init__()
            self.names, self.head = names, nn.Linear(len(names), 2)

        def forward(self, features):
            return self.head(torch.cat([features[name] for name in self.names], 1))

    class Mine(TorchTrainer):
        def model_fn(self):
            return Network(sorted(set(self.feature_spec) - {self.label_key, %(id)r, %(unread)r, %(unread)r + " z"}))

        def loss_fn(self, outputs, label):
            return nn.functional.cross_entropy(outputs, label.flatten())

    run_fn = Mine(%(label)r).run_fn
"""

LIGHTNING = """
    import lightning
    import torch
    from torch import nn
    from polytrainer import TorchTrainer

    class Network(lightning.LightningModule):
        def __init__(self, names):
            super().__init__()
            self.names, self.head = names, nn.Linear(len(names), 2)

        def forward(self, features):
            return self.head(torch.cat([features[name] for name in self.names], 1))

        def training_step(self, batch, batch_idx):
            features, label = batch
            return nn.functional.cross_entropy(self(features), label.flatten())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Mine(TorchTrainer):
        def model_fn(self):
            return Network(sorted(set(self.feature_spec) - {self.label_key, %(id)r, %(unread)r, %(unread)r + " z"}))

    run_fn = Mine(%(label)r).run_fn
"""


@pytest.mark.parametrize(("source", "transformed"), [(MODULE, True), (LIGHTNING, False)], ids=["torch", "lightning"])
def test_features_of_any_name_are_served_and_those_that_nothing_needs_not_asked_for(
    odd_node, module_file, source, transformed
):
    if source is LIGHTNING:
        pytest.importorskip("lightning")
    odd_node.use(transformed=transformed)
    label = f"{LABEL} xf" if transformed else LABEL
    if transformed:  # raw ones have words, which the other formats do not take
        pytest.importorskip("tf2onnx")
        odd_node.exec_properties["export_args"] = json.dumps({"formats": ["SAVED_MODEL", "ONNX", "TFLITE"]})
    odd_node.run(module_file=module_file(source % {"id": ID, "unread": UNREAD, "label": label}))
    check_served(odd_node, transformed=transformed, label=label)
