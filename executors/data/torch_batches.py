"""Split files → batches of torch tensors, in an order that follows from a seed, an epoch and an offset."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from absl import logging
from torch.utils.data import IterableDataset, get_worker_info

from polytrainer.executors.data import cache, fingerprint, sources
from polytrainer.executors.data.anomalies import Anomaly
from polytrainer.executors.data.arena import Builder
from polytrainer.executors.data.decoded_anomalies import find_in_columns
from polytrainer.executors.data.encoders import Encoder
from polytrainer.executors.data.errors import refuse
from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.executors.data.order import Slice
from polytrainer.executors.data.packed import Assembly, CachedSplit
from polytrainer.executors.data.parsing import Parser, filled

MB = 1 << 20
LIKELY_GROWTH = 50  # decoded examples are smaller than so many times their compressed files
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
POSITION = ("seed", "epoch", "offset")


class TorchBatches(IterableDataset):  # type: ignore[misc]
    """The examples of a split as batches of torch tensors, every example once an epoch.

    A batch is `(features, label)`, or `features` alone without a `label_key`; with a `weight_key` it is `(features,
    label, weight)`, the weight float32 `[batch]`. Features are a dict by name:

    | in the feature spec | in a batch |
    |---|---|
    | FixedLenFeature | Tensor `[batch, *shape]`, int64 or float32 |
    | the same with a default | beside it `<name>_mask`, bool `[batch, *shape]`: where the example had a value |
    | FixedLenFeature of bytes | `Ragged` of uint8, one level for one word, else one more for each dimension |
    | VarLenFeature, RaggedFeature | `Ragged`, of bytes with one more level |
    | SparseFeature | `Sparse` |
    | any of bytes, with an encoder | as for int64 |

    With a `preprocess` the batch has what that returns, by the same rules, and no masks.

    **Order.** Epoch `e` is a permutation that follows from `(seed, e)` alone. Batch `i` is its examples
    `i * batch_size` to `(i + 1) * batch_size`, of which each rank takes a contiguous share; shares differ by at most
    one example and may be empty, so that all ranks have the same number of batches. Iterating yields the rest of the
    current epoch; iterating again, the next one.

    **Where the examples are.** Cached, they are decoded once, into memory or a memory-mapped file. Streaming, each
    epoch is read from the files: the shuffle then reaches as far as its buffer, and what a resumed epoch has already
    seen is read over, though not parsed.

    **In a DataLoader** (`batch_size=None`), worker `w` of `W` yields the batches `w::W`. The position is then the
    workers' own: without `persistent_workers`, each epoch begins at the position of this object, which is to be set by
    `load_state_dict`. Call `prepare()` before workers are forked; pickling, for spawned ones, does so itself.

    Attributes:
        global_size: Examples, over all ranks, in the batch that was yielded last.
    """

    def __init__(
        self,
        files: Sequence[str],
        feature_spec: FeatureSpec,
        *,
        label_key: str | None = None,
        weight_key: str | None = None,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        encoders: Mapping[str, Encoder] | None = None,
        preprocess: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        cache_mb: int = 2048,
        mode: Literal["auto", "cached", "streaming"] = "auto",
        cache_dir: str | None = None,
        num_examples: int | None = None,
        shuffle_buffer: int = 10_000,
    ) -> None:
        """Looks at the arguments; the files are read at first use, or by `prepare()`.

        Args:
            files: Paths of TFRecord files (gzip where a name ends in .gz) or of Parquet files.
            feature_spec: The features, as `feature_specs.from_schema` makes them.
            label_key: The feature that is the label.
            weight_key: The feature that says how much an example counts, one number; needs a `label_key`.
            batch_size: Examples in a batch, over all ranks.
            shuffle: Whether each epoch has an order of its own; else that of the files.
            seed: Of the shuffle; 0 or more.
            rank: Of this process, from 0.
            world_size: How many processes share out each batch.
            drop_last: Whether an incomplete last batch is left out.
            encoders: For features of bytes, by name: a Vocabulary, a Hashing, or any function of a string tensor. They
                see what `preprocess` returns.
            preprocess: From parsed features to those a batch is to have: a function of a dict of TensorFlow tensors.
            cache_mb: Decoded data up to this many MiB stay in memory.
            mode: Cached, streaming, or auto: cached, unless that would take more than half of the free disk.
            cache_dir: Where larger data are decoded to, and found again by a later process and, always, by other ranks.
                A temporary folder by default, which ends with the process.
            num_examples: In the split, where it is known: saves streaming a pass over the files, and is checked.
            shuffle_buffer: When streaming, examples among which the next one is drawn.

        Raises:
            DataError: If an argument does not fit.
        """
        checks = {
            "files": (bool(files) and not isinstance(files, (str, bytes)), files, "a sequence of paths"),
            "batch_size": (batch_size >= 1, batch_size, "1 or more"),
            "seed": (seed >= 0, seed, "0 or more"),
            "rank": (0 <= rank < world_size, f"{rank} of {world_size}", "a rank from 0 to world_size - 1"),
            "cache_mb": (cache_mb >= 0, cache_mb, "0 or more"),
            "mode": (mode in ("auto", "cached", "streaming"), repr(mode), "'auto', 'cached' or 'streaming'"),
            "shuffle_buffer": (shuffle_buffer >= 1, shuffle_buffer, "1 or more"),
            "num_examples": (num_examples is None or num_examples >= 1, num_examples, "1 or more"),
        }
        for name, (fits, got, expected) in checks.items():
            if not fits:
                raise refuse(name, got, expected)
        self.global_size = 0
        self._files = [str(file) for file in files]
        self._spec = dict(feature_spec)
        self._encoders = dict(encoders or {})
        self._preprocess = preprocess
        self._label_key, self._weight_key = label_key, weight_key
        self._batch_size, self._drop_last = batch_size, drop_last
        self._shuffle, self._shuffle_buffer = shuffle, shuffle_buffer
        self._rank, self._world_size = rank, world_size
        self._mode, self._cache_dir = mode, cache_dir
        self._cache_bytes = cache_mb * MB
        self._num_examples = num_examples
        self._seed, self._epoch, self._offset = seed, 0, 0
        self._exhausted = False  # the epoch, by a consumer that took its last batch and did not ask for another
        self._split: CachedSplit | sources.StreamedSplit | None = None
        self._assembly: Assembly | None = None
        if preprocess is None:
            self._check_names(self._spec)
            filled(self._spec)

    @property
    def num_examples(self) -> int:
        """In the whole split, for all ranks."""
        return self._prepared().num_examples

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a whole epoch."""
        full, rest = divmod(self.num_examples, self._batch_size)
        return full + (rest > 0 and not self._drop_last)

    def __len__(self) -> int:
        return self.steps_per_epoch

    def prepare(self) -> None:
        """Decodes the split, if it is to be cached, or counts it; otherwise this happens at first use.

        Raises:
            DataError: If a file is damaged, an example does not fit, or there are none.
        """
        self._prepared()

    def __iter__(self) -> Iterator[Any]:
        """The rest of the current epoch; at its end the position is the beginning of the next."""
        split, worker = self._prepared(), get_worker_info()
        if self._exhausted:
            self._next_epoch()
        if self._offset > split.num_examples:
            raise refuse("offset", self._offset, f"at most {split.num_examples} examples", "Is it of another split?")
        part = Slice(
            count=split.num_examples,
            batch_size=self._batch_size,
            drop_last=self._drop_last,
            shuffle=self._shuffle,
            seed=self._seed,
            epoch=self._epoch,
            offset=self._offset,
            rank=self._rank,
            world_size=self._world_size,
            worker=worker.id if worker else 0,
            workers=worker.num_workers if worker else 1,
        )
        assemble = self._assembly
        assert assemble is not None
        for start, stop, arrays in split.batches(part):
            self._offset = stop
            self._exhausted = stop == part.stop
            self.global_size = stop - start
            yield assemble(arrays)
        self._next_epoch()

    def state_dict(self) -> dict[str, int]:
        """The position: seed, epoch (from 0), and offset, the examples of the epoch already seen over all ranks."""
        return {"seed": self._seed, "epoch": self._epoch, "offset": self._offset}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes to a position; also to one of another batch size or number of ranks.

        Raises:
            DataError: If it is no position.
        """
        if set(state) != set(POSITION) or min(state.values()) < 0:
            raise refuse("state", dict(state), f"{', '.join(POSITION)}, each 0 or more")
        self._seed, self._epoch, self._offset = (int(state[name]) for name in POSITION)
        self._exhausted = False

    def range_of(self, name: str) -> tuple[int, int] | None:
        """The smallest and the largest value of a dense integer feature; None of any other, or when streaming."""
        split = self._prepared()
        if not isinstance(split, CachedSplit):
            return None
        whole = Assembly(split.columns, None)(split.packed.arrays)
        self._check_names(whole, name)
        values = whole[name]
        if not isinstance(values, torch.Tensor) or values.dtype not in INTEGERS:
            return None
        low, high = torch.aminmax(values)
        return int(low), int(high)

    def find_anomalies(self) -> list[Anomaly] | None:
        """NaN and infinity in the features as a batch has them; None when streaming, which has not read them."""
        split = self._prepared()
        if not isinstance(split, CachedSplit):
            return None
        return find_in_columns(Assembly(split.columns, None)(split.packed.arrays), self._files)

    def __getstate__(self) -> dict[str, Any]:
        """For another process of this machine: a split that is decoded travels as the folder it is mapped from."""
        self.prepare()
        state = {**self.__dict__, "_assembly": None}
        if isinstance(self._split, CachedSplit):
            self._split.packed = cache.on_disk(self._split.packed)
            # what it was decoded by is of no more use, and often cannot be pickled
            state.update(_spec={}, _encoders={}, _preprocess=None)
        else:
            state.update(_split=None, _num_examples=self.num_examples)
        return state

    def _next_epoch(self) -> None:
        self._epoch, self._offset, self._exhausted = self._epoch + 1, 0, False

    def _prepared(self) -> CachedSplit | sources.StreamedSplit:
        if self._split is None:
            split = self._made()
            self._check_names(column.name for column in split.columns)
            self._check_number(split.num_examples)
            if isinstance(split, CachedSplit) and self._weight_key is not None:  # now, not in the midst of a training
                Assembly(split.columns, self._weight_key, self._weight_key)(split.packed.arrays)
            self._split = split
        if self._assembly is None:
            self._assembly = Assembly(self._split.columns, self._label_key, self._weight_key)
        return self._split

    def _made(self) -> CachedSplit | sources.StreamedSplit:
        callables = {**self._encoders, **({"": self._preprocess} if self._preprocess else {})}
        directory = Path(self._cache_dir) if self._cache_dir is not None and self._mode != "streaming" else None
        key = fingerprint.key_of(self._files, self._spec, callables) if directory else None
        if directory and key and (found := cache.load(directory / key, key)):
            return CachedSplit(found)
        if sources.Forks.inherited:
            raise refuse(
                "TorchBatches",
                "its first use in a process forked from one in which TensorFlow is at work, where it would hang",
                "prepare() before the fork" if self._mode != "streaming" else "no forked process when streaming",
                "Or DataLoader(…, multiprocessing_context='spawn').",
            )
        parser = Parser(self._spec, self._encoders, self._preprocess)
        source = sources.open_source(self._files, parser)
        if self._mode == "streaming" or (self._mode == "auto" and self._too_large(source)):
            return sources.StreamedSplit(source, parser, self._num_examples, self._shuffle_buffer)
        collect = partial(self._collect, source, parser)
        return CachedSplit(cache.load_or_build(directory, key, collect) if directory and key else cache.build(collect))

    def _collect(self, source: sources.Source, parser: Parser, folder: Path) -> Builder:
        """Decodes all of it: in memory as long as it fits there, and into a folder for several ranks to share."""
        builder = Builder(parser.columns)
        shared = self._world_size > 1 and self._cache_dir is not None
        limit = 0 if shared else self._cache_bytes
        try:
            for arrays in source.chunks():
                builder.add(arrays)
                if not builder.spilled and builder.num_bytes > limit:
                    builder.spill(folder)
        except OSError as error:
            remedy = "Another cache_dir, or mode='streaming'."
            raise refuse("cache_dir", f"{folder.parent}, where writing failed ({error})", "room", remedy) from error
        return builder

    def _too_large(self, source: sources.Source) -> bool:
        """Whether decoded data would neither fit into memory nor leave half of the free disk."""
        if sources.num_bytes(self._files) * LIKELY_GROWTH <= self._cache_bytes:
            return False
        needed = source.estimated_bytes(self._num_examples)
        folder = Path(self._cache_dir or tempfile.gettempdir()).absolute()
        free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
        if needed <= max(self._cache_bytes, free // 2):
            return False
        logging.info(
            "About %d MiB of decoded examples would take more than half of the %d MiB free in %s: streaming.",
            needed // MB,
            free // MB,
            folder,
        )
        return True

    def _check_names(self, names: Any, wanted: str | None = None) -> None:
        names = sorted(names)
        for argument, name in (("label_key", self._label_key), ("weight_key", self._weight_key), ("name", wanted)):
            if name is not None and name not in names:
                raise refuse(argument, repr(name), f"a feature: {', '.join(names)}")

    def _check_number(self, actual: int) -> None:
        if not actual:
            raise refuse("files", f"no examples in {self._files}", "at least one")
        if self._num_examples is not None and self._num_examples != actual:
            raise refuse("num_examples", self._num_examples, f"{actual}, the number of examples in the files")
