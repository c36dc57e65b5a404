"""What a LightningModule is trained and evaluated on: weights, parts, limits, and whatever input_fn returns."""

from __future__ import annotations

import random

import pytest

pytestmark = [
    pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:`isinstance.treespec, LeafSpec"),
]


class DiedError(Exception):
    """Stands for the death of a process: nothing is saved any more."""


@pytest.fixture
def dying(lightning_network):
    """A module with dropout that notes the labels of its batches, and dies after `dies_after` steps of a process."""
    from torch import nn

    def init(self):
        super(self.__class__.__mro__[1], self).__init__()
        self.layers = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.3), nn.Linear(4, 2))
        self.steps = 0

    def on_train_batch_end(self, outputs, batch, batch_idx):
        type(self).seen.append(batch[1].flatten().tolist())
        self.steps += 1
        if self.steps == self.dies_after:
            raise DiedError

    return lightning_network(__init__=init, on_train_batch_end=on_train_batch_end, dies_after=None, seen=[])


def same(one, other):
    import torch

    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def assert_goes_on(fit, network, dies_after, config=None, **options):
    """A training that died ends, started again, with the very weights of one that did not; returns the second one."""
    whole = fit(network, config, **options)
    seen, network.seen[:] = list(network.seen), []
    network.dies_after = dies_after
    with pytest.raises(DiedError):
        fit(network, config, **options)
    network.dies_after = None
    network.seen.clear()
    resumed = fit(network, config, **options)
    assert resumed.engine.resumed_from > 0
    assert network.seen == seen[-len(network.seen) :]
    assert same(resumed.saved, whole.saved)
    assert resumed.engine.state.history == whole.engine.state.history
    assert resumed.engine.state.examples == whole.engine.state.examples
    return resumed


# ---- evaluations


class Positioned:
    """Batches that go on where they were left, until they are told otherwise."""

    def __init__(self, batches):
        self._batches, self._next = list(batches), 0

    def __iter__(self):
        while self._next < len(self._batches):
            self._next += 1
            yield self._batches[self._next - 1]
        self._next = 0

    def state_dict(self):
        return {"next": self._next}

    def load_state_dict(self, state):
        self._next = state["next"]


@pytest.mark.parametrize("form", [iter, Positioned, list])
def test_an_evaluation_starts_at_the_first_example(form, lightning_fit, lightning_kinds, lightning_network):
    labels = []

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking:
            labels.append(batch[1].flatten().tolist())
        self.log("val_loss", self.loss(batch))

    class Own(lightning_kinds[1]):
        def input_fn(self, files, *, training, first_step=0):
            batches = super().input_fn(files, training=training)
            return batches if training else form(list(batches))

    network = lightning_network(validation_step=validation_step)
    trainer = lightning_fit(network, kind=Own, num_epochs=3, eval_args={"num_steps": 2})
    first, second = labels[:2]
    assert labels[:6] == [first, second] * 3
    assert labels[6:8] == [first, second]
    assert [len(each) for each in labels[6:]] == [8, 8, 8, 8, 8, 1]  # the last one is of all 41
    assert trainer.result.metrics["loss"] > 0


# ---- weights


def test_weights_reach_the_training_step_and_the_validation_step(lightning_fit, lightning_network, written):
    from torch.nn import functional

    seen = {"training": [], "validation": []}

    def mean(self, batch, name):
        features, label, weight = batch
        seen[name] += zip(label.flatten().tolist(), weight.tolist(), strict=True)
        losses = functional.cross_entropy(self(features["x"]), label.flatten(), reduction="none")
        return (losses * weight).mean()

    random_numbers = random.Random(0)
    rows = [
        {"x": [random_numbers.random(), random_numbers.random()], "label": number % 2, "w": number / 10}
        for number in range(22)
    ]
    files = written(rows)
    schema = _schema_with_weight(files)
    network = lightning_network(
        training_step=lambda self, batch, batch_idx: mean(self, batch, "training"),
        validation_step=lambda self, batch, batch_idx: self.log("val_loss", mean(self, batch, "validation")),
    )
    told = {"train_files": files, "eval_files": files, "schema": schema, "num_epochs": 1, "grad_accumulation": 2}
    trainer = lightning_fit(network, arguments={"weight_key": "w"}, **told)
    expected = [pytest.approx(each) for each in sorted((number % 2, number / 10) for number in range(22))]
    assert sorted(seen["training"]) == expected
    assert sorted(seen["validation"][-22:]) == expected
    assert trainer.result.steps == 3


def _schema_with_weight(files):
    from pathlib import Path

    lines = [
        f'feature {{ name: "{name}" type: {kind} presence {{ min_fraction: 1 min_count: 1 }} '
        f"shape {{ dim {{ size: {size} }} }} }}"
        for name, kind, size in (("x", "FLOAT", 2), ("label", "INT", 1), ("w", "FLOAT", 1))
    ]
    path = Path(files).parents[1] / "schema.pbtxt"
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize("class_weights", [{1: 3.0}, "balanced"])
def test_class_weights_are_the_third_part_of_training_batches_only(class_weights, lightning_fit, lightning_network):
    from torch.nn import functional

    seen = []

    def training_step(self, batch, batch_idx):
        features, label, weight = batch
        seen.extend(zip(label.flatten().tolist(), weight.tolist(), strict=True))
        return (functional.cross_entropy(self(features["x"]), label.flatten(), reduction="none") * weight).mean()

    network = lightning_network(training_step=training_step)
    lightning_fit(network, arguments={"class_weights": class_weights}, num_epochs=1)
    counts = [sum(label == number for label, _ in seen) for number in (0, 1)]
    assert sum(counts) == 103
    balanced = {number: 103 / (2 * count) for number, count in enumerate(counts)}
    expected = balanced if class_weights == "balanced" else {0: 1.0, 1: 3.0}
    assert all(weight == pytest.approx(expected[label]) for label, weight in seen)


# ---- parts and limits


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_of_a_last_batch_count_by_their_examples(parts, lightning_fit):
    whole = lightning_fit(num_steps=26)  # 12 batches of 8, and one of 7, twice
    cut = lightning_fit(num_steps=26, grad_accumulation=parts)
    for name, value in whole.saved.items():
        assert value.allclose(cut.saved[name], atol=1e-6)
    losses = [[row["loss"] for row in each.engine.state.history] for each in (whole, cut)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_scheduler_of_accumulation_counts_the_steps_that_are_taken(lightning_fit):
    from lightning.pytorch.callbacks import GradientAccumulationScheduler

    config = {"max_epochs": 2, "callbacks": [GradientAccumulationScheduler({0: 1, 1: 4})]}
    trainer = lightning_fit(config=config)
    assert trainer.result.steps == trainer.engine.lightning.global_step == 13 + 4
    assert trainer.engine.state.examples == 2 * 103


def test_an_incomplete_last_batch_is_left_out_resumed_too(lightning_fit, dying):
    told = {"drop_last": True, "num_epochs": 3, "checkpoint_every_n_steps": 5}
    trainer = assert_goes_on(lightning_fit, dying, 20, **told)
    assert (trainer.result.steps, trainer.engine.state.examples) == (36, 3 * 96)


@pytest.mark.parametrize("parts", [1, 2])
def test_an_epoch_has_no_more_steps_than_it_may(parts, lightning_fit, dying):
    told = {"max_steps_per_epoch": 4, "num_epochs": 3, "checkpoint_every_n_steps": 3, "grad_accumulation": parts}
    trainer = assert_goes_on(lightning_fit, dying, 7 * parts, **told)
    assert trainer.result.steps == trainer.schedule.total_steps == 12
    assert [row["step"] for row in trainer.engine.state.history] == [4, 8, 12]
    assert sum(map(len, dying.seen[-4 * parts :])) == 32


def test_a_limit_of_lightnings_and_another_of_ours_are_refused(lightning_fit):
    with pytest.raises(ValueError, match=r"trainer_config\['limit_train_batches'\].*max_steps_per_epoch=4"):
        lightning_fit(config={"limit_train_batches": 3}, max_steps_per_epoch=4, num_epochs=1)


# ---- a DataLoader that shuffles


@pytest.fixture
def loading(lightning_kinds):
    """A trainer whose input_fn returns a DataLoader that shuffles: `loading(**its arguments)`."""

    def make(make_arguments):
        from torch.utils.data import DataLoader

        class Loading(lightning_kinds[1]):
            def input_fn(self, files, *, training, first_step=0):
                batches = super().input_fn(files, training=False)
                if not training:
                    return batches
                rows = [
                    ({"x": x}, label)
                    for features, labels in batches
                    for x, label in zip(features["x"], labels, strict=True)
                ]
                return DataLoader(rows, batch_size=16, **make_arguments(rows))

        return Loading

    return make


class OwnOrder:
    """A sampler with random numbers that nobody can set."""

    def __init__(self, rows):
        self._rows = rows

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        numbers = list(range(len(self._rows)))
        random.SystemRandom().shuffle(numbers)
        return iter(numbers)


def seeded(rows):
    import torch

    return {"shuffle": True, "generator": torch.Generator().manual_seed(7)}


@pytest.mark.parametrize("arguments", [lambda rows: {"shuffle": True}, seeded])
@pytest.mark.parametrize(("dies_after", "every"), [(12, 3), (16, 7), (14, 0)])  # in an epoch, and at the end of one
def test_a_data_loader_that_shuffles_goes_on_with_the_rest_of_its_epoch(
    arguments, dies_after, every, lightning_fit, loading, dying
):
    told = {"num_epochs": 3, "batch_size": 16, "checkpoint_every_n_steps": every}
    assert_goes_on(lightning_fit, dying, dies_after, kind=loading(arguments), **told)


def test_an_order_that_cannot_be_had_again_is_refused(lightning_fit, loading, dying):
    told = {"num_epochs": 3, "batch_size": 16, "checkpoint_every_n_steps": 3}
    kind = loading(lambda rows: {"sampler": OwnOrder(rows)})
    dying.dies_after = 12
    with pytest.raises(DiedError):
        lightning_fit(dying, kind=kind, **told)
    dying.dies_after = None
    with pytest.raises(RuntimeError, match=r"input_fn: got other batches than before.*state_dict.*resume=False"):
        lightning_fit(dying, kind=kind, **told)
    assert lightning_fit(dying, kind=kind, resume=False, **told).result.steps == 21
