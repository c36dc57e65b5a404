"""Examples that count differently: in the loss, the metrics, the test results; and the model knows nothing of it."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import comparison_in
from results import read
from torch_fits import linear, program, same, schema_of, state, weights


def weighted_rows(count, seed):
    """Examples of two classes; those whose first number is positive count more, some not at all."""
    random = np.random.RandomState(seed)
    for x in random.randn(count, 2).astype(np.float32).tolist():
        weight = float(np.float32(random.randint(0, 4) * (3.5 if x[0] > 0 else 0.5)))
        yield {"x": x, "label": int((sum(x) > 0) != (random.rand() < 0.2)), "w": weight}


SCHEMA = "x: 2 floats, label: 1 ints, w: 1 floats"


@pytest.fixture
def data(written):
    """Files of such examples and their schema, as `fit` takes them."""
    files = {"train_files": written(weighted_rows(60, 0)), "eval_files": written(weighted_rows(41, 1), "eval")}
    return {**files, "test_files": {"test": written(weighted_rows(30, 2), "test")}, "schema": schema_of(SCHEMA)}


def columns(files):
    rows = list(read(files))
    return np.array([row["x"] for row in rows]), np.array([row["label"][0] for row in rows]), rows


def network(stored, x):
    return np.tanh(x @ stored["1.weight"].T + stored["1.bias"]) @ stored["3.weight"].T + stored["3.bias"]


def by_scikit_learn(scores, label, weight):
    from sklearn import metrics

    likely = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    told = {"sample_weight": weight}
    return {
        "loss": np.average(-np.log(likely[np.arange(len(label)), label]), weights=weight),
        "accuracy": metrics.accuracy_score(label, scores.argmax(1), **told),
        "f1": metrics.f1_score(label, scores.argmax(1), average="macro", **told),
        "auroc": metrics.roc_auc_score(label, likely[:, 1], **told),
    }


METRICS = ["accuracy", "f1", "auroc"]


def test_loss_and_metrics_are_weighted_and_results_have_the_weight(made, fit, data):
    result = fit(made(weight_key="w", metrics=METRICS), **data, eval_args={"num_steps": 1, "batch_size": 9})
    for prefix, files in (("", data["eval_files"]), ("test.", data["test_files"]["test"])):
        x, label, rows = columns(files)
        weight = np.array([row["w"][0] for row in rows])
        expected = by_scikit_learn(network(weights(fit), x), label, weight)
        assert {name: result.metrics[prefix + name] for name in expected} == pytest.approx(expected, abs=1e-6)
    told = list(read(fit.output / "test_results" / "Split-test" / "*"))
    assert [row["example_weight"] for row in told] == [row["w"] for row in rows]
    assert result.metrics["test.accuracy"] == pytest.approx(
        np.average([row["predicted_class"] == row["label"] for row in told], weights=weight), abs=1e-6
    )


def test_the_step_is_that_of_the_weighted_mean(made, fit, data):
    import torch

    def model_fn(self):
        torch.manual_seed(3)
        return linear(2, 2)(self)

    options = {"optimizer": "sgd", "learning_rate": 0.5, "model_fn": model_fn, "weight_key": "w"}
    fit(made(**options), **data, batch_size=60, num_steps=1)
    x, label, rows = columns(data["train_files"])
    model = model_fn(None)
    losses = torch.nn.functional.cross_entropy(model(torch.tensor(x).float()), torch.tensor(label), reduction="none")
    weight = torch.tensor([row["w"][0] for row in rows])
    ((losses * weight).sum() / weight.sum()).backward()
    expected = {name: (value - 0.5 * value.grad).detach().numpy() for name, value in model.named_parameters()}
    assert same(weights(fit), expected, 1e-6)


def test_the_model_does_not_see_the_weight_nor_does_the_program(made, fit, data):
    import torch

    seen = set()

    def predict_fn(self, model, features):
        seen.update(features)
        return model(features)

    fit(made(weight_key="w", predict_fn=predict_fn), **data)
    assert seen == {"x"}
    assert program(fit)({"x": torch.zeros(3, 2)}).shape == (3, 2)


def test_a_saved_model_answers_examples_without_weight_and_label(made, fit, data):
    import tensorflow as tf

    fit(made(weight_key="w"), **data, export_args={"formats": ["SAVED_MODEL"]})
    loaded = tf.saved_model.load(str(fit.output / "model" / "Format-Serving"))
    x, _, rows = columns(data["eval_files"])
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.extend(rows[0]["x"])
    [answer] = loaded.signatures["serving_default"](tf.constant([example.SerializeToString()])).values()
    assert np.allclose(answer, network(weights(fit), x[:1]), atol=1e-5)
    assert list(loaded.signatures["predict"].structured_input_signature[1]) == ["x"]
    with_all = next(iter(tf.data.TFRecordDataset(tf.io.gfile.glob(data["eval_files"]), "GZIP")))
    assert np.allclose(next(iter(loaded.signatures["serving_default"](with_all[None]).values())), answer)
    made_of = loaded.signatures["transform_features"](with_all[None])
    assert made_of["w"].numpy().tolist() == [rows[0]["w"]]  # which TFX's Evaluator weighs by


def test_through_a_transform_graph_serving_needs_no_raw_weight(fit, transform, tmp_path):
    import tensorflow as tf
    from torch import nn

    from polytrainer import TorchTrainer

    class BySize(nn.Linear):
        def forward(self, size_xf):
            return super().forward(size_xf)

    class Mine(TorchTrainer):
        def model_fn(self):
            return BySize(1, 2)

    path = str(tmp_path / "transformed.gz")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for row in transform.transformed:
            writer.write(row)
    trainer = Mine("kind_xf", weight_key="color_xf", metrics=["accuracy"])
    files = {"train_files": path, "eval_files": path, "schema": None, "transform_graph": str(transform.graph)}
    fit(trainer, **files, export_args={"formats": ["SAVED_MODEL"]})
    told = list(read(fit.output / "test_results" / "Split-eval" / "*"))
    assert [row["example_weight"] for row in told] == [row["color_xf"] for row in told]
    loaded = tf.saved_model.load(str(fit.output / "model" / "Format-Serving"))
    serve = loaded.signatures["serving_default"]
    answers = [
        next(iter(serve(tf.constant([transform.serialized(row)])).values())).numpy()
        for row in ({"size": 3.0}, {"size": 3.0, "color": b"red", "kind": b"large"})
    ]
    assert np.array_equal(*answers)


@pytest.mark.parametrize("mode", ["cached", "streaming"])
@pytest.mark.parametrize(("weight", "shown"), [(-1.0, "-1"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_what_is_no_weight_is_refused(made, fit, data, written, weight, shown, mode):
    from polytrainer.executors.data.errors import DataError

    rows = [*weighted_rows(20, 3), {"x": [0.0, 0.0], "label": 0, "w": weight}]
    message = rf"weight_key: got the weight {shown}; expected a finite number, 0 or more"
    with pytest.raises(DataError, match=message):
        fit(made(weight_key="w"), **{**data, "train_files": written(rows, "wrong")}, data_mode=mode)


def test_and_where_the_data_are_cached_before_the_first_step(made, fit, data, written):
    from polytrainer.executors.data.errors import DataError

    def train_step(self, model, batch):
        raise AssertionError("a step was taken")

    rows = [*weighted_rows(20, 3), {"x": [0.0, 0.0], "label": 0, "w": -2.0}]
    with pytest.raises(DataError, match="the weight -2"):
        fit(made(weight_key="w", train_step=train_step), **{**data, "train_files": written(rows, "wrong")})


def test_a_missing_weight_may_have_a_default(made, fit, data, written):
    rows = list(weighted_rows(30, 4))
    for row in rows[::3]:
        row.pop("w")
    schema = schema_of(SCHEMA)
    files = {**data, "schema": schema, "eval_files": written(rows, "some_without")}
    trainer = made(weight_key="w", defaults={"w": 2.0}, metrics=METRICS)
    result = fit(trainer, **files)
    x, label, _ = columns(files["eval_files"])
    weight = [row.get("w", 2.0) for row in rows]
    expected = by_scikit_learn(network(weights(fit), x), label, weight)
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_a_key_that_is_no_feature_is_refused(made, fit, data):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=r"weight_key: got 'wight'; expected one of the features, \['w', 'x'\]"):
        fit(made(weight_key="wight"), **data)


# ---- hooks of one's own


def two_parameters(self, outputs, label):
    return outputs.sum() * 0


@pytest.mark.parametrize("own", [{"weight_key": "w"}, {"class_weights": {0: 2.0}}])
def test_a_loss_that_cannot_take_weights_is_refused_before_training(made, fit, data, own):
    from polytrainer.executors.errors import PreflightError

    message = r"loss_fn: got \w+ beside a loss_fn\(outputs, label\) without a weight; expected loss_fn\(self, outputs"
    with pytest.raises(PreflightError, match=message):
        fit(made(loss_fn=two_parameters, **own), **data)


def test_also_where_only_the_step_is_ones_own(made, fit, data):
    """The evaluation gives weights, too; those of classes it does not."""
    from polytrainer.executors.errors import PreflightError

    def train_step(self, model, batch):
        return model(batch[0]).sum()

    with pytest.raises(PreflightError, match="without a weight"):
        fit(made(loss_fn=two_parameters, train_step=train_step, weight_key="w"), **data)
    fit(made(loss_fn=two_parameters, train_step=train_step, class_weights={0: 2.0}), **data, num_steps=1)


def test_a_loss_of_ones_own_gets_them_by_name(made, fit, data):
    def loss_fn(self, outputs, label, weight):
        from torch.nn import functional

        return (functional.cross_entropy(outputs, label[:, 0], reduction="none") * weight).sum(), weight.sum()

    result = fit(made(weight_key="w", loss_fn=loss_fn, metrics=METRICS), **data)
    x, label, rows = columns(data["eval_files"])
    expected = by_scikit_learn(network(weights(fit), x), label, [row["w"][0] for row in rows])
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def own_input(wrong=None, in_evaluation=True):
    def input_fn(self, files, *, training, first_step=0):
        import torch

        x, label, rows = columns(files[0])
        weight = torch.tensor([row["w"][0] for row in rows])
        if wrong is not None:
            weight[7] = wrong
        parts = [{"x": torch.tensor(x).float()}, torch.tensor(label)] + ([weight] if training or in_evaluation else [])
        pick = lambda part, rows: {"x": part["x"][rows]} if isinstance(part, dict) else part[rows]  # noqa: E731
        return [tuple(pick(part, slice(i, i + 8)) for part in parts) for i in range(0, len(label), 8)]

    return input_fn


def test_batches_of_three_parts(made, fit, data):
    result = fit(made(input_fn=own_input(), metrics=METRICS), **data)
    x, label, rows = columns(data["eval_files"])
    expected = by_scikit_learn(network(weights(fit), x), label, [row["w"][0] for row in rows])
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    told = list(read(fit.output / "test_results" / "Split-test" / "*"))
    assert [row["example_weight"] for row in told] == [row["w"] for row in columns(data["test_files"]["test"])[2]]


def test_weights_while_training_only(made, fit, data):
    result = fit(made(input_fn=own_input(in_evaluation=False), metrics=METRICS), **data)
    x, label, _ = columns(data["eval_files"])
    expected = by_scikit_learn(network(weights(fit), x), label, None)
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_fn": own_input(-3.0)}, "the weight -3; expected a finite number, 0 or more"),
        ({"input_fn": own_input(in_evaluation=False), "loss_fn": two_parameters}, "loss_fn: got a batch with weights"),
    ],
)
def test_what_only_a_batch_shows_is_an_error_that_says_so(made, fit, data, options, message):
    from polytrainer.executors.data.errors import DataError
    from polytrainer.executors.errors import TrainingError

    with pytest.raises((TrainingError, DataError), match=message):
        fit(made(**options), **data)


# ---- what comes after


def test_a_comparison_weighs_by_them(made, fit, data, tmp_path):
    (tmp_path / "comparing").mkdir()
    comparing = comparison_in(tmp_path / "comparing")
    expected = {}
    for name, rate in (("one", 0.2), ("other", 0.0001)):
        fit.output = tmp_path / name
        expected[name] = fit(made(weight_key="w", learning_rate=rate), **data).metrics["test.accuracy"]
        comparing.give(
            name, [{"number": at, **row} for at, row in enumerate(read(fit.output / "test_results/Split-test/*"))]
        )
    found = comparing.run(
        task="MULTICLASS", metrics=["accuracy"], key_features=["number"], example_weight_key="example_weight"
    )
    for name, accuracy in expected.items():
        assert found["candidates"][name]["metrics"]["accuracy"]["trained"] == pytest.approx(accuracy, abs=1e-6)
    assert state(fit)["metrics"]["test.accuracy"] == expected["other"]
