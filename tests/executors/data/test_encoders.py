"""Words → integers."""

from __future__ import annotations

import pytest

from polytrainer.executors.data import encoders

pytestmark = pytest.mark.line

WORDS = [b"b", b"a", b"zebra", b"", "ä".encode()]


def encoded(encoder, words=WORDS):
    import tensorflow as tf

    return encoders.as_op(encoder)(tf.constant(words)).numpy().tolist()


def test_a_vocabulary_is_tensorflows_own_table():
    import tensorflow as tf

    words = ["a", "b", "ä"]
    initializer = tf.lookup.KeyValueTensorInitializer(words, tf.range(3, dtype=tf.int64))
    table = tf.lookup.StaticVocabularyTable(initializer, 5)
    ids = encoded(encoders.Vocabulary(words, num_oov=5))
    assert ids == table.lookup(tf.constant(WORDS)).numpy().tolist()
    assert (ids[0], ids[1], ids[4]) == (1, 0, 2)
    assert all(3 <= number < 8 for number in ids[2:4])


def test_without_buckets_an_unknown_word_is_an_error():
    import tensorflow as tf

    assert encoded(encoders.Vocabulary(["a", "b"]), [b"b", b"a"]) == [1, 0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="a word that is not in the vocabulary"):
        encoded(encoders.Vocabulary(["a", "b"]))


def test_hashing_is_tensorflows_own():
    import tensorflow as tf

    buckets = encoded(encoders.Hashing(7))
    assert buckets == tf.strings.to_hash_bucket_fast(WORDS, 7).numpy().tolist()
    assert buckets == encoded(encoders.Hashing(7))


def test_any_function_is_an_encoder():
    import tensorflow as tf

    assert encoded(tf.strings.length) == [1, 1, 5, 0, 2]


def test_a_vocabulary_from_a_file(tmp_path):
    (tmp_path / "words.txt").write_bytes("a\r\nb c\n\u2028ä\n".encode())
    assert encoders.Vocabulary.from_file(str(tmp_path / "words.txt"), 1) == encoders.Vocabulary(
        ("a", "b c", "\u2028ä"), 1
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: encoders.Vocabulary([]), "Vocabulary.words: got no words; expected at least one"),
        (lambda: encoders.Vocabulary(["a", "b", "a"]), "Vocabulary.words: got 'a' twice; expected each word once"),
        (lambda: encoders.Vocabulary(["a", 1]), "Vocabulary.words: got 1; expected words of type str"),
        (lambda: encoders.Vocabulary(["a"], -1), "Vocabulary.num_oov: got -1; expected 0 or more"),
        (lambda: encoders.Vocabulary("words.txt"), "got 'words.txt'; .* For a file: Vocabulary.from_file"),
        (lambda: encoders.Hashing(0), "Hashing.num_buckets: got 0; expected 1 or more"),
    ],
)
def test_encoders_are_checked_where_they_are_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_key_says_all_of_what_an_encoder_does():
    made = [
        encoders.Vocabulary(["a", "b"]),
        encoders.Vocabulary(["b", "a"]),
        encoders.Vocabulary(["a", "b"], 1),
        encoders.Vocabulary(["a\nb"]),
        encoders.Hashing(2),
        encoders.Hashing(3),
    ]
    assert len({encoder.cache_key for encoder in made}) == len(made)
    assert encoders.Vocabulary(["a", "b"]).cache_key == made[0].cache_key


def test_an_encoder_for_what_is_no_word(numbered):
    from polytrainer.executors.data.torch_batches import TorchBatches

    for encoder, got in (("n", "int64 values"), ("z", "no feature of this name")):
        batches = TorchBatches(numbered.files, numbered.spec, batch_size=1, encoders={encoder: encoders.Hashing(2)})
        with pytest.raises(ValueError, match=f"encoders\\['{encoder}'\\]: got {got}; expected a feature of bytes"):
            batches.prepare()
