"""TorchBatches: every type of feature, every example once, an order that can be taken up anywhere."""

from __future__ import annotations

import itertools
import math
import pickle

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.newest

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make(split, **arguments):
    """Batches of a split. Decoded once for all tests: so many of them would take long."""
    from polytrainer.executors.data.torch_batches import TorchBatches

    cached = {"mode": "cached", "cache_dir": split.folder, "cache_mb": 0}
    return TorchBatches(split.files, split.spec, **{**cached, "batch_size": 4, **arguments})


def numbers(batches, steps=None):
    return [batch["n"].tolist() for batch in itertools.islice(batches, steps)]


def every_type():
    import tensorflow as tf

    return {
        "int": tf.io.FixedLenFeature([], tf.int64),
        "float": tf.io.FixedLenFeature([1], tf.float32),
        "matrix": tf.io.FixedLenFeature([2, 2], tf.float32),
        "filled": tf.io.FixedLenFeature([2], tf.int64, [7, 8]),
        "word": tf.io.FixedLenFeature([], tf.string),
        "words": tf.io.FixedLenFeature([2], tf.string, ["a", "bc"]),
        "varlen": tf.io.VarLenFeature(tf.int64),
        "varwords": tf.io.VarLenFeature(tf.string),
        "ragged": tf.io.RaggedFeature(tf.float32, value_key="pieces", partitions=[tf.io.RaggedFeature.RowLengths("l")]),
        "uniform": tf.io.RaggedFeature(tf.string, partitions=[tf.io.RaggedFeature.UniformRowLength(2)]),
        "sparse": tf.io.SparseFeature("at", "is", tf.float32, 9),
        "plane": tf.io.SparseFeature(["at", "of"], "is", tf.float32, [9, 9]),
    }


INTS, FLOATS, WORDS = st.integers(-(2**63), 2**63 - 1), st.floats(width=32), st.binary(max_size=5)


@st.composite
def rows_of_every_type(draw):
    lengths = draw(st.lists(st.integers(0, 3), max_size=3))
    at = draw(st.lists(st.integers(0, 8), max_size=3, unique=True))
    return {
        "int": [draw(INTS)],
        "float": [draw(FLOATS)],
        "matrix": draw(st.lists(FLOATS, min_size=4, max_size=4)),
        "filled": draw(st.one_of(st.just([]), st.lists(INTS, min_size=2, max_size=2))),
        "word": [draw(WORDS)],
        "words": draw(st.one_of(st.just([]), st.lists(WORDS, min_size=2, max_size=2))),
        "varlen": draw(st.lists(INTS, max_size=4)),
        "varwords": draw(st.lists(WORDS, max_size=4)),
        "l": lengths,
        "pieces": draw(st.lists(FLOATS, min_size=sum(lengths), max_size=sum(lengths))),
        "uniform": draw(st.sampled_from([[], [b"a", b"b"], [b"", b"x", b"yz", b""]])),
        "at": at,
        "of": at,
        "is": draw(st.lists(FLOATS, min_size=len(at), max_size=len(at))),
    }


