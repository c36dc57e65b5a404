"""TFX pipelines on Kubeflow Pipelines.

A container imports this package for its entrypoint: nothing here may import kfp, TFX or a framework before it is used.
"""

from polytrainer.pipelines.kubeflow.compiling import compile

__all__ = ["compile"]
