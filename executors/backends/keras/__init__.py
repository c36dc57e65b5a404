"""Keras 2 and Keras 3, through `tf.keras`."""
