"""Trained models → formats on disk."""
