"""Definition time: what a pipeline author writes."""
