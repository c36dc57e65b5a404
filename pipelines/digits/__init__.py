"""Handwritten digits: real images, in PyTorch, without Transform."""