@settings(relaxed, max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # to shrink takes minutes
@given(rows=st.lists(rows_of_every_type(), min_size=1, max_size=8), mode=st.sampled_from(["cached", "streaming"]))
def test_every_type_is_what_parse_example_makes_of_it(splits, tmp_path, rows, mode):
    from polytrainer.executors.data.torch_batches import TorchBatches

    files = [splits.write(tmp_path / "rows.gz", rows)]
    spec = every_type()
    got = {name: [] for name in spec}
    for batch in TorchBatches(files, spec, batch_size=3, mode=mode):
        for name, feature in spec.items():
            got[name] += splits.rows_of(batch[name], words=feature.dtype.name == "string")
        assert batch["filled_mask"].tolist() == [[bool(row["filled"])] * 2 for row in rows[: len(batch["int"])]]
        rows = rows[len(batch["int"]) :]
    wanted = splits.parsed(files, spec)
    assert repr(sorted(got.items())) == repr(sorted(wanted.items()))  # repr: nan is not nan


def test_the_features_come_in_the_order_of_the_spec_without_the_label(splits, tmp_path):
    import tensorflow as tf
    import torch

    from polytrainer.executors.data.torch_batches import TorchBatches

    spec = {
        "b": tf.io.FixedLenFeature([1], tf.float32),
        "y": tf.io.FixedLenFeature([], tf.int64),
        "a": tf.io.VarLenFeature(tf.int64),
        "c": tf.io.FixedLenFeature([], tf.int64, 5),
    }
    files = [splits.write(tmp_path / "rows", [{"b": [0.5], "y": [1], "a": [3]}, {"b": [1.5], "y": [2], "c": [6]}])]
    [(features, label)] = TorchBatches(files, spec, label_key="y", batch_size=2)
    assert [*features] == ["b", "a", "c", "c_mask"]
    assert (features["b"].dtype, features["b"].tolist()) == (torch.float32, [[0.5], [1.5]])
    assert (label.dtype, label.tolist()) == (torch.int64, [1, 2])
    assert features["a"].row_splits.tolist() == [0, 1, 1]
    assert (features["c"].tolist(), features["c_mask"].tolist()) == ([5, 6], [False, True])


@settings(relaxed, max_examples=40)
@given(
    batch_size=st.integers(1, 30),
    world_size=st.integers(1, 3),
    drop_last=st.booleans(),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_ranks_share_out_every_example_once(numbered, world_size, **arguments):
    import torch

    batch_size, drop_last, shuffle = (arguments[name] for name in ("batch_size", "drop_last", "shuffle"))
    whole = make(numbered, **arguments)
    ranks = [make(numbered, rank=rank, world_size=world_size, **arguments) for rank in range(world_size)]
    for _ in range(2):
        together = [numbers(rank) for rank in ranks]
        shares = [*zip(*together, strict=True)]
        batches = numbers(whole)
        assert [[*itertools.chain(*share)] for share in shares] == batches
        assert len(batches) == len(whole) == math.floor(23 / batch_size) + (not drop_last and 23 % batch_size > 0)
        for share, batch in zip(shares, batches, strict=True):
            split = torch.tensor(batch).tensor_split(world_size)
            assert [*share] == [part.tolist() for part in split]
        seen = [*itertools.chain(*batches)]
        assert len(set(seen)) == len(seen) == (23 - 23 % batch_size if drop_last else 23)
        assert shuffle or seen == [*range(len(seen))]


@settings(relaxed, max_examples=6)
@given(batch_size=st.integers(1, 30), world_size=st.integers(1, 3), drop_last=st.booleans(), shuffle=st.booleans())
def test_streaming_ranks_share_out_every_example_once(numbered, batch_size, world_size, drop_last, shuffle):
    arguments = {"mode": "streaming", "batch_size": batch_size, "drop_last": drop_last, "shuffle": shuffle, "seed": 5}
    batches = numbers(make(numbered, **arguments))
    together = [numbers(make(numbered, rank=rank, world_size=world_size, **arguments)) for rank in range(world_size)]
    assert [[*itertools.chain(*share)] for share in zip(*together, strict=True)] == batches
    seen = [*itertools.chain(*batches)]
    assert len(set(seen)) == len(seen) == (23 - 23 % batch_size if drop_last else 23)
    assert shuffle or seen == [*range(len(seen))]


@settings(relaxed, max_examples=40)
@given(
    batch_size=st.integers(1, 30), steps=st.integers(0, 40), seed=st.integers(0, 2**40), other_size=st.integers(1, 30)
)
def test_a_position_can_be_taken_up_anywhere(numbered, batch_size, steps, seed, other_size):
    whole = make(numbered, batch_size=batch_size, shuffle=True, seed=seed)
    epochs = itertools.chain.from_iterable(itertools.repeat(whole))
    seen = numbers(epochs, steps)
    state = whole.state_dict()
    resumed = make(numbered, batch_size=batch_size, shuffle=True)
    resumed.load_state_dict(state)
    assert numbers(resumed) == ([] if state["offset"] == 23 else numbers(whole))
    other = make(numbered, batch_size=other_size, shuffle=True)
    other.load_state_dict(state)
    this_epoch = [*itertools.chain(*seen)][state["epoch"] * 23 :]
    assert sorted([*this_epoch, *itertools.chain(*numbers(other))]) == [*range(23)]


@settings(relaxed, max_examples=5)
@given(batch_size=st.integers(1, 12), steps=st.integers(1, 20), shuffle=st.booleans())
def test_a_position_can_be_taken_up_anywhere_when_streaming(numbered, batch_size, steps, shuffle):
    arguments = {"mode": "streaming", "batch_size": batch_size, "shuffle": shuffle, "num_examples": 23}
    whole = make(numbered, seed=3, **arguments)
    seen = numbers(itertools.chain.from_iterable(itertools.repeat(whole)), steps)
    state = whole.state_dict()
    resumed = make(numbered, **arguments)
    resumed.load_state_dict(state)
    this_epoch = [*itertools.chain(*seen)][state["epoch"] * 23 :]
    assert sorted([*this_epoch, *itertools.chain(*numbers(resumed))]) == [*range(23)]


@pytest.mark.parametrize("mode", ["cached", "streaming"])
def test_epochs_and_seeds_differ_in_their_order_and_the_same_ones_agree(numbered, mode):
    def orders(seed):
        batches = make(numbered, mode=mode, shuffle=True, seed=seed, batch_size=23)
        return numbers(batches) + numbers(batches)

    first, second = orders(1)
    assert first != second
    assert orders(1) == [first, second]
    assert not any(order in orders(2) for order in (first, second))  # seed + epoch would make one of them agree


def test_the_order_is_the_same_whatever_tensorflows_global_seed_is(numbered):
    import tensorflow as tf
    from tensorflow.python.eager import context

    before = context.global_seed()
    try:
        orders = []
        for seed in (None, 1, 2):
            tf.random.set_seed(seed)
            orders.append(numbers(make(numbered, mode="streaming", shuffle=True)))
            assert context.global_seed() == seed
    finally:
        tf.random.set_seed(before)
    assert orders[0] == orders[1] == orders[2]


def test_the_position_says_what_the_consumer_has_received(numbered):
    batches = make(numbered, batch_size=10, seed=4)
    states, sizes = [], []
    for _ in batches:
        states.append(batches.state_dict())
        sizes.append(batches.global_size)
    assert states == [{"seed": 4, "epoch": 0, "offset": offset} for offset in (10, 20, 23)]
    assert sizes == [10, 10, 3]
    assert batches.state_dict() == {"seed": 4, "epoch": 1, "offset": 0}


def test_a_consumer_that_counts_its_steps_goes_on_with_the_next_epoch(numbered):
    batches = make(numbered, batch_size=10)
    for _ in range(2):
        assert numbers(batches, batches.steps_per_epoch) == [[*range(10)], [*range(10, 20)], [20, 21, 22]]


def test_a_position_at_the_end_of_an_epoch_has_nothing_left_of_it(numbered):
    batches = make(numbered, batch_size=10)
    batches.load_state_dict({"seed": 0, "epoch": 0, "offset": 23})
    assert numbers(batches) == []
    assert sum(map(len, numbers(batches))) == 23


def test_what_a_batch_is_changed_to_changes_no_later_batch(numbered):
    batches = make(numbered, cache_mb=10, cache_dir=None)
    for _ in range(2):
        first = next(iter(batches))["n"]
        assert first.tolist() == [0, 1, 2, 3]
        first += 100
        batches.load_state_dict({"seed": 0, "epoch": 0, "offset": 0})


def test_a_share_without_examples_has_the_shapes_of_others(splits, tmp_path):
    from polytrainer.executors.data.torch_batches import TorchBatches

    row = {"int": [1], "float": [0.5], "matrix": [0.0] * 4, "word": [b"w"], "varlen": [1, 2], "at": [3], "of": [4]}
    files = [splits.write(tmp_path / "one.gz", [{**row, "is": [0.5]}])]
    for mode in ("cached", "streaming"):
        for shuffle in (True, False):
            batches = TorchBatches(files, every_type(), batch_size=2, rank=1, world_size=2, mode=mode, shuffle=shuffle)
            [batch] = batches
            assert batches.global_size == 1
            assert (batch["matrix"].shape, batch["filled_mask"].shape) == ((0, 2, 2), (0, 2))
            assert not [name for name, value in batch.items() if splits.rows_of(value)]


def test_mapped_and_in_memory_are_the_same(splits, tmp_path):
    from polytrainer.executors.data.torch_batches import TorchBatches

    rows = [{"int": [k], "varlen": [k] * (k % 3), "varwords": [b"w" * k] * (k % 4)} for k in range(40)]
    files = [splits.write(tmp_path / "rows.gz", rows)]
    spec = {name: feature for name, feature in every_type().items() if name in rows[0]}

    def batches(**arguments):
        made = TorchBatches(files, spec, batch_size=7, shuffle=True, mode="cached", **arguments)
        return [[splits.rows_of(value) for value in batch.values()] for _ in range(2) for batch in made]

    in_memory = batches()
    assert batches(cache_mb=0) == in_memory
    assert batches(cache_mb=0, cache_dir=str(tmp_path / "cache")) == in_memory


def test_a_pickle_is_small_and_yields_the_same(numbered):
    from polytrainer.executors.data.torch_batches import TorchBatches

    batches = TorchBatches(numbered.files, numbered.spec, batch_size=4, shuffle=True, mode="cached")
    pickled = pickle.dumps(batches)
    assert len(pickled) < 5000
    assert numbers(pickle.loads(pickled)) == numbers(batches)


@pytest.mark.parametrize(("mode", "start"), [("cached", "fork"), ("cached", "spawn"), ("streaming", "spawn")])
def test_workers_of_a_dataloader_yield_each_batch_once(numbered, mode, start):
    from torch.utils.data import DataLoader

    batches = make(numbered, mode=mode, shuffle=True, cache_dir=None, cache_mb=10)
    batches.prepare()
    loader = DataLoader(batches, batch_size=None, num_workers=2, multiprocessing_context=start)
    got = numbers(loader)
    assert sorted(map(sorted, got)) == sorted(map(sorted, numbers(batches)))


def in_a_fork(function):
    """What a forked child returns, or raises, as text; None if it hangs."""
    import multiprocessing

    def tell(sender):
        try:
            sender.send(str(function()))
        except Exception as error:
            sender.send(repr(error))

    receiver, sender = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=tell, args=(sender,))
    child.start()
    answer = receiver.recv() if receiver.poll(20) else None
    child.kill()
    child.join()
    return answer


@pytest.mark.parametrize("mode", ["cached", "streaming"])
def test_a_fork_of_a_process_with_tensorflow_says_so_instead_of_hanging(numbered, mode):
    import tensorflow as tf

    tf.constant(1)
    batches = make(numbered, mode=mode, cache_dir=None)
    answer = in_a_fork(lambda: numbers(batches))
    assert "first use in a process forked from one in which TensorFlow is at work" in answer


def test_a_fork_reads_what_was_decoded_before(numbered):
    batches = make(numbered, cache_dir=None)
    batches.prepare()
    assert in_a_fork(lambda: numbers(batches)) == str(numbers(batches))


def test_the_range_of_a_label(splits, tmp_path, numbered):
    from polytrainer.executors.data.torch_batches import TorchBatches

    rows = [{"int": [k], "float": [1.0], "varlen": [k]} for k in (3, -5, 9)]
    spec = {name: feature for name, feature in every_type().items() if name in rows[0]}
    batches = TorchBatches([splits.write(tmp_path / "rows.gz", rows)], spec, batch_size=2, label_key="int")
    assert [batches.range_of(name) for name in ("int", "float", "varlen")] == [(-5, 9), None, None]
    assert make(numbered, mode="streaming").range_of("n") is None
    with pytest.raises(ValueError, match="name: got 'z'; expected a feature: float, int, varlen"):
        batches.range_of("z")


def test_preprocess_decides_what_a_batch_has(splits, tmp_path):
    import tensorflow as tf

    from polytrainer.executors.data import encoders
    from polytrainer.executors.data.torch_batches import TorchBatches

    def preprocess(features):
        return {
            "half": tf.cast(features["filled"], tf.float64) / 2,
            "small": features["filled"] > 7,
            "kept": features["varlen"],
            "ragged": tf.RaggedTensor.from_sparse(features["varlen"]),
            "sparse": tf.sparse.reset_shape(features["varlen"], [tf.shape(features["int"], tf.int64)[0], 9]),
            "tiny": tf.cast(features["int"], tf.bfloat16),
            "upper": tf.strings.upper(features["word"]),
        }

    rows = [{"int": [1], "word": [b"a"], "varlen": [4, 5]}, {"int": [2], "filled": [3, 4], "word": [b"b"]}]
    spec = {name: feature for name, feature in every_type().items() if name in ("int", "filled", "word", "varlen")}
    files = [splits.write(tmp_path / "rows.gz", rows)]
    encode = {"upper": encoders.Vocabulary(("A", "B"))}
    [batch] = TorchBatches(files, spec, batch_size=2, preprocess=preprocess, encoders=encode)
    assert {name: splits.rows_of(value) for name, value in batch.items() if name != "sparse"} == {
        "half": [[3.5, 4.0], [1.5, 2.0]],
        "small": [[False, True], [False, False]],
        "kept": [[4, 5], []],
        "ragged": [[4, 5], []],
        "tiny": [1.0, 2.0],
        "upper": [0, 1],
    }


def test_preprocess_must_leave_shapes_known(numbered):
    import tensorflow as tf

    def padded(features):
        return {"n": tf.RaggedTensor.from_row_lengths(features["n"], tf.ones_like(features["n"])).to_tensor()}

    with pytest.raises(
        ValueError, match=r"feature 'n': got a tensor of shape \(None, None\), of which not all is known"
    ):
        make(numbered, preprocess=padded).prepare()


def test_auto_streams_what_would_fill_the_disk(numbered, monkeypatch):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    batches = make(numbered, mode="auto", cache_dir=None)  # about 23 * 8 bytes
    assert batches.range_of("n") == (0, 22)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    assert make(numbered, mode="auto", cache_dir=None, cache_mb=1).range_of("n") == (0, 22)
    batches = make(numbered, mode="auto", cache_dir=None)
    assert batches.range_of("n") is None
    assert sum(map(len, numbers(batches))) == 23


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0; expected 1 or more"),
        ({"rank": 2, "world_size": 2}, "rank: got 2 of 2; expected a rank from 0 to world_size - 1"),
        ({"mode": "fast"}, "mode: got 'fast'; expected 'auto', 'cached' or 'streaming'"),
        ({"label_key": "y"}, "label_key: got 'y'; expected a feature: n"),
        ({"seed": -1}, "seed: got -1; expected 0 or more"),
        ({"num_examples": 0}, "num_examples: got 0; expected 1 or more"),
    ],
)
def test_arguments_that_do_not_fit(numbered, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(numbered, **arguments)


def test_a_path_alone_is_no_list_of_files(numbered):
    from polytrainer.executors.data.torch_batches import TorchBatches

    with pytest.raises(ValueError, match=r"files: got a.gz; expected a sequence of paths"):
        TorchBatches("a.gz", numbered.spec, batch_size=1)


def test_the_name_of_a_mask_must_be_free(numbered):
    import tensorflow as tf

    spec = {"n": tf.io.FixedLenFeature([], tf.int64, 0), "n_mask": tf.io.FixedLenFeature([], tf.int64)}
    numbered = type(numbered)(files=numbered.files, spec=spec, folder=numbered.folder)
    with pytest.raises(ValueError, match="feature 'n_mask': got a feature of this name, and a default for 'n'"):
        make(numbered)


@pytest.mark.parametrize(("mode", "number"), [("cached", 22), ("streaming", 22), ("streaming", 24), ("streaming", 40)])
def test_a_wrong_number_of_examples_is_an_error(numbered, mode, number):
    with pytest.raises(ValueError, match=f"num_examples: got {number}; expected 23, the number of examples"):
        numbers(make(numbered, mode=mode, num_examples=number, cache_dir=None))


@pytest.mark.parametrize(
    "state", [{"seed": 1, "epoch": 0}, {"seed": 1, "epoch": 0, "offset": -1}, {"epoch": 0, "offset": 1, "sed": 2}]
)
def test_a_state_that_is_none(numbered, state):
    with pytest.raises(ValueError, match=r"state: got .*; expected seed, epoch, offset, each 0 or more"):
        make(numbered).load_state_dict(state)


def test_a_state_of_a_larger_split(numbered):
    batches = make(numbered)
    batches.load_state_dict({"seed": 0, "epoch": 0, "offset": 24})
    with pytest.raises(ValueError, match=r"offset: got 24; expected at most 23 examples. Is it of another split?"):
        numbers(batches)
