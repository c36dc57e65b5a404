"""An object store in a folder, and what the launcher does with it: mirrors of objects in the file system of a step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from polytrainer.pipelines.kubeflow.mirrors import SCHEMES, Mirrors


def is_in_a_store(uri: str) -> bool:
    """Whether the launcher mirrors such a URI."""
    return uri.startswith(tuple(SCHEMES))


@dataclass(frozen=True)
class Store:
    """What object stores hold.

    Attributes:
        folder: Where it lies: `minio/<bucket>/<key>`, `s3/…` and `gcs/…`.
    """

    folder: Path

    def download(self, uri: str, mirrors: Mirrors) -> bool:
        """Copies what is under a URI to its mirror; says whether there was anything. Empty folders are no objects."""
        return _copy(self.path(uri), Path(mirrors.path(uri)))

    def upload(self, uri: str, mirrors: Mirrors) -> bool:
        """Copies what is in the mirror of a URI into the store; says whether there was anything."""
        return _copy(Path(mirrors.path(uri)), self.path(uri))

    def path(self, uri: str) -> Path:
        """Where an object is kept."""
        return Path(Mirrors(str(self.folder)).path(uri))


def _copy(source: Path, target: Path) -> bool:
    files = [source] if source.is_file() else [path for path in sorted(source.rglob("*")) if path.is_file()]
    for file in files:
        copy = target / file.relative_to(source) if file != source else target
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return bool(files)
