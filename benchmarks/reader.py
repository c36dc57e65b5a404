"""How fast TorchBatches reads, beside what else reads the same files: examples per second of CPU time.

python benchmarks/reader.py [--rows 15000] [--repeats 2]

CPU time is that of the whole process, with the threads of TensorFlow and torch: wall time would depend on what else the
machine does, and on how many cores it has. Each figure is the best of several runs, which take turns, so that a phase
in which the machine is busy hits all of them.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

FLOATS, INTS = 13, 26  # as in Criteo's click logs, with an integer label
BATCH, SMALL_BATCH = 1024, 32
COPIES = 20  # files are read so many times in a pass: writing them takes longer than reading
FEW = 10  # batches are enough where an example takes 100 µs
BUFFER = 10_000


class Contest(NamedTuple):
    """What is measured against one another; the first is what the others are compared with."""

    title: str
    entries: Mapping[str, Callable[[], int]]  # each returns how many examples it went through
    repeats: int


def main() -> None:
    """Writes the files, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=15_000, help=f"examples to write; read {COPIES} times")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each decoder, of which the best counts")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = [write(Path(folder) / "criteo.gz", arguments.rows)] * COPIES
        print(f"{arguments.rows * COPIES:,} examples of {FLOATS} floats, {INTS} integers and a label, gzip")
        for contest in (decoding(files, arguments.repeats), epochs(files), small_batches(files)):
            report(contest)


def decoding(files: Sequence[str], repeats: int) -> Contest:
    """One pass over the files."""
    spec = criteo_spec()

    def ours() -> int:
        batches = torch_batches(files, spec, mode="cached")
        batches.prepare()
        return batches.num_examples

    return Contest(
        f"decode all files once, batches of {BATCH}",
        {
            "tuned tf.data alone": lambda: drained(tuned(files, spec)),
            "TorchBatches, decoded and packed": ours,
            "TorchBatches, streaming": lambda: seen(streaming(files, spec)),
            "tuned tf.data, shuffle": lambda: drained(tuned(files, spec, shuffle=True)),
            "TorchBatches, streaming, shuffle": lambda: seen(streaming(files, spec, shuffle=True)),
            "tf.data as TFX's data_accessor": lambda: drained(as_tfx(files, spec)),
        },
        repeats,
    )


def epochs(files: Sequence[str]) -> Contest:
    """Later epochs, shuffled: the data are decoded already."""
    spec = criteo_spec()
    cached = torch_batches(files, spec, mode="cached", shuffle=True)
    mapped = torch_batches(files, spec, mode="cached", shuffle=True, cache_mb=0)
    [(features, label)] = torch_batches(files, spec, mode="cached", batch_size=cached.num_examples)
    return Contest(
        f"a shuffled epoch of decoded examples, batches of {BATCH}",
        {
            "DataLoader over a TensorDataset": lambda: seen(islice(loader([*features.values(), label], BATCH), FEW)),
            "the same by BatchSampler": lambda: seen(loader([*features.values(), label], BATCH, by_batch=True)),
            "TorchBatches, in memory": lambda: seen(cached),
            "TorchBatches, memory-mapped": lambda: seen(mapped),
        },
        3,
    )


def small_batches(files: Sequence[str]) -> Contest:
    """Tiny models: what a batch costs, whatever is in it."""
    import torch

    spec = {
        name: feature for name, feature in criteo_spec().items() if name in ("f0", "f1", "f2", "f3", "f4", "f5", "y")
    }
    cached = torch_batches(files[:1], spec, mode="cached", shuffle=True, batch_size=SMALL_BATCH)
    [(features, label)] = torch_batches(files[:1], spec, mode="cached", batch_size=cached.num_examples)
    tensors = [torch.stack([*features.values()], 1), label]
    return Contest(
        f"a shuffled epoch of 6 decoded features, batches of {SMALL_BATCH}",
        {
            "DataLoader over a TensorDataset of 1 matrix": lambda: seen(loader(tensors, SMALL_BATCH)),
            "the same by BatchSampler": lambda: seen(loader(tensors, SMALL_BATCH, by_batch=True)),
            "TorchBatches": lambda: seen(cached),
        },
        5,
    )


