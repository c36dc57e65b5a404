"""A LightningModule is trained as its author wrote it: each submodule in the mode that it was put in."""

from __future__ import annotations

import pytest

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:`isinstance.treespec, LeafSpec"),
    pytest.mark.filterwarnings("ignore:Found . module"),
]


@pytest.fixture
def with_norm(lightning_network):
    """A module with a BatchNorm, changed: `with_norm(change)`; it notes the modes of its layers at each step."""
    from torch import nn

    def make(change):
        def init(self):
            super(self.__class__.__mro__[1], self).__init__()
            self.layers = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.1), nn.Linear(4, 2))
            change(self)

        def training_step(self, batch, batch_idx):
            type(self).modes.append([each.training for each in self.layers])
            return self.loss(batch)

        return lightning_network(__init__=init, training_step=training_step, modes=[])

    return make


def test_a_frozen_batch_norm_stays_frozen_after_every_validation(lightning_fit, with_norm):
    def freeze(module):
        module.layers[1].eval().requires_grad_(False)

    network = with_norm(freeze)
    trainer = lightning_fit(network, eval_every_n_steps=5, num_steps=20)
    assert network.modes == [[True, False, True, True]] * 20
    assert int(trainer.model.layers[1].num_batches_tracked) == 0
    assert trainer.saved["layers.1.running_mean"].tolist() == [0.0] * 4


def test_one_that_arrives_in_evaluation_mode_is_put_into_training_mode(lightning_fit, with_norm):
    network = with_norm(lambda module: module.eval())
    trainer = lightning_fit(network, num_steps=20)
    assert network.modes == [[True] * 4] * 20
    assert int(trainer.model.layers[1].num_batches_tracked) == 20


def test_a_pretrained_model_inside_is_put_into_training_mode(lightning_fit, lightning_network):
    transformers = pytest.importorskip("transformers")
    import torch

    modes = []
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )

    def init(self):
        super(self.__class__.__mro__[1], self).__init__()
        self.bert = transformers.BertModel(config).eval()  # as from_pretrained leaves it
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.bert(input_ids=(x > 0).long()).pooler_output)

    def training_step(self, batch, batch_idx):
        modes.append({each.training for each in self.modules()})
        return self.loss(batch)

    lightning_fit(lightning_network(__init__=init, forward=forward, training_step=training_step), num_steps=3)
    assert modes == [{True}] * 3
