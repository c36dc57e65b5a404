"""How much a class counts while training."""

from __future__ import annotations

import numpy as np
import pytest
from results import read
from torch_fits import linear, same, schema_of, weights

pytestmark = pytest.mark.newest


@pytest.fixture
def data(written):
    """Examples of three classes, which are not as many, with the weight that "balanced" gives them as a feature."""
    from sklearn.utils.class_weight import compute_class_weight

    random = np.random.RandomState(4)
    label = np.repeat([0, 1, 2], [40, 15, 5])[random.permutation(60)]
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=label)
    rows = [
        {"x": x, "label": int(each), "w": float(balanced[each])}
        for x, each in zip((random.randn(60, 2) + label[:, None]).tolist(), label, strict=True)
    ]
    files = {"train_files": written(rows), "eval_files": written(rows, "eval")}
    return {**files, "schema": schema_of("x: 2 floats, label: 1 ints, w: 1 floats"), "balanced": balanced}


def learned(made, fit, data, **arguments):
    """The weights that are learned, and the metrics that are found."""
    trainer = made(model_fn=seeded, metrics=["accuracy"], optimizer="sgd", learning_rate=0.3, **arguments)
    told = {name: value for name, value in data.items() if name != "balanced"}
    metrics = fit(trainer, **told, num_epochs=2).metrics
    return weights(fit), metrics


def seeded(self):
    import torch

    torch.manual_seed(8)
    return linear(2, 3)(self)


def test_balanced_is_scikit_learns(made, fit, data):
    trainer = made(model_fn=seeded, class_weights="balanced", metrics=[])
    fit(trainer, **{name: value for name, value in data.items() if name != "balanced"})
    assert [trainer._weight_by_class[each] for each in range(3)] == pytest.approx(data["balanced"])


def test_also_of_batches_of_ones_own(made, fit, data):
    def input_fn(self, files, *, training, first_step=0):
        import torch

        rows = list(read(files[0]))
        x, label = torch.tensor([row["x"] for row in rows]), torch.tensor([row["label"] for row in rows])
        return [({"x": x[at : at + 7]}, label[at : at + 7]) for at in range(0, len(rows), 7)]

    trainer = made(model_fn=seeded, class_weights="balanced", metrics=[], input_fn=input_fn)
    fit(trainer, **{name: value for name, value in data.items() if name != "balanced"}, num_epochs=1)
    assert [trainer._weight_by_class[each] for each in range(3)] == pytest.approx(data["balanced"])


def test_weights_of_classes_teach_what_those_of_examples_teach(made, fit, data):
    by_class = dict(enumerate(data["balanced"].tolist()))
    found, metrics = learned(made, fit, data, class_weights="balanced")
    assert same(found, learned(made, fit, data, class_weights=by_class)[0], 1e-6)
    weighted, weighted_metrics = learned(made, fit, data, weight_key="w")
    assert same(found, weighted, 1e-6)
    assert not same(found, learned(made, fit, data)[0], 1e-3)
    # but evaluations count each example once: what a class is worth in training is no fact of the data
    rows = list(read(data["eval_files"]))
    x, label = np.array([row["x"] for row in rows]), np.array([row["label"][0] for row in rows])
    scores = x @ found["weight"].T + found["bias"]
    likely = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert metrics["accuracy"] == pytest.approx((scores.argmax(1) == label).mean(), abs=1e-6)
    assert metrics["loss"] == pytest.approx(-np.log(likely[np.arange(60), label]).mean(), abs=1e-6)
    assert abs(metrics["loss"] - weighted_metrics["loss"]) > 1e-3


def test_they_multiply_those_of_examples(made, fit, data):
    twice = {each: float(weight**2) for each, weight in enumerate(data["balanced"])}
    both, _ = learned(made, fit, data, weight_key="w", class_weights="balanced")
    assert same(both, learned(made, fit, data, class_weights=twice)[0], 1e-6)


def test_a_class_that_is_not_named_counts_1(made, fit, data):
    found, _ = learned(made, fit, data, class_weights={1: 5.0})
    assert same(found, learned(made, fit, data, class_weights={0: 1.0, 1: 5.0, 2: 1.0, 9: 3.0})[0], 1e-9)


def test_torchs_own_weights_teach_the_same_and_count_in_evaluations_too(made, fit, data):
    found, metrics = learned(made, fit, data, class_weights={0: 1.0, 1: 5.0, 2: 9.0})
    other, other_metrics = learned(made, fit, data, loss_options={"weight": [1.0, 5.0, 9.0]})
    assert same(found, other, 1e-6)
    assert metrics["accuracy"] == other_metrics["accuracy"]
    assert abs(metrics["loss"] - other_metrics["loss"]) > 1e-3


@pytest.mark.parametrize("ignored", [-100, 0])
def test_labels_that_are_ignored_are_of_no_class(made, fit, written, ignored):
    """Balanced weights are those of the labels that count."""
    from sklearn.utils.class_weight import compute_class_weight

    random = np.random.RandomState(6)
    label = random.choice([ignored, 1, 2], size=50, p=[0.5, 0.4, 0.1])
    rows = [{"x": x, "label": int(each)} for x, each in zip(random.randn(50, 2).tolist(), label, strict=True)]
    files = {"train_files": written(rows), "eval_files": written(rows, "eval")}
    options = {"loss_options": {"ignore_index": ignored}} if ignored == 0 else {}
    trainer = made(model_fn=seeded, class_weights="balanced", metrics=["accuracy"], **options)
    fit(trainer, **files, schema=schema_of("x: 2 floats, label: 1 ints"))
    expected = compute_class_weight("balanced", classes=np.array([1, 2]), y=label[label != ignored])
    assert trainer._weight_by_class == pytest.approx(dict(zip([1, 2], expected, strict=True)))


@pytest.mark.parametrize(
    ("weights_by_class", "message"),
    [
        ({0: -1.0}, r"class_weights: got {0: -1.0}; expected a number, 0 or more"),
        ({0: float("nan")}, r"class_weights: got {0: nan}; expected a number, 0 or more"),
        ({"a": 1.0}, r"class_weights: got {'a': 1.0}; expected a number, 0 or more, for the number of a class"),
        ("balance", r"class_weights: got 'balance'; expected a dict by the label's number, or 'balanced'"),
    ],
)
def test_what_are_no_weights_is_refused(made, fit, weights_by_class, message):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=message):
        fit(made(class_weights=weights_by_class))


@pytest.mark.parametrize(("loss", "kind"), [("multilabel", "ints"), ("cross_entropy", "floats"), ("mse", "floats")])
def test_labels_that_are_values_of_outputs_are_refused(made, fit, written, loss, kind):
    """Whose 0 and 1 are no classes."""
    from polytrainer.executors.errors import PreflightError

    label = [1.0, 0.0, 0.0] if kind == "floats" else [1, 0, 0]
    rows = [{"x": [0.0, 1.0], "label": label} for _ in range(8)]
    files = {"train_files": written(rows), "eval_files": written(rows, "eval")}
    message = r"class_weights: got a label \[8, 3\], with a value for each output; expected the number of a class"
    with pytest.raises(PreflightError, match=message):
        fit(
            made(model_fn=seeded, loss=loss, metrics=[], class_weights={1: 2.0}),
            **files,
            schema=schema_of(f"x: 2 floats, label: 3 {kind}"),
        )
