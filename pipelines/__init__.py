"""Runners, the command line, and ready pipelines."""
