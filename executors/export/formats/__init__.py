"""Formats that know no tf.Examples: a model from features, as it sees them, to outputs."""
