"""Run time: what happens inside a node."""
