"""Lets triton, which PyTorch's CUDA builds bring, load into a process that already holds a recent TensorFlow."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType

_LIBRARY = "triton._C.libtriton"
_SAFE_TENSORFLOW = (2, 16)


class _OwnSymbolsFirst(importlib.abc.MetaPathFinder):
    """Loads triton's native library with RTLD_DEEPBIND.

    TensorFlow 2.21 and triton each contain LLVM. Loaded second, triton's LLVM binds to TensorFlow's copy of the
    registry of command-line options, registers everything again, and LLVM aborts the process ("CommandLine Error:
    Option 'bitcode-mdindex-threshold' registered more than once!"). It happens as soon as a torch optimizer is built.
    RTLD_DEEPBIND makes a library prefer its own symbols.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _LIBRARY or not _clashes():
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            spec.loader = _DeepBindLoader(spec.loader.name, spec.loader.path)
        return spec


class _DeepBindLoader(importlib.machinery.ExtensionFileLoader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        before = sys.getdlopenflags()
        sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
        try:
            return super().create_module(spec)
        finally:
            sys.setdlopenflags(before)


def install() -> None:
    """Takes care of every later import of triton in this process. Calling it again changes nothing."""
    if hasattr(os, "RTLD_DEEPBIND") and not any(isinstance(finder, _OwnSymbolsFirst) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OwnSymbolsFirst())


def _clashes() -> bool:
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return False
    major, minor = (int(part) for part in tensorflow.__version__.split(".")[:2])
    return (major, minor) > _SAFE_TENSORFLOW
