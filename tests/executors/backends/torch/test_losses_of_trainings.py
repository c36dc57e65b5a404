"""A mean that is weighted is the same of all batches of an evaluation, of parts of a step, and of several ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from results import read
from torch_fits import linear, same, schema_of, weights
from trainings import all_well

pytestmark = pytest.mark.newest


def weighted_rows(count, seed):
    """Examples of two classes with a weight, of which some are 0."""
    random = np.random.RandomState(seed)
    for x in random.randn(count, 2).round(3).tolist():
        yield {"x": x, "label": int(sum(x) > 0), "w": float(random.randint(0, 4) * random.rand())}


@pytest.fixture
def weighted(written, tmp_path):
    """Arguments of a training whose examples have weights."""
    from google.protobuf import text_format

    schema = tmp_path / "schema.pbtxt"
    schema.write_text(text_format.MessageToString(schema_of("x: 2 floats, label: 1 ints, w: 1 floats")))
    files = {"train_files": written(weighted_rows(103, 0)), "eval_files": written(weighted_rows(41, 1), "eval")}
    return {**files, "schema": str(schema)}


@pytest.mark.parametrize("loss_options", [{}, {"weight": [1.0, 20.0]}, {"ignore_index": 0}, {"label_smoothing": 0.3}])
def test_the_loss_of_an_evaluation_does_not_depend_on_its_batches(made, fit, loss_options):
    trainer = made(loss_options=loss_options, metrics=[], save=lambda self, model=None: {})
    fit(trainer, num_epochs=1)
    files, found = trainer.files(trainer.fn_args.eval_files), []
    for size in (1, 5, 16, 41):
        trainer.fn_args.eval_args.batch_size = size
        found.append(trainer.evaluate(trainer.engine.model, files)["loss"])
    assert found == pytest.approx([found[-1]] * 4, rel=1e-6)


def test_nor_does_that_of_examples_with_weights(made, fit, weighted):
    trainer = made(weight_key="w", save=lambda self, model=None: {})
    fit(trainer, num_epochs=1, **weighted)
    files, found = trainer.files(trainer.fn_args.eval_files), []
    for size in (1, 5, 16, 41):
        trainer.fn_args.eval_args.batch_size = size
        found.append(trainer.evaluate(trainer.engine.model, files))
    for each in found:
        assert each == pytest.approx(found[-1], rel=1e-6)


def test_an_evaluation_in_which_nothing_counts_has_no_loss_and_goes_on(made, fit, small):
    """0 would be the best of all."""
    first = next(read(small.eval))["label"][0]
    trainer = made(loss_options={"ignore_index": first}, save=lambda self, model=None: {})
    keep = {"metric": "loss", "best": 1}
    result = fit(trainer, num_epochs=2, eval_args={"num_steps": 1, "batch_size": 1}, keep_checkpoints=keep)
    assert all(math.isnan(row["val_loss"]) for row in trainer.engine.state.history)
    assert trainer.engine.state.best is None
    assert math.isfinite(result.metrics["loss"])


def test_a_rank_without_an_example_of_a_batch_adds_its_weight_as_the_others_do(made, fit):
    """Of which the first examples of an evaluation, which have none, would not have told it."""
    import torch

    from polytrainer.executors.backends.torch.backend import Single
    from polytrainer.executors.backends.torch.micro_batches import MicroBatches
    from polytrainer.proto.trainer_pb2 import TrainArgs

    class OneOfTwo(Single):
        world_size, sums = 2, 0

        def sum(self, values):
            self.sums += 1
            return values

    def input_fn(self, files, *, training, first_step=0):
        some = {"x": torch.randn(4, 2)}, torch.randn(4, 1)
        return [(*some, torch.ones(4)) if training else some]

    trainer = made(input_fn=input_fn, loss="mse", metrics=[], model_fn=linear(2, 1), save=lambda self, model=None: {})
    fit(trainer, num_epochs=1)
    engine, backend = trainer.engine, OneOfTwo(TrainArgs())
    backend.world_size = 2
    [(features, label, weight)] = trainer.train_batches
    parts = MicroBatches(TrainArgs(), backend, 4)
    for rows in (2, 0):
        parts.compute(engine, ({"x": features["x"][:rows]}, label[:rows], weight[:rows]), rows + 1)
    assert backend.sums == 2


@pytest.mark.parametrize("parts", [{"micro_batch_size": 3}, {"grad_accumulation": 4}])
@pytest.mark.parametrize("arguments", [{"loss_options": {"weight": [1.0, 20.0]}}, {"class_weights": "balanced"}])
def test_a_training_in_parts_learns_what_the_whole_learns(made, fit, tmp_path, parts, arguments):
    found = []
    for number, options in enumerate(({}, parts)):
        fit.output = tmp_path / str(number)
        fit(made(optimizer="sgd", learning_rate=0.1, **arguments), num_epochs=1, **options)
        found.append(weights(fit))
    assert same(*found, 1e-6)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({"loss_options": {"weight": [1.0, 20.0]}}, {}),
        ({"loss_options": {"weight": [1.0, 20.0], "label_smoothing": 0.1}}, {"strategy": "fsdp"}),
        ({"loss_options": {"ignore_index": 0}}, {"micro_batch_size": 2}),
        ({"class_weights": {1: 20.0}}, {}),
        ({"class_weights": "balanced"}, {"grad_accumulation": 3}),
        ({"weight_key": "w"}, {}),
        ({"weight_key": "w", "class_weights": "balanced"}, {"strategy": "fsdp", "micro_batch_size": 1}),
    ],
)
def test_two_ranks_learn_what_one_learns(ranks, forked, weighted, tmp_path, arguments, options):
    from safetensors.numpy import load_file

    told = {"arguments": {"optimizer": "sgd", "learning_rate": 0.1, **arguments}, "num_epochs": 1}
    data = weighted if "weight_key" in arguments else {}
    alone = forked("alone", norm=False, dropout=0.0, **told, **data)
    all_well([*ranks(2, "together", **{"strategy": "ddp", **told, **data, **options}), alone])
    one, other = (load_file(tmp_path / name / "model/Format-Torch/model.safetensors") for name in ("alone", "together"))
    assert same(one, other, 1e-6)
