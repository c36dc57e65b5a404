"""Run time of a ModelComparator: test results of several models → a table, a blessing and the best model."""
