"""The folders that the launcher of Kubeflow Pipelines keeps beside object stores.

Before a step runs, the launcher downloads its inputs into these folders; afterwards it uploads its outputs from there.
TFX knows nothing of them, and it cannot read `minio://` at all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

ROOT_VARIABLE = "POLYTRAINER_MIRROR_ROOT"
SCHEMES = {"minio://": "minio", "s3://": "s3", "gs://": "gcs"}  # LocalPathForURI in the launcher's launcher_v2.go


@dataclass(frozen=True)
class Mirrors:
    """Where objects of stores are on this machine.

    Attributes:
        root: The folder that holds `minio`, `s3` and `gcs`; "/" in a container.
    """

    root: str = "/"

    @classmethod
    def from_environment(cls) -> Mirrors:
        """Those of this process: below `/`, or below the folder that POLYTRAINER_MIRROR_ROOT names."""
        return cls(os.environ.get(ROOT_VARIABLE) or "/")

    def path(self, uri: str) -> str:
        """Where an object is on this machine; what is in no such store stays as it is."""
        for scheme, folder in SCHEMES.items():
            if uri.startswith(scheme):
                return self._folder(folder) + uri.removeprefix(scheme)
        return uri

    def uri(self, path: str) -> str:
        """The object that a path mirrors; a path elsewhere stays as it is."""
        for scheme, folder in SCHEMES.items():
            if path.startswith(self._folder(folder)):
                return scheme + path.removeprefix(self._folder(folder))
        return path

    def _folder(self, name: str) -> str:
        return os.path.join(self.root, name, "")
