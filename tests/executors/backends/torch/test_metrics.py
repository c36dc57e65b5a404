"""Metrics by name, over whole splits and several ranks, against counts by hand."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.newest

# 9 examples of 3 classes, in batches that are not even
LABELS = [0, 0, 0, 0, 0, 1, 1, 2, 2]
PREDICTED = [0, 0, 0, 0, 1, 1, 0, 0, 2]
BATCHES = [slice(0, 5), slice(5, 8), slice(8, 9)]

NUMBERS = [0.5, -1.0, 2.0, 3.5, 0.0, 1.5, -2.0, 4.0, 1.0]
TARGETS = [1.0, -1.5, 2.0, 3.0, 1.0, 1.0, -1.0, 5.0, 0.5]

BINARY = [0, 0, 1, 1, 0, 1, 0, 1, 1]
LOGITS = [-2.0, 0.5, 1.0, 3.0, -1.0, -0.5, -3.0, 2.0, 0.25]


@pytest.fixture
def metrics():
    from polytrainer.executors.backends.torch import metrics

    return metrics


def class_logits():
    """Whose largest is that of PREDICTED, with no two values the same."""
    import torch

    return torch.nn.functional.one_hot(torch.tensor(PREDICTED), 3) * 2.0 + torch.linspace(0, 1, 27).reshape(9, 3).sin()


def tensor(values):
    import torch

    return torch.tensor(values)


def over_batches(metrics, of, outputs, label):
    for batch in BATCHES:
        metrics.update(of, outputs[batch], label[batch])
    return metrics.compute(of)


def counts(cls):
    pairs = list(zip(PREDICTED, LABELS, strict=True))
    tp = sum(p == cls == y for p, y in pairs)
    return tp, sum(p == cls for p, _ in pairs), sum(y == cls for _, y in pairs)


def auroc(scores, positive):
    """The fraction of pairs of a positive and a negative that are in the right order."""
    pairs = [
        (a, b)
        for a, p in zip(scores, positive, strict=True)
        if p
        for b, q in zip(scores, positive, strict=True)
        if not q
    ]
    return statistics.mean((a > b) + (a == b) / 2 for a, b in pairs)


def average_precision(scores, positive):
    """The mean, over positives, of the precision among those with at least its score."""
    above = [
        [q for b, q in zip(scores, positive, strict=True) if b >= a] for a, p in zip(scores, positive, strict=True) if p
    ]
    return statistics.mean(sum(those) / len(those) for those in above)


def test_multiclass_by_hand(metrics):
    names = ["accuracy", "precision", "recall", "f1", "specificity", "auroc", "average_precision"]
    logits = class_logits()
    values = over_batches(metrics, metrics.make(names, task="multiclass", num_classes=3), logits, tensor(LABELS))
    by_class = [counts(cls) for cls in range(3)]
    probabilities = logits.double().softmax(1).T.tolist()
    one_vs_rest = [(row, [y == cls for y in LABELS]) for cls, row in enumerate(probabilities)]
    assert values == pytest.approx(
        {
            "accuracy": 6 / 9,
            "precision": statistics.mean(tp / predicted for tp, predicted, _ in by_class),
            "recall": statistics.mean(tp / actual for tp, _, actual in by_class),
            "f1": statistics.mean(2 * tp / (predicted + actual) for tp, predicted, actual in by_class),
            "specificity": statistics.mean(
                (9 - actual - predicted + tp) / (9 - actual) for tp, predicted, actual in by_class
            ),
            "auroc": statistics.mean(auroc(*case) for case in one_vs_rest),
            "average_precision": statistics.mean(average_precision(*case) for case in one_vs_rest),
        },
        abs=1e-6,
    )
    assert len({round(value, 6) for value in values.values()}) == len(names)  # micro averages would all be accuracy


def test_the_average_can_be_chosen_but_for_accuracy(metrics):
    def values(average):
        of = metrics.make(["accuracy", "recall", "f1"], task="multiclass", num_classes=3, average=average)
        return over_batches(metrics, of, class_logits(), tensor(LABELS)), metrics.compute_tables(of)

    micro, _ = values("micro")
    assert micro == pytest.approx(dict.fromkeys(micro, 6 / 9))
    weighted, _ = values("weighted")
    assert weighted["f1"] == pytest.approx(
        sum(actual / 9 * 2 * tp / (predicted + actual) for tp, predicted, actual in map(counts, range(3)))
    )
    single, tables = values("none")
    assert single == pytest.approx({"accuracy": 6 / 9})
    assert tables["recall"] == pytest.approx([4 / 5, 1 / 2, 1 / 2])


def test_agreement_beyond_chance(metrics):
    values = over_batches(
        metrics, metrics.make(["kappa", "mcc"], task="multiclass", num_classes=3), class_logits(), tensor(LABELS)
    )
    by_class = [counts(cls) for cls in range(3)]
    chance = sum(predicted * actual for _, predicted, actual in by_class)
    assert values["kappa"] == pytest.approx((6 / 9 - chance / 81) / (1 - chance / 81))
    spread = [81 - sum(count[i] ** 2 for count in by_class) for i in (1, 2)]
    assert values["mcc"] == pytest.approx((6 * 9 - chance) / math.sqrt(spread[0] * spread[1]))


def test_the_confusion_matrix_is_a_table(metrics):
    of = metrics.make(["accuracy", "confusion_matrix"], task="multiclass", num_classes=3)
    assert list(over_batches(metrics, of, class_logits(), tensor(LABELS))) == ["accuracy"]
    assert metrics.compute_tables(of) == {"confusion_matrix": [[4, 1, 0], [1, 1, 0], [1, 0, 1]]}


def test_accuracy_among_the_k_best(metrics):
    logits = class_logits()
    of = metrics.make(["accuracy_top1", "accuracy_top2"], task="multiclass", num_classes=3)
    second = sum(y in row.topk(2).indices for row, y in zip(logits, LABELS, strict=True)) / 9
    assert over_batches(metrics, of, logits, tensor(LABELS)) == pytest.approx(
        {"accuracy_top1": 6 / 9, "accuracy_top2": second}
    )
    assert second > 6 / 9
    with pytest.raises(ValueError, match="metric accuracy_top5: got 3 classes; expected at least 5"):
        metrics.make(["accuracy_top5"], task="multiclass", num_classes=3)


@pytest.mark.parametrize("label_shape", [(9,), (9, 1)])
@pytest.mark.parametrize("shape", [(9,), (9, 1)])
@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_binary_by_hand_from_a_single_logit(dtype, shape, label_shape, metrics):
    import torch

    of = metrics.make(["accuracy", "precision", "recall", "f1", "auroc", "average_precision"], task="binary")
    label = tensor(BINARY).to(getattr(torch, dtype)).reshape(label_shape)
    values = over_batches(metrics, of, tensor(LOGITS).reshape(shape), label)
    assert values == pytest.approx(
        {
            "accuracy": 7 / 9,
            "precision": 4 / 5,
            "recall": 4 / 5,
            "f1": 4 / 5,
            "auroc": auroc(LOGITS, BINARY),
            "average_precision": average_precision(LOGITS, BINARY),
        },
        abs=1e-6,
    )


def test_the_threshold_is_a_probability(metrics):
    of = metrics.make(["recall"], task="binary", threshold=0.9)
    assert over_batches(metrics, of, tensor(LOGITS), tensor(BINARY)) == {"recall": pytest.approx(1 / 5)}


def test_logits_within_a_batch_that_look_like_probabilities_are_logits_all_the_same(metrics):
    of = metrics.make(["accuracy"], task="binary")
    metrics.update(of, tensor([0.2, 0.3]), tensor([1, 1]))  # sigmoid: above one half
    assert metrics.compute(of) == {"accuracy": 1.0}


def test_large_logits_keep_their_order(metrics):
    of = metrics.make(["auroc"], task="binary")
    metrics.update(of, tensor([25.0, 20.0, 30.0, 18.0]), tensor([1, 0, 1, 0]))
    assert metrics.compute(of) == {"auroc": 1.0}


def test_multilabel_by_hand(metrics):
    logits, label = tensor([[1.0, -1.0], [2.0, 3.0], [-1.0, 2.0]]), tensor([[1, 0], [0, 1], [1.0, 1.0]])
    of = metrics.make(["accuracy", "recall", "f1"], task="multilabel", num_classes=2)
    metrics.update(of, logits, label)
    assert metrics.compute(of) == pytest.approx({"accuracy": 4 / 6, "recall": (1 / 2 + 1) / 2, "f1": (1 / 2 + 1) / 2})


@pytest.mark.parametrize("shape", [(9,), (9, 1)])
def test_regression_by_hand(shape, metrics):
    errors = [p - y for p, y in zip(NUMBERS, TARGETS, strict=True)]
    mse = statistics.mean(e * e for e in errors)
    spread = statistics.pvariance(TARGETS)
    deviations = [statistics.pstdev(of) for of in (NUMBERS, TARGETS)]
    covariance = statistics.mean(p * y for p, y in zip(NUMBERS, TARGETS, strict=True)) - statistics.mean(
        NUMBERS
    ) * statistics.mean(TARGETS)
    of = metrics.make(["mae", "mse", "rmse", "r2", "mape", "pearson", "spearman"])
    values = over_batches(metrics, of, tensor(NUMBERS).reshape(shape), tensor(TARGETS).reshape(9, 1))
    assert values.pop("spearman") == pytest.approx(ranks_correlation(), abs=1e-6)
    assert values == pytest.approx(
        {
            "mae": statistics.mean(map(abs, errors)),
            "mse": mse,
            "rmse": math.sqrt(mse),
            "r2": 1 - mse / spread,
            "mape": statistics.mean(abs(e / y) for e, y in zip(errors, TARGETS, strict=True)),
            "pearson": covariance / (deviations[0] * deviations[1]),
        },
        abs=1e-6,
    )


def ranks_correlation():
    def ranks(values):
        return [(sum(b < a for b in values) + sum(b <= a for b in values)) / 2 for a in values]

    p, y = ranks(NUMBERS), ranks(TARGETS)
    covariance = statistics.mean(a * b for a, b in zip(p, y, strict=True)) - statistics.mean(p) * statistics.mean(y)
    return covariance / (statistics.pstdev(p) * statistics.pstdev(y))


def test_sums_over_a_long_split_do_not_drown(metrics):
    import torch

    of = metrics.make(["mse"])
    metrics.update(of, torch.tensor([2.0**13]), torch.tensor([0.0]))
    for _ in range(100):
        metrics.update(of, torch.ones(1), torch.zeros(1))  # in float32, 2 ** 26 + 1 is 2 ** 26
    assert metrics.compute(of)["mse"] == (2**26 + 100) / 101


def test_several_numbers_an_example(metrics):
    of = metrics.make(["mae", "r2", "pearson"], task="regression", num_classes=2)
    outputs, label = tensor([[1.0, 5.0], [2.0, 6.0], [3.0, 9.0]]), tensor([[1.0, 2.0], [2.0, 4.0], [4.0, 6.0]])
    metrics.update(of, outputs, label)
    assert metrics.compute_tables(of)["mae"] == pytest.approx([1 / 3, 8 / 3])


@pytest.mark.parametrize(
    ("outputs", "label", "loss", "expected"),
    [
        ([[0.1, 0.2, 0.3]] * 2, [1, 2], None, ("multiclass", 3)),
        ([[0.1, 0.2, 0.3]] * 2, [[1], [2]], None, ("multiclass", 3)),
        ([[0.1, 0.2, 0.3]] * 2, [[1.0], [2.0]], None, ("multiclass", 3)),
        ([[0.1, 0.2, 0.3]] * 2, [[1, 0, 0], [0, 0, 1]], "cross_entropy", ("multiclass", 3)),
        ([[0.1, 0.2, 0.3]] * 2, [[1, 0, 1], [0, 0, 1]], None, ("multilabel", 3)),
        ([[0.1, 0.2, 0.3]] * 2, [[1.5, 0, 1], [0, 0, 1]], None, ("regression", 3)),
        ([[0.1, 0.2, 0.3]] * 2, [[1, 0, 1], [0, 0, 1]], "mse", ("regression", 3)),
        ([[0.1], [0.2]], [[1], [0]], None, ("binary", 2)),
        ([[0.1], [0.2]], [1.0, 0.0], None, ("binary", 2)),
        ([0.1, 0.2], [[1.0], [0.0]], "binary_cross_entropy", ("binary", 2)),
        ([0.1, 0.2], [[1.0], [0.0]], "mae", ("regression", 1)),
        ([[0.1], [0.2]], [3, 0], None, ("regression", 1)),
        ([[0.1], [0.2]], [0.5, 0.0], None, ("regression", 1)),
    ],
)
def test_the_task_shows_in_a_batch_and_in_the_loss(outputs, label, loss, expected, metrics):
    assert metrics.task_of(tensor(outputs), tensor(label), loss) == expected
    assert metrics.task_of({"logits": tensor(outputs)}, tensor(label), loss) == expected


def test_every_loss_says_what_the_task_is():
    from polytrainer.executors.backends.torch.losses import LOSSES
    from polytrainer.executors.backends.torch.tasks import TASK_OF_LOSS

    assert set(TASK_OF_LOSS) == set(LOSSES)


def test_a_batch_that_is_no_task(metrics):
    with pytest.raises(ValueError, match=r"the task: got outputs \[2, 3\] and a label \[4\]; expected"):
        metrics.task_of(tensor([[0.1, 0.2, 0.3]] * 2), tensor([1, 2, 1, 2]))


def test_a_label_for_each_position(metrics):
    of = metrics.make(["accuracy", "auroc"], task="multiclass", num_classes=3)
    logits = class_logits()
    flat = over_batches(metrics, metrics.make(list(of), task="multiclass", num_classes=3), logits, tensor(LABELS))
    metrics.update(of, logits.reshape(3, 3, 3).transpose(1, 2), tensor(LABELS).reshape(3, 3))
    assert metrics.compute(of) == pytest.approx(flat)


def test_one_hot_labels_are_classes(metrics):
    import torch

    of = metrics.make(["accuracy"], task="multiclass", num_classes=3)
    metrics.update(of, {"logits": class_logits()}, torch.nn.functional.one_hot(tensor(LABELS)))
    assert metrics.compute(of) == {"accuracy": pytest.approx(6 / 9)}


def test_labels_that_are_no_classes_are_refused(metrics):
    for label, shown in ([-1, 0], "-1"), ([3, 0], "3"), ([0.5, 0.0], "0.5"):
        of = metrics.make(["accuracy"], task="multiclass", num_classes=3)
        with pytest.raises(
            ValueError, match=f"metrics: got labels such as {shown}; expected whole numbers from 0 to 2"
        ):
            metrics.update(of, tensor([[0.1, 0.2, 0.3]] * 2), tensor(label))
    with pytest.raises(ValueError, match="expected whole numbers from 0 to 1"):
        metrics.update(metrics.make(["f1"], task="binary"), tensor([0.1]), tensor([2]))


def test_names_that_do_not_exist_or_lack_something(metrics):
    with pytest.raises(ValueError, match="metric for binary: got 'f2'; expected one of accuracy, auroc, "):
        metrics.make(["f2"], task="binary")
    with pytest.raises(ValueError, match="metric f1: got no task; expected a task, or a metric that needs none: mae, "):
        metrics.make(["mae", "f1"])
    with pytest.raises(ValueError, match="metric f1: got task multiclass without num_classes"):
        metrics.make(["f1"], task="multiclass")
    with pytest.raises(ValueError, match="metric for multilabel: got 'kappa'"):
        metrics.make(["kappa"], task="multilabel", num_classes=2)


def test_every_name_works_for_its_task(metrics):
    from polytrainer.executors.backends.torch.metrics import CLASSIFICATIONS

    inputs = {
        "binary": (tensor(LOGITS), tensor(BINARY)),
        "multiclass": (class_logits(), tensor(LABELS)),
        "multilabel": (class_logits(), tensor([[0, 1, 1], [1, 0, 1], [1, 1, 0]] * 3)),
    }
    for task, makers in CLASSIFICATIONS.items():
        of = metrics.make(makers, task=task, num_classes=3)
        metrics.update(of, *inputs[task])
        assert set(metrics.compute(of)) | set(metrics.compute_tables(of)) == set(makers)
        assert not any(metric.sync_on_compute for metric in of.values())


def test_metrics_of_ones_own_get_outputs_and_labels_as_they_are(metrics):
    import torch
    from torchmetrics import Metric

    class Range(Metric):
        def __init__(self):
            super().__init__()
            self.add_state("largest", torch.tensor(0.0), dist_reduce_fx="max")

        def update(self, preds, target):
            self.largest = torch.maximum(self.largest, preds.max())
            assert target.shape == preds.shape

        def compute(self):
            return {"largest": self.largest}

    own = {"range": Range(), **metrics.make(["mae"])}
    metrics.update(own, tensor([[3.0], [4.0]]), tensor([1, 2]))
    assert metrics.compute(own) == {"range_largest": 4.0, "mae": 2.0}


def test_a_torchmetrics_object_takes_labels_as_tfx_gives_them(metrics):
    from torchmetrics.classification import MulticlassAccuracy

    own = {"mine": MulticlassAccuracy(3, average="micro")}
    metrics.update(own, class_logits(), tensor(LABELS).reshape(9, 1))
    assert metrics.compute(own) == {"mine": pytest.approx(6 / 9)}


# ---- several ranks


def of_every_kind(metrics):
    """Metrics with states of every kind: sums, lists, means, maxima, and those put together by the metric itself."""
    import torch
    from torchmetrics import MaxMetric, Metric
    from torchmetrics.wrappers import MinMaxMetric

    class MeanOfBatches(Metric):
        def __init__(self):
            super().__init__()
            self.add_state("mean", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="mean")

        def update(self, preds, target):
            self.mean = self.mean + (preds.double().mean() - self.mean) / self.update_count

        def compute(self):
            return self.mean

    class Largest(MaxMetric):
        def update(self, preds, target):
            super().update(preds)

    binary = metrics.make(["accuracy", "auroc", "f1", "average_precision", "confusion_matrix"], task="binary")
    numbers = metrics.make(["mse", "r2", "pearson", "spearman"])
    wrapped = MinMaxMetric(metrics.make(["recall"], task="binary")["recall"])
    return binary, numbers, {"mean": MeanOfBatches(), "largest": Largest(), "wrapped": wrapped}


def seen(metrics, batches):
    binary, numbers, own = of_every_kind(metrics)
    for scores, positive in batches:
        metrics.update(binary, scores, positive)
        metrics.update(numbers, scores, positive * 2.0 - scores.sin())
        metrics.update({"wrapped": own["wrapped"]}, scores.sigmoid(), positive)
        metrics.update({"mean": own["mean"], "largest": own["largest"]}, scores, scores)
    return {**binary, **numbers, **own}


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(st.tuples(st.integers(-40, 40), st.booleans()), min_size=6, max_size=30),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    ranks=st.lists(st.integers(0, 3), min_size=8, max_size=8),
)
def test_any_partition_over_ranks_gives_what_one_gives(data, sizes, ranks):
    import pickle

    import torch

    from polytrainer.executors.backends.torch import metrics

    data = [(0, True), (1, False), (3, True), *data]  # both classes, numbers that differ
    scores = torch.tensor([score / 8 for score, _ in data])
    positive = torch.tensor([int(it) for _, it in data])
    sizes = [*sizes, len(data)]
    starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    batches = [(scores[a:b], positive[a:b]) for a, b in itertools.pairwise(starts) if a < len(data)]
    whole = seen(metrics, batches)
    parts = [seen(metrics, [b for i, b in enumerate(batches) if ranks[i % 8] == rank]) for rank in range(4)]
    others = [pickle.loads(pickle.dumps(metrics.states(part))) for part in parts[1:]]
    metrics.merge(parts[0], others)
    assert metrics.compute(parts[0]) == pytest.approx(metrics.compute(whole), abs=1e-6, nan_ok=True)
    assert metrics.compute_tables(parts[0]) == metrics.compute_tables(whole)


def test_a_rank_that_saw_nothing_does_not_count(metrics):
    batch = tensor(LOGITS), tensor(BINARY)
    alone, empty = seen(metrics, [batch]), seen(metrics, [])
    expected = metrics.compute(seen(metrics, [batch]))
    states = metrics.states(alone)
    metrics.merge(alone, [metrics.states(empty)] * 2)
    metrics.merge(empty, [states, metrics.states(seen(metrics, []))])
    assert metrics.compute(alone) == metrics.compute(empty) == expected
    assert expected["mean"] == pytest.approx(statistics.mean(LOGITS))
    assert {metric.update_count for metric in (empty["mse"], empty["pearson"], alone["auroc"])} == {1}


def test_a_state_that_is_zero_before_the_first_batch_does_not_count_either(metrics):
    import torch
    from torchmetrics import Metric

    class Shortest(Metric):
        def __init__(self):
            super().__init__()
            self.add_state("length", torch.tensor(0), dist_reduce_fx="min")

        def update(self, preds, target):
            self.length = torch.tensor(len(preds)) if self.update_count == 1 else self.length.clamp(max=len(preds))

        def compute(self):
            return self.length

    full, empty = {"shortest": Shortest()}, {"shortest": Shortest()}
    metrics.update(full, tensor(LOGITS), tensor(BINARY))
    metrics.merge(full, [metrics.states(empty)])
    assert metrics.compute(full) == {"shortest": 9}


def test_what_was_computed_before_a_merge_is_computed_again(metrics):
    of, other = (metrics.make(["mae"]) for _ in range(2))
    metrics.update(of, tensor([1.0]), tensor([2.0]))
    metrics.update(other, tensor([1.0]), tensor([4.0]))
    assert metrics.compute(of) == {"mae": 1}
    metrics.merge(of, [metrics.states(other)])
    assert metrics.compute(of) == {"mae": 2}


def test_merged_metrics_can_see_more(metrics):
    first, second = ((tensor(LOGITS[part]), tensor(BINARY[part])) for part in (slice(0, 5), slice(5, 9)))
    of, other = (metrics.make(["accuracy", "auroc", "mse"], task="binary") for _ in range(2))
    metrics.update(of, *first)
    metrics.update(other, *first)
    metrics.merge(of, [metrics.states(other)])
    metrics.update(of, *second)
    metrics.update(of, *second)
    once = metrics.make(["accuracy", "auroc", "mse"], task="binary")
    metrics.update(once, tensor(LOGITS), tensor(BINARY))
    assert metrics.compute(of) == pytest.approx(metrics.compute(once), abs=1e-6)
