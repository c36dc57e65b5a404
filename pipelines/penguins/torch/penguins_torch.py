"""Penguins in PyTorch: a plain `run_fn(fn_args)` that writes a torch.export program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow_transform as tft
import torch
from tfx_bsl.public import tfxio
from torch import nn

from polytrainer.pipelines.penguins.features import CATEGORICAL, NUM_CLASSES, NUMERIC, TRANSFORMED_LABEL, transformed


class Model(nn.Module):
    """Measurements [batch, 4] float32 and words [batch, 2] int64 in, logits [batch, 3] float32 out."""

    def __init__(self, vocabularies: list[int]):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, 2) for size in vocabularies)
        self.layers = nn.Sequential(
            nn.Linear(len(NUMERIC) + 2 * len(vocabularies), 16), nn.ReLU(), nn.Linear(16, NUM_CLASSES)
        )

    def forward(self, numbers, words):
        """Logits, [batch, 3]."""
        embedded = [embedding(words[:, column]) for column, embedding in enumerate(self.embeddings)]
        return self.layers(torch.cat([numbers, *embedded], dim=1))


def run_fn(fn_args):
    """Trains, and saves the program with a dynamic batch."""
    train_args = fn_args.train_args
    torch.manual_seed(train_args.seed)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    train, held_out = (_tensors(fn_args, files, transform) for files in (fn_args.train_files, fn_args.eval_files))
    model = Model([transform.vocabulary_size_by_name(name) + 1 for name in CATEGORICAL])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    steps = 0
    for epoch in range(train_args.num_epochs):
        for rows in torch.randperm(len(train[-1])).split(train_args.batch_size):
            numbers, words, labels = (column[rows] for column in train)
            loss = nn.functional.cross_entropy(model(numbers, words), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
        if (epoch + 1) % 5 == 0:
            print(f"epoch {epoch + 1}/{train_args.num_epochs}: loss {loss.item():.4f}", flush=True)
    model.eval()
    metrics = _evaluate(model, *held_out)
    _save(model, held_out, Path(fn_args.serving_model_dir))

    from polytrainer import TrainResult

    return TrainResult(metrics, steps=steps, framework="pytorch")


def _tensors(fn_args, files, transform):
    """All of a split: measurements [n, 4] float32, words [n, 2] int64, labels [n] int64."""
    options = tfxio.TensorFlowDatasetOptions(batch_size=256, num_epochs=1, shuffle=False)
    dataset = fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema)
    batches = list(dataset.as_numpy_iterator())

    def columns(names):
        return torch.from_numpy(
            np.concatenate([np.concatenate([batch[transformed(name)] for name in names], axis=1) for batch in batches])
        )

    labels = np.concatenate([batch[TRANSFORMED_LABEL] for batch in batches])
    return columns(NUMERIC), columns(CATEGORICAL), torch.from_numpy(labels).flatten()


@torch.inference_mode()
def _evaluate(model, numbers, words, labels):
    logits = model(numbers, words)
    return {
        "accuracy": (logits.argmax(1) == labels).float().mean().item(),
        "loss": nn.functional.cross_entropy(logits, labels).item(),
    }


def _save(model, batch, folder):
    rows = {0: torch.export.Dim("batch", min=1)}
    example = tuple(column[:2] for column in batch[:2])
    folder.mkdir(parents=True, exist_ok=True)
    torch.export.save(torch.export.export(model, example, dynamic_shapes=(rows, rows)), folder / "model.pt2")
