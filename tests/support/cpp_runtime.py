"""Runs a SavedModel by TensorFlow's C++ runtime alone, through its C API: the loader that TensorFlow Serving stands on.

    python cpp_runtime.py <SavedModel> < request.json > answers.json

A request holds `fetches`, names of tensors, `calls`, each a dict of tensors to feed by name, and `threads`, how many of
them there are at a time. A tensor is a dict of `shape` and `values`, numbers (with `dtype`) or base64 of strings.
TensorFlow's Python package is not imported, and neither PyTorch nor ours could be.
"""

from __future__ import annotations

import base64
import ctypes
import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {1: "float32", 3: "int32", 9: "int64"}
STRING, STRING_BYTES = 7, 24
POINTER, NUMBER, LONG, SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t
LIST = (POINTER, POINTER, NUMBER)  # names, values, how many
FUNCTIONS: dict[str, tuple[Any, ...]] = {  # what is returned, then what is taken
    "AllocateTensor": (POINTER, NUMBER, POINTER, NUMBER, SIZE),
    "DeleteTensor": (None, POINTER),
    "Dim": (LONG, POINTER, NUMBER),
    "GetCode": (NUMBER, POINTER),
    "GraphOperationByName": (POINTER, POINTER, ctypes.c_char_p),
    "LoadSessionFromSavedModel": (POINTER, *[POINTER] * 4, NUMBER, *[POINTER] * 3),
    "Message": (ctypes.c_char_p, POINTER),
    "NewGraph": (POINTER,),
    "NewSessionOptions": (POINTER,),
    "NewStatus": (POINTER,),
    "NumDims": (NUMBER, POINTER),
    "SessionRun": (None, POINTER, POINTER, *LIST, *LIST, POINTER, NUMBER, POINTER, POINTER),
    "StringCopy": (None, POINTER, ctypes.c_char_p, SIZE),
    "StringInit": (None, POINTER),
    "TensorByteSize": (SIZE, POINTER),
    "TensorData": (POINTER, POINTER),
    "TensorType": (NUMBER, POINTER),
}
FORBIDDEN = ("tensorflow", "torch", "polytrainer")


class Forbidden:
    """An import hook that lets nobody import what a model server does not have."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} is imported in a process that stands for a model server")


class Output(ctypes.Structure):
    """TF_Output."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Session:
    """A SavedModel loaded by the C++ runtime."""

    def __init__(self, library: Any, path: str):
        self.tf, self.graph, self.status = library, library.TF_NewGraph(), library.TF_NewStatus()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = library.TF_LoadSessionFromSavedModel(
            library.TF_NewSessionOptions(), None, path.encode(), tags, 1, self.graph, None, self.status
        )
        self._raise_for(self.status)

    def run(self, feeds: dict[str, Any], fetches: list[str]) -> list[Any]:
        """The values of tensors; several threads may ask at once."""
        inputs = (Output * len(feeds))(*(self._output(name) for name in feeds))
        outputs = (Output * len(fetches))(*(self._output(name) for name in fetches))
        given = (ctypes.c_void_p * len(feeds))(*(self._tensor(each) for each in feeds.values()))
        got, status = (ctypes.c_void_p * len(fetches))(), self.tf.TF_NewStatus()
        fed, fetched = (inputs, given, len(feeds)), (outputs, got, len(fetches))
        self.tf.TF_SessionRun(self.session, None, *fed, *fetched, None, 0, None, status)
        self._raise_for(status)
        return [self._array(tensor) for tensor in got]

    def _output(self, name: str) -> Output:
        operation, index = name.split(":")
        found = self.tf.TF_GraphOperationByName(self.graph, operation.encode())
        if not found:
            raise KeyError(name)
        return Output(found, int(index))

    def _tensor(self, given: dict[str, Any]) -> int:
        shape, values = given["shape"], given["values"]
        dims = (ctypes.c_int64 * len(shape))(*shape)
        if "dtype" in given:
            array = np.asarray(values, given["dtype"])
            number = next(number for number, name in DTYPES.items() if name == given["dtype"])
            tensor = self.tf.TF_AllocateTensor(number, dims, len(shape), array.nbytes)
            ctypes.memmove(self.tf.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
            return tensor
        strings = [base64.b64decode(value) for value in values]
        tensor = self.tf.TF_AllocateTensor(STRING, dims, len(shape), STRING_BYTES * len(strings))
        for number, string in enumerate(strings):
            place = self.tf.TF_TensorData(tensor) + STRING_BYTES * number
            self.tf.TF_StringInit(place)
            self.tf.TF_StringCopy(place, string, len(string))
        return tensor

    def _array(self, tensor: int) -> Any:
        shape = [self.tf.TF_Dim(tensor, dim) for dim in range(self.tf.TF_NumDims(tensor))]
        content = ctypes.string_at(self.tf.TF_TensorData(tensor), self.tf.TF_TensorByteSize(tensor))
        array = np.frombuffer(content, DTYPES[self.tf.TF_TensorType(tensor)]).reshape(shape)
        self.tf.TF_DeleteTensor(tensor)
        return array.tolist()

    def _raise_for(self, status: int) -> None:
        if self.tf.TF_GetCode(status):
            raise RuntimeError(self.tf.TF_Message(status).decode())


def library() -> Any:
    """The C API in TensorFlow's wheel, found without importing it."""
    package = Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
    ctypes.CDLL(str(next(package.glob("libtensorflow_framework.so.*"))), ctypes.RTLD_GLOBAL)
    tf = ctypes.CDLL(str(next(package.glob("libtensorflow_cc.so.*"))), ctypes.RTLD_GLOBAL)
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(tf, f"TF_{name}")
        function.restype, function.argtypes = result, arguments
    return tf


def main() -> None:
    """Answers a request."""
    tf = library()
    sys.meta_path.insert(0, Forbidden())
    request = json.load(sys.stdin)
    session = Session(tf, sys.argv[1])
    with ThreadPoolExecutor(request["threads"]) as pool:
        answers = list(pool.map(lambda feeds: session.run(feeds, request["fetches"]), request["calls"]))
    assert not set(FORBIDDEN) & set(sys.modules)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