def report(contest: Contest) -> None:
    """Runs the entries in turn and prints the best of each."""
    best = dict.fromkeys(contest.entries, 0.0)
    for _ in range(contest.repeats):
        for name, run in contest.entries.items():
            start = time.process_time()
            count = run()
            best[name] = max(best[name], count / (time.process_time() - start))
    first = next(iter(best.values()))
    print(f"\n{contest.title:50}  1000 examples/CPU s    ratio")
    for name, rate in best.items():
        print(f"  {name:48}  {rate / 1000:19,.0f}  {rate / first:7.2f}")


def torch_batches(files: Sequence[str], spec: Mapping[str, Any], **arguments: Any) -> Any:
    """Ours."""
    from polytrainer.executors.data.torch_batches import TorchBatches

    return TorchBatches(files, dict(spec), **{"label_key": "y", "batch_size": BATCH, **arguments})


def streaming(files: Sequence[str], spec: Mapping[str, Any], *, shuffle: bool = False) -> Any:
    """Ours, of files whose examples were counted before."""
    return torch_batches(files, spec, mode="streaming", num_examples=known(files), shuffle=shuffle)


def tuned(files: Sequence[str], spec: Mapping[str, Any], *, shuffle: bool = False) -> Iterable[Any]:
    """The fastest that tf.data alone was seen to be."""
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    records = tf.data.TFRecordDataset(files, "GZIP")
    if shuffle:
        records = records.shuffle(BUFFER, seed=1)
    parsed = records.batch(BATCH).map(lambda batch: tf.io.parse_example(batch, spec), num_parallel_calls=2)
    return parsed.prefetch(2).with_options(options)


def as_tfx(files: Sequence[str], spec: Mapping[str, Any]) -> Iterable[Any]:
    """What `DataAccessor.tf_dataset_factory` makes (tfx_bsl/tfxio/dataset_util.py, tf_example_record.py)."""
    import tensorflow as tf

    paths = tf.data.Dataset.from_tensor_slices(list(files))
    records = paths.interleave(lambda file: tf.data.TFRecordDataset(file, "GZIP"), num_parallel_calls=tf.data.AUTOTUNE)
    parsed = records.batch(BATCH).apply(tf.data.experimental.parse_example_dataset(spec))
    return parsed.prefetch(tf.data.AUTOTUNE)


def loader(tensors: Sequence[Any], batch_size: int, *, by_batch: bool = False) -> Any:
    """A shuffling DataLoader: example by example as it is by default, or a batch at a time."""
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

    dataset = TensorDataset(*tensors)
    if not by_batch:
        return DataLoader(dataset, batch_size, shuffle=True)
    return DataLoader(dataset, sampler=BatchSampler(RandomSampler(dataset), batch_size, False), batch_size=None)


def drained(dataset: Iterable[Any]) -> int:
    """Goes through a dataset of tf.data and counts."""
    return sum(batch["y"].shape[0] for batch in dataset)


def seen(batches: Iterable[Any]) -> int:
    """Goes through batches and counts."""
    return sum(len(batch[-1]) for batch in batches)


def known(files: Sequence[str]) -> int:
    """The number of examples, without counting them again in what is measured."""
    return int(Path(files[0]).with_suffix(".rows").read_text()) * len(files)


def criteo_spec() -> dict[str, Any]:
    """Of what `write` writes."""
    import tensorflow as tf

    floats = {f"f{number}": tf.io.FixedLenFeature([], tf.float32) for number in range(FLOATS)}
    integers = {f"i{number}": tf.io.FixedLenFeature([], tf.int64) for number in range(INTS)}
    return {**floats, **integers, "y": tf.io.FixedLenFeature([], tf.int64)}


def write(path: Path, rows: int) -> str:
    """Writes gzipped tf.Examples, their keys in any order, as tfx_bsl writes them."""
    import tensorflow as tf

    draw = random.Random(1)
    names = [*criteo_spec()]
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for _ in range(rows):
            example = tf.train.Example()
            draw.shuffle(names)
            for name in names:
                values = example.features.feature[name]
                if name[0] == "f":
                    values.float_list.value.append(draw.random())
                else:
                    values.int64_list.value.append(draw.randrange(2 if name == "y" else 1_000_000))
            writer.write(example.SerializeToString())
    path.with_suffix(".rows").write_text(str(rows))
    return str(path)


if __name__ == "__main__":
    main()
