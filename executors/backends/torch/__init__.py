"""PyTorch: the parts of a trainer that a name stands for, and what its models need."""

from polytrainer.executors.backends import triton_beside_tensorflow

# a training reads with TensorFlow, and PyTorch loads triton when it first exports or compiles, in a pipeline or not
triton_beside_tensorflow.install()
