"""Words → integers, by TensorFlow operations, so that the same operations can serve."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.errors import refuse

if TYPE_CHECKING:
    import tensorflow as tf

# Any callable from a string tensor to a tensor will do; one with an attribute `cache_key` (a string that says all of
# what it does) lets decoded data be used again by another process.
Encoder = Callable[["tf.Tensor"], "tf.Tensor"]


@dataclass(frozen=True)
class Vocabulary:
    """Words → their places in a list.

    Attributes:
        words: In the order of their ids, from 0.
        num_oov: Buckets for unknown words, whose ids follow those of the words (`tf.lookup.StaticVocabularyTable`).
            With 0, the default, an unknown word is a DataError.

    Raises:
        DataError: If there are no words, one is there twice, or `num_oov` is negative.
    """

    words: Sequence[str]
    num_oov: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.words, (str, bytes)):
            raise refuse(
                "Vocabulary.words", repr(self.words), "a sequence of words", "For a file: Vocabulary.from_file."
            )
        object.__setattr__(self, "words", tuple(self.words))
        if not self.words:
            raise refuse("Vocabulary.words", "no words", "at least one")
        if odd := next((word for word in self.words if not isinstance(word, str)), None):
            raise refuse("Vocabulary.words", repr(odd), "words of type str")
        if len(set(self.words)) < len(self.words):
            twice = next(word for word in self.words if self.words.count(word) > 1)
            raise refuse("Vocabulary.words", f"{twice!r} twice", "each word once")
        if self.num_oov < 0:
            raise refuse("Vocabulary.num_oov", self.num_oov, "0 or more buckets")

    @classmethod
    def from_file(cls, path: str, num_oov: int = 0) -> Vocabulary:
        """Reads one word a line, in UTF-8, from any file system TensorFlow knows."""
        import tensorflow as tf

        with tf.io.gfile.GFile(path, "rb") as file:
            lines = file.read().decode().removesuffix("\n").split("\n")
        return cls(tuple(line.removesuffix("\r") for line in lines), num_oov)

    def unknown(self, words: Iterable[bytes]) -> bytes | None:
        """The first word, in UTF-8, that has no id."""
        known = {word.encode() for word in self.words}
        return None if self.num_oov else next((word for word in words if word not in known), None)

    @property
    def cache_key(self) -> str:
        """Says all of what it does."""
        digest = hashlib.sha256(json.dumps(self.words).encode()).hexdigest()
        return f"Vocabulary({digest}, {self.num_oov})"

    def as_op(self) -> Encoder:
        """The encoder. Its attribute `table` is to be tracked by a tf.Module that serves it."""
        import tensorflow as tf

        initializer = tf.lookup.KeyValueTensorInitializer(
            tf.constant(self.words), tf.range(len(self.words), dtype=tf.int64)
        )
        if self.num_oov:
            table = tf.lookup.StaticVocabularyTable(initializer, self.num_oov)
        else:
            table = tf.lookup.StaticHashTable(initializer, -1)

        def encode(words: tf.Tensor) -> tf.Tensor:
            ids = table.lookup(words)
            if self.num_oov:
                return ids
            known = tf.debugging.Assert(tf.reduce_all(ids >= 0), ["a word that is not in the vocabulary"])
            with tf.control_dependencies([known]):
                return tf.identity(ids)

        encode.table = table  # type: ignore[attr-defined]
        return encode


@dataclass(frozen=True)
class Hashing:
    """Words → one of so many buckets, the same one everywhere (`tf.strings.to_hash_bucket_fast`).

    Attributes:
        num_buckets: Ids are 0 to `num_buckets - 1`.
    """

    num_buckets: int

    def __post_init__(self) -> None:
        if self.num_buckets < 1:
            raise refuse("Hashing.num_buckets", self.num_buckets, "1 or more")

    @property
    def cache_key(self) -> str:
        """Says all of what it does."""
        return repr(self)

    def as_op(self) -> Encoder:
        """The encoder."""
        import tensorflow as tf

        return lambda words: tf.strings.to_hash_bucket_fast(words, self.num_buckets)


def as_op(encoder: Any) -> Encoder:
    """The TensorFlow operations of an encoder, whichever kind it is."""
    return encoder.as_op() if hasattr(encoder, "as_op") else encoder  # type: ignore[no-any-return]


def encoded(encode: Encoder, words: Any) -> Any:
    """Words, dense, sparse or ragged, through the operations of an encoder."""
    import tensorflow as tf

    if isinstance(words, tf.SparseTensor):
        return words.with_values(encode(words.values))
    if isinstance(words, tf.RaggedTensor):
        return words.with_flat_values(encode(words.flat_values))
    return encode(words)
