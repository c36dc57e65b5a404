"""A compiled pipeline, run on this machine as the launcher of Kubeflow Pipelines would run it."""
