"""What is reported of a LightningModule is of the weights that are published, whatever callbacks do to weights."""

from __future__ import annotations

import csv

import pytest
from results import read

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:`isinstance.treespec, LeafSpec"),
]
EXACT = {"abs": 1e-6}


@pytest.fixture
def exporting(lightning_kinds):
    """A trainer that exports the program and its weights."""
    from polytrainer import TorchTrainer

    return type("Exporting", (lightning_kinds[1],), {"save": TorchTrainer.save})


@pytest.fixture
def module(lightning_network):
    """A module that logs loss and accuracy; one with BatchNorm: `module(norm=True)`."""

    def make(norm=False, **methods):
        import torch
        from torch import nn
        from torch.nn import functional

        def init(self):
            super(self.__class__.__mro__[1], self).__init__()
            norms = [nn.BatchNorm1d(4)] if norm else []
            self.layers = nn.Sequential(nn.Linear(2, 4), *norms, nn.Tanh(), nn.Linear(4, 2))

        def evaluate(self, batch, prefix):
            features, label = batch
            logits, label = self(features["x"]), label.flatten()
            self.log(f"{prefix}_loss", functional.cross_entropy(logits, label))
            self.log(f"{prefix}_accuracy", (logits.argmax(1) == label).float().mean())

        def configure_optimizers(self):
            # a rate at which the loss rises again after the second evaluation: the best weights are not the last ones
            optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
            rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 if epoch < 2 else -0.2)
            return [optimizer], [rates]

        told = {
            "__init__": init,
            "validation_step": lambda self, batch, batch_idx: evaluate(self, batch, "val"),
            "test_step": lambda self, batch, batch_idx: evaluate(self, batch, "test"),
            "configure_optimizers": configure_optimizers,
        }
        return lightning_network(**{**told, **methods})

    return make


def callbacks_of(kind):
    from lightning.pytorch import callbacks

    return {
        "none": lambda: [],
        "ema": lambda: [callbacks.EMAWeightAveraging(decay=0.9)],
        "average": lambda: [callbacks.WeightAveraging()],
        "swa": lambda: [callbacks.StochasticWeightAveraging(swa_lrs=0.2, swa_epoch_start=2)],
    }[kind]()


def measured(rows):
    """Loss and accuracy of test results, which have a LightningModule's outputs as they are."""
    import torch

    rows = list(rows)
    return by_hand(torch.tensor([row["prediction"] for row in rows]), torch.tensor([row["label"][0] for row in rows]))


def by_hand(logits, label):
    from torch.nn import functional

    right = (logits.argmax(1) == label).double().mean()
    return {"loss": float(functional.cross_entropy(logits.double(), label)), "accuracy": float(right)}


def whole(batches):
    import torch

    batches = list(batches)
    return torch.cat([features["x"] for features, _ in batches]), torch.cat([label for _, label in batches]).flatten()


def assert_true_of_what_is_published(fit, trainer, network, small):
    """All metrics are those of the test results, of the program, and of the published weights in plain torch."""
    import torch
    from safetensors.torch import load_file

    stored = fit.output / "model" / "Format-Torch"
    plain = network()
    plain.load_state_dict(load_file(stored / "model.safetensors"))
    plain.eval()
    program = torch.export.load(stored / "model.pt2").module()
    metrics = trainer.result.metrics
    for prefix, files in (("", small.eval), ("test.", small.other)):
        x, label = whole(trainer.input_fn(trainer.files([files]), training=False))
        told = {name.removeprefix(f"{prefix}"): value for name, value in metrics.items() if prefix or "." not in name}
        told = {name.removeprefix("test."): value for name, value in told.items() if name.startswith(("l", "a"))}
        with torch.no_grad():
            assert told == pytest.approx(by_hand(plain(x), label), **EXACT)
            assert told == pytest.approx(by_hand(program({"x": x}), label), **EXACT)
        if prefix:
            results = measured(read(fit.output / "test_results" / "Split-test" / "*"))
            assert results == pytest.approx(told, **EXACT)


@pytest.mark.parametrize("eval_args", [{}, {"num_steps": 1}])
@pytest.mark.parametrize("selects", [{}, {"early_stopping": {"metric": "loss", "patience": 2}}])
@pytest.mark.parametrize("kind", ["none", "ema", "average", "swa"])
def test_every_metric_is_of_the_weights_that_are_published(
    kind, selects, eval_args, lightning_fit, exporting, module, small
):
    network = module()
    config = {"max_epochs": 5, "callbacks": callbacks_of(kind)}
    told = {"test_files": {"test": small.other}, "eval_args": eval_args, **selects}
    trainer = lightning_fit(network, config, kind=exporting, **told)
    assert_true_of_what_is_published(lightning_fit, trainer, network, small)
    state = trainer.engine.state
    if selects:
        best = min(row["val_loss"] for row in state.history)
        assert state.best == best
        if not eval_args:  # the published ones are the very weights that were the best in an evaluation
            assert trainer.result.metrics["loss"] == pytest.approx(best, **EXACT)
    elif not eval_args:
        assert trainer.result.metrics["loss"] == pytest.approx(state.history[-1]["val_loss"], **EXACT)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_with_batch_norm_too(kind, lightning_fit, exporting, module, small):
    network = module(norm=True)
    config = {"max_epochs": 4, "callbacks": callbacks_of(kind)}
    trainer = lightning_fit(network, config, kind=exporting, test_files={"test": small.other})
    assert_true_of_what_is_published(lightning_fit, trainer, network, small)
    assert trainer.result.steps == trainer.schedule.total_steps == 52  # SWA's epoch for the statistics has no steps


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_the_weights_that_are_kept_have_the_metrics_of_their_evaluation(kind, lightning_fit, module, small):
    import torch
    from safetensors.torch import load_file

    network = module()
    config = {"max_epochs": 5, "callbacks": callbacks_of(kind)}
    trainer = lightning_fit(network, config, keep_checkpoints={"best": 2, "last": 2, "metric": "loss"})
    x, label = whole(trainer.input_fn(trainer.files([small.eval]), training=False))
    kept = sorted((lightning_fit.output / "model_run" / "checkpoints").iterdir())
    assert len(kept) >= 2
    for path in kept:
        step = int(path.stem.removeprefix("step-"))
        plain = network()
        plain.load_state_dict(load_file(path))
        with torch.no_grad():
            loss = by_hand(plain.eval()(x), label)["loss"]
        assert trainer.engine.state.kept[step] == pytest.approx(loss, **EXACT)
        assert [row for row in trainer.engine.state.history if row["step"] == step][-1]["val_loss"] in (
            pytest.approx(loss, **EXACT),
            pytest.approx(trainer.engine.state.history[-1]["val_loss"]),
        )


def test_a_callback_of_ones_own_that_swaps_weights_does_not_change_what_is_measured(
    lightning_fit, exporting, module, small
):
    import lightning
    import torch

    class Noise(lightning.Callback):
        def on_validation_start(self, trainer, module):
            with torch.no_grad():
                module.layers[0].weight.add_(1.0)

        def on_validation_end(self, trainer, module):
            with torch.no_grad():
                module.layers[0].weight.sub_(1.0)

        on_test_start, on_test_end = on_validation_start, on_validation_end

    network = module()
    told = {"test_files": {"test": small.other}}
    trainer = lightning_fit(network, {"max_epochs": 2, "callbacks": [Noise()]}, kind=exporting, **told)
    assert_true_of_what_is_published(lightning_fit, trainer, network, small)


def test_a_limit_of_lightnings_is_of_evaluations_while_training(lightning_fit, exporting, module, small):
    network = module()
    config = {"max_epochs": 2, "limit_val_batches": 1, "limit_test_batches": 1}
    trainer = lightning_fit(network, config, kind=exporting, test_files={"test": small.other})
    assert_true_of_what_is_published(lightning_fit, trainer, network, small)
    with (lightning_fit.output / "model_run" / "logs" / "metrics.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    assert float(row["val_loss"]) != pytest.approx(trainer.result.metrics["loss"], rel=1e-3)


def test_nan_is_never_the_best_and_counts_as_no_improvement(lightning_fit, lightning_network, caplog):
    values = [0.5, float("nan"), 0.4, float("inf"), float("nan"), 0.3]

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking and self.trainer.state.fn == "fit":
            self.log("val_loss", values[self.current_epoch])

    trainer = lightning_fit(
        lightning_network(validation_step=validation_step),
        num_epochs=6,
        early_stopping={"patience": 2},
        keep_checkpoints={"best": 3},
    )
    state = trainer.engine.state
    assert (state.best, state.best_step, len(state.history)) == (pytest.approx(0.4), 39, 5)
    assert sorted(state.kept) == [13, 39]
    assert caplog.text.count("'loss' of an evaluation is nan") == 1
