"""The folder through which a launcher and the ranks of its job talk: on a file system that both reach."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx.dsl.io import fileio

from polytrainer.executors import run_record
from polytrainer.executors.distributed.kubernetes.rank_error import RankError
from polytrainer.proto import keys

_ARGUMENTS, _RESULT, _ERRORS = "arguments.json", "result.json", "errors"


class Handover:
    """What a job is to do, and what came of it. It stays until the same is trained again.

    Args:
        folder: Path or URI; the same for each try of the same training.
    """

    def __init__(self, folder: str):
        self.folder = folder

    def give(self, arguments: dict[str, Any]) -> None:
        """Says what is to be done, and forgets what came of an earlier try."""
        if fileio.exists(self.folder):
            fileio.rmtree(self.folder)
        self._write(_ARGUMENTS, arguments)

    def arguments(self) -> dict[str, Any]:
        """What is to be done.

        Raises:
            FileNotFoundError: If nobody has said so here.
        """
        said = self._read(_ARGUMENTS)
        if said is None:
            raise FileNotFoundError(
                f"{os.path.join(self.folder, _ARGUMENTS)}: got no such file; expected what the launcher of this job "
                "wrote. Is the pipeline root a path that pods see, too, in a volume of the job, or a bucket?"
            )
        return said  # type: ignore[no-any-return]

    def succeed(self, outputs: str) -> None:
        """Leaves what the outputs are now, for the launcher."""
        self._write(_RESULT, {"outputs": outputs})

    def result(self) -> str | None:
        """What `succeed` left; None if nobody has."""
        said = self._read(_RESULT)
        return None if said is None else str(said["outputs"])

    def fail(self, error: RankError) -> None:
        """Leaves why a rank failed."""
        self._write(f"{_ERRORS}/rank-{error.rank}.json", error.__dict__)

    def errors(self) -> list[RankError]:
        """Why ranks failed, the first before the others, which may have failed because it did."""
        found = [RankError(**json.loads(_content(path))) for path in fileio.glob(self._path(f"{_ERRORS}/rank-*.json"))]
        return sorted(found, key=lambda error: error.time)

    def again(self) -> None:
        """The same is to be done once more, from where it stopped; why it did is forgotten."""
        arguments = self.arguments()
        arguments.get("exec_properties", {}).pop(keys.RESUME, None)  # an order to start afresh is carried out
        self._write(_ARGUMENTS, arguments)
        if fileio.exists(self._path(_ERRORS)):
            fileio.rmtree(self._path(_ERRORS))

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _read(self, name: str) -> Any:
        path = self._path(name)
        return json.loads(_content(path)) if fileio.exists(path) else None

    def _write(self, name: str, said: Any) -> None:
        run_record.write(self._path(name), json.dumps(said).encode())


def _content(path: str) -> bytes:
    with fileio.open(path, "rb") as file:
        return file.read()  # type: ignore[no-any-return]
