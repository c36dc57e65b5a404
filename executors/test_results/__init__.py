"""What a trained model says of each held-out example, as TFX Examples."""
