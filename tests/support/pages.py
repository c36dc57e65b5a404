"""Trainings as they lie on disk when they have ended, for their pages: no framework has trained them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\"> $\\frac{ &amp;"
CURVES = "step,loss,accuracy,val_loss,val_accuracy\n10,1.0,0.4,1.1,0.3\n20,0.5,0.7,0.6,0.6\n30,0.3,0.8,0.7,0.5\n"


def row(label: Any, prediction: Any, predicted_class: Any = None, **features: Any) -> bytes:
    """A test result."""
    from polytrainer.executors.test_results.records import record

    told = {"label": label, "prediction": prediction, **features}
    return record({}, told if predicted_class is None else {**told, "predicted_class": predicted_class})


def classes(count: int, width: int, seed: int = 0, **features: Any) -> list[bytes]:
    """Rows of a classification that is right more often than not; one probability, where there are two classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, width, count)
    scores = random.random((count, width))
    scores[np.arange(count), labels] += 0.5
    scores /= scores.sum(axis=1, keepdims=True)
    if width == 2:
        return [
            row(int(label), np.float32([score[1]]), int(score[1] > 0.5), **features)
            for label, score in zip(labels, scores, strict=True)
        ]
    return [
        row(int(label), score.astype(np.float32), int(score.argmax()), **features)
        for label, score in zip(labels, scores, strict=True)
    ]


def values(count: int, width: int = 1, seed: int = 0) -> list[bytes]:
    """Rows of a regression."""
    random = np.random.default_rng(seed)
    true = random.normal(size=(count, width))
    said = true + random.normal(scale=0.3, size=true.shape)
    return [row(a.astype(np.float32), b.astype(np.float32)) for a, b in zip(true, said, strict=True)]


def ended(
    folder: Path, *, state: Any = None, csv: str | None = None, rows: dict[str, list[bytes]] | None = None, **told: Any
) -> Any:
    """A `Run`, and what it is about, in a folder."""
    from polytrainer.executors.report.run import Run
    from polytrainer.executors.result import TrainResult
    from polytrainer.executors.run_args import RunArgs
    from polytrainer.executors.test_results.shards import shard
    from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

    model_run = folder / "model_run"
    (model_run / "logs").mkdir(parents=True)
    if csv is not None:
        (model_run / "logs" / "metrics.csv").write_text(csv)
    if state is not None:
        text = state if isinstance(state, str) else json.dumps({"label_key": "label", **state})
        (model_run / "trainer_state.json").write_text(text)
    for split, records in (rows or {}).items():
        with shard(str(folder / "test_results"), split) as write:
            for each in records:
                write(each)
    args = RunArgs(
        train_files=[],
        eval_files=[],
        eval_split_files={},
        test_files={},
        train_args=TrainArgs(splits=["train"], num_steps=30),
        eval_args=EvalArgs(splits=["eval"], test_splits=["test"]),
        serving_model_dir=str(folder / "model" / "Format-Serving"),
        eval_model_dir=str(folder / "model" / "Format-TFMA"),
        model_run_dir=str(model_run),
        checkpoint_dir=None,
        test_results_dir=str(folder / "test_results"),
        custom_config=told.pop("custom_config", None),
    )
    result = TrainResult(told.pop("metrics", {}), steps=told.pop("steps", None), best_step=told.pop("best_step", None))
    return Run(args, result, seconds=12.5, framework=told.pop("framework", ("keras", "2.15.0")), **told)
