"""A label of words: its vocabulary from the training splits, its words as numbers, and the file that names them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from polytrainer.executors.backends.example_weights import LABELS_AT_ONCE
from polytrainer.executors.data import dataset, diagnosis, example_parsing, examples
from polytrainer.executors.data.parsing import Parser
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.base import BaseTrainer

AUTO = "auto"
FILE = ("assets.extra", "label_vocabulary.txt")  # in a model's Format-Serving and Format-TFMA
_NO_WORD = -1  # where a label has none of the words


def find_words(trainer: BaseTrainer) -> tuple[str, ...] | None:
    """The words of the label in the order of their numbers; None without `label_vocabulary`.

    Raises:
        PreflightError: If they cannot be found.
    """
    given = trainer.label_vocabulary
    if given is None:
        return None
    if problems := _argument_problems(trainer):
        raise PreflightError(problems)
    if given != AUTO:
        return tuple(given)
    found: set[bytes] = set()
    for file in dict.fromkeys(trainer.files(trainer.fn_args.train_files)):
        found.update(word for words in _words(trainer, file) for word in words)
    try:
        words = tuple(word.decode() for word in sorted(found))
    except UnicodeDecodeError as error:
        got, remedy = f"words that are not UTF-8 ({error})", "Make numbers of them in Transform."
        raise PreflightError([Problem(f"the label {trainer.label_key!r}", got, "words in UTF-8", remedy)]) from error
    if problem := _words_problem(words):
        raise PreflightError([problem])
    return words


def check(trainer: BaseTrainer) -> list[Problem]:
    """Whether there is a vocabulary, and each label of each split is in it."""
    try:
        words = trainer.label_words
        if words is None:
            return []
        known = {word.encode() for word in words}
        return [problem for file in _all_files(trainer) if (problem := _unknown_label(trainer, file, known))]
    except PreflightError as error:
        return list(error.problems)


def encoder(words: Sequence[str]) -> Callable[[Any], Any]:
    """Words → their numbers, -1 for others, by operations that need no table: they may be part of any graph."""
    import tensorflow as tf

    def encode(labels: Any) -> Any:
        is_word = tf.equal(labels[..., None], tf.constant(list(words)))
        numbers = tf.argmax(tf.cast(is_word, tf.int32), -1, output_type=tf.int64)
        return tf.where(tf.reduce_any(is_word, -1), numbers, tf.constant(_NO_WORD, tf.int64))

    return encode


def publish(trainer: BaseTrainer) -> None:
    """Writes the words, one a line, into the published model: the line's number, from 0, is what the model learned."""
    from tensorflow.io import gfile

    if trainer.label_words is None:
        return
    for model in (trainer.fn_args.serving_model_dir, trainer.fn_args.eval_model_dir):
        if not gfile.exists(model):
            continue
        path = os.path.join(model, *FILE)
        gfile.makedirs(os.path.dirname(path))
        with gfile.GFile(path, "w") as file:
            file.write("".join(f"{word}\n" for word in trainer.label_words))


def _argument_problems(trainer: BaseTrainer) -> list[Problem]:
    given, key, where = trainer.label_vocabulary, trainer.label_key, "label_vocabulary"
    if isinstance(given, str) and given != AUTO:
        return [Problem(where, repr(given), f"{AUTO!r}, or a list of words")]
    if key is None:
        return [Problem(where, "a trainer without a label_key", "a label_key")]
    if key in getattr(trainer, "encoders", {}):
        return [Problem(where, f"encoders={{{key!r}: …}} beside it", "one of the two")]
    problem = None if given is None or given == AUTO else _words_problem(tuple(given))
    problem = problem or _label_problem(key, trainer.feature_spec[key])
    return [] if problem is None else [problem]


def _label_problem(key: str, feature: Any) -> Problem | None:
    """Whether the label is of one word, or of a fixed number of them."""
    import tensorflow as tf

    if feature.dtype != tf.string:
        got, remedy = f"the label {key!r} of {feature.dtype.name}", "Leave label_vocabulary out: numbers need none."
        return Problem("label_vocabulary", got, "a label of words", remedy)
    if not isinstance(feature, tf.io.FixedLenFeature):
        got = f"the label {key!r}, of which an example may have any number"
        remedy = "Give it a shape and presence { min_fraction: 1 } in the schema."
        return Problem("label_vocabulary", got, "a label that each example has", remedy)
    return None


def _words_problem(words: Sequence[str]) -> Problem | None:
    where = "label_vocabulary"
    if not words:
        return Problem(where, "no words", "at least one")
    if odd := next((word for word in words if not isinstance(word, str) or "\n" in word or "\r" in word), None):
        return Problem(where, repr(odd), "words of type str without line breaks")
    if len(set(words)) < len(words):
        return Problem(where, f"{next(word for word in words if words.count(word) > 1)!r} twice", "each word once")
    return None


def _unknown_label(trainer: BaseTrainer, file: str, known: set[bytes]) -> Problem | None:
    """What is wrong with the first label of a file that is not among the words."""
    record = 0
    for words in _words(trainer, file):
        for word in words:
            if word not in known:
                where = f"the label {trainer.label_key!r} in record {record} of {file}"
                expected = "one of the label_vocabulary, which are " + _shown(sorted(known))
                remedy = "Leave the example out, or name all words: label_vocabulary=[…]."
                return Problem(where, repr(word.decode(errors="replace")), expected, remedy)
            record += 1
    return None


def _shown(words: Sequence[bytes], count: int = 10) -> str:
    shown = ", ".join(repr(word.decode(errors="replace")) for word in words[:count])
    return shown if len(words) <= count else f"{shown} and {len(words) - count} more"


def _all_files(trainer: BaseTrainer) -> list[str]:
    """Files of the splits that are evaluated and tested on; those of the training too, where the words were given."""
    fn_args = trainer.fn_args
    patterns = [*(getattr(fn_args, "eval_split_files", None) or {"eval": fn_args.eval_files}).values()]
    patterns += (getattr(fn_args, "test_files", None) or {}).values()
    if trainer.label_vocabulary != AUTO:
        patterns.append(fn_args.train_files)
    return list(dict.fromkeys(file for each in patterns for file in trainer.files(each)))


def _words(trainer: BaseTrainer, file: str) -> Iterator[list[bytes]]:
    """The labels of a file, batch by batch."""
    import tensorflow as tf

    key = str(trainer.label_key)
    spec = dict(trainer._stored_spec) if trainer._is_raw else {key: trainer._stored_spec[key]}
    try:
        for features in _batches(file, spec):
            label = trainer._transform_layer(features)[key] if trainer._is_raw else features[key]
            if isinstance(label, (tf.SparseTensor, tf.RaggedTensor)):
                got = "any number of words, as Transform makes it"
                raise PreflightError([Problem(f"the label {key!r}", got, "a dense label, [batch] or [batch, n]")])
            yield label.numpy().reshape(-1).tolist()
    except diagnosis.failures() as error:
        compression = "GZIP" if file.endswith(".gz") else ""
        problem = diagnosis.explain([file], compression, Parser(spec, {}, None), error).problem
        raise PreflightError([problem]) from error


def _batches(file: str, spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import tensorflow as tf

    if not examples.is_parquet(file):
        yield from dataset.epoch([file], spec, LABELS_AT_ONCE)
        return
    rows = examples.all_examples([file])
    while some := list(islice(rows, LABELS_AT_ONCE)):
        yield example_parsing.parse_examples(tf.constant(some), spec)
