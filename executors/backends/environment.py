"""What has to hold in the process before a user's module of some framework is imported, and while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from polytrainer.executors.backends import triton_beside_tensorflow


@contextmanager
def environment_for(framework: str) -> Iterator[None]:
    """Prepares the process for a framework, as `frameworks.framework_of` names it, and puts it back afterwards."""
    triton_beside_tensorflow.install()
    if framework != "estimator":
        yield
        return
    from polytrainer.executors.backends import estimator_shim

    with estimator_shim.available():
        yield
