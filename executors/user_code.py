"""The user's module: found, imported, its entry point checked, its sources fingerprinted."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import inspect
import os
import shutil
import sys
import sysconfig
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from polytrainer.executors import code_fingerprint
from polytrainer.executors.errors import UserCodeError
from polytrainer.proto import keys
from polytrainer.proto.problems import Problem

RUN_FN = "run_fn(fn_args)"
TRAINER_FN = "trainer_fn(fn_args, schema)"
_ARGUMENTS = {keys.RUN_FN: 1, keys.TRAINER_FN: 2}


@dataclass(frozen=True)
class Location:
    """Where the user's code is: a file in a folder of its own, or a module of an installed package.

    Attributes:
        name: Name of the module.
        file: Its source; None for a module that has none, or that is not there.
        packaged: Whether it lies in a folder of the user's, with its siblings, and not in an installed package.
        shown: How messages call it.
        entry_points: The functions that may be its entry point, (kind, name): the first that exists is it.
    """

    name: str
    file: Path | None
    packaged: bool
    shown: str
    entry_points: tuple[tuple[str, str], ...]

    @property
    def source(self) -> bytes:
        """The module's own source; empty where it has none."""
        return self.file.read_bytes() if self.file and self.file.is_file() else b""

    @property
    def sources(self) -> dict[str, bytes]:
        """The module's own source and, for a file, those of the siblings that are packaged with it, by file name."""
        if self.file is None or not self.packaged:
            return {self.file.name: self.source} if self.file else {}
        return {sibling.name: sibling.read_bytes() for sibling in self.file.parent.glob("*.py")}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the module's own source and those of the siblings that it imports, in hex."""
        return code_fingerprint.fingerprint(self.file.name if self.file else "", self.sources)


@dataclass(frozen=True)
class UserCode:
    """The user's entry point, imported.

    Attributes:
        function: The user's `run_fn` or `trainer_fn`.
        kind: "run_fn" or "trainer_fn": which of the two contracts the function keeps.
        location: Where it came from.
    """

    function: Callable[..., Any]
    kind: str
    location: Location


def locate(exec_properties: Mapping[str, Any]) -> Location:
    """Finds the user's code without importing it.

    Args:
        exec_properties: The node's execution properties: `module_path`, `module_file`, `run_fn` or `trainer_fn`.

    Raises:
        UserCodeError: If there is none, or none that can be reached.
    """
    module_path, module_file = exec_properties.get(keys.MODULE_PATH), exec_properties.get(keys.MODULE_FILE)
    dotted = {kind: exec_properties.get(kind) for kind in _ARGUMENTS}
    in_a_file = tuple((kind, dotted[kind] or kind) for kind in _ARGUMENTS)
    if module_path and "@" in module_path:
        name, wheel = module_path.split("@", maxsplit=1)
        file = _unpacked(wheel) / f"{name}.py"
        if not file.exists():
            raise UserCodeError(Problem("module_path", repr(module_path), f"a wheel that holds {name}.py"))
        return Location(name, file, True, f"{name}.py", in_a_file)
    if module_path:
        return Location(module_path, _installed(module_path), False, module_path, in_a_file)
    if module_file:
        return _located_file(module_file, in_a_file)
    for kind, path in dotted.items():
        if path:
            name, _, attribute = path.rpartition(".")
            if not name:
                raise UserCodeError(Problem(kind, repr(path), "a dotted path, e.g. 'my_package.my_module.run_fn'"))
            return Location(name, _installed(name), False, name, ((kind, attribute),))
    raise UserCodeError(
        Problem("the node's execution properties", "no user code", "a module_file, a run_fn or a trainer_fn")
    )


@contextmanager
def imported(location: Location) -> Iterator[UserCode]:
    """Imports the user's code, and keeps what it may still import lazily importable until the context ends.

    TFX imports the module with its siblings on `sys.path` and takes them off again before calling it; a lazy import
    inside `run_fn` then fails, and a sibling of the same name that another component imported earlier in the process
    is taken for this one's. Neither happens here.

    Yields:
        The user's code, imported.

    Raises:
        UserCodeError: If there is no such module, if importing it fails, or if it has no entry point that can be
            called as TFX calls it. The user's own exception is its cause.
    """
    if not location.packaged:
        module = _import(location, lambda: importlib.import_module(location.name))
        yield _user_code(location, module)
        return
    assert location.file is not None
    with _importable(location.file.parent), _restored(location.name):
        module = _import(location, lambda: _import_file(location))
        yield _user_code(location, module)


def _installed(name: str) -> Path | None:
    """The source of an installed module, if it is there and has one."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a missing parent; importing it will say so better
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _located_file(module_file: str, entry_points: tuple[tuple[str, str], ...]) -> Location:
    try:
        file = _local(module_file).resolve()
        found = file.is_file()
    except Exception as error:
        raise UserCodeError(Problem("module_file", repr(module_file), f"a readable file ({error})")) from error
    if not found:
        raise UserCodeError(
            Problem("module_file", repr(module_file), "a Python file", "There is no such file on this machine.")
        )
    return Location(file.stem, file, True, str(file), entry_points)


def _unpacked(wheel: str) -> Path:
    """The folder with the content of the wheel that TFX packaged the user's modules into: pure Python, no dependencies.

    It stays until the process ends, so that tracebacks of the user's code show its lines.
    """
    folder = tempfile.mkdtemp(prefix="polytrainer-user-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(_local(wheel)) as archive:
            archive.extractall(folder)
    except Exception as error:
        raise UserCodeError(
            Problem(
                "module_path",
                f"a wheel that cannot be read ({type(error).__name__}: {error})",
                f"the packaged user code at {wheel}",
                "Was the pipeline root's _wheels folder removed, or is it out of this machine's reach?",
            )
        ) from error
    return Path(folder).resolve()


def _local(path: str) -> Path:
    """A file on this machine: the path itself, or a copy of what lies on another file system (gs://…)."""
    if "://" not in path:
        return Path(path)
    from tfx.utils import io_utils

    return Path(io_utils.ensure_local(path))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Puts a folder at the end of `sys.path` and PYTHONPATH, and forgets its modules afterwards."""
    _forget(stale_namesakes_of=folder)
    sys_path, python_path = list(sys.path), os.environ.get("PYTHONPATH")
    sys.path.append(str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [python_path, str(folder)]))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [entry for entry in sys.path if entry != str(folder) or entry in sys_path]
        if python_path is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = python_path


@contextmanager
def _restored(name: str) -> Iterator[None]:
    """Gives a module's name back to whoever held it before, e.g. the pipeline definition that imported it too."""
    before = sys.modules.get(name)
    try:
        yield
    finally:
        if before is not None:
            sys.modules[name] = before


def _forget(stale_namesakes_of: Path) -> None:
    """Drops modules of the same names that came from a folder nobody could import them from any more."""
    for file in stale_namesakes_of.glob("*.py"):
        origin = getattr(sys.modules.get(file.stem), "__file__", None)
        if origin and Path(origin).stem == file.stem and str(Path(origin).parent) not in sys.path:
            del sys.modules[file.stem]


def _import_file(location: Location) -> ModuleType:
    assert location.file is not None
    namesake = sys.modules.get(location.name)
    if namesake is not None and _is_library(namesake):
        raise UserCodeError(
            Problem(
                location.shown,
                f"a module called {location.name!r}, while {getattr(namesake, '__file__', None) or 'a built-in'} is "
                "already imported under that name",
                "a name of its own",
                f"Rename the file, e.g. to my_{location.name}.py.",
            )
        )
    spec = importlib.util.spec_from_file_location(location.name, location.file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[location.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(location.name, None)
        raise
    return module


def _is_library(module: ModuleType) -> bool:
    """Whether a module belongs to Python or to an installed package, and not to the folder somebody works in."""
    origin = getattr(module, "__file__", None)
    if origin is None:
        return True
    homes = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(Path(origin).is_relative_to(home) for home in homes)


def _import(location: Location, importer: Callable[[], ModuleType]) -> ModuleType:
    try:
        return importer()
    except UserCodeError:
        raise
    except SyntaxError as error:
        got = f"a syntax error at line {error.lineno}: {error.msg}"
        raise UserCodeError(Problem(location.shown, got, "Python that this interpreter can read")) from error
    except ModuleNotFoundError as error:
        raise UserCodeError(_missing_module(location, error)) from error
    except SystemExit as error:
        raise UserCodeError(
            Problem(location.shown, f"a call of exit({error.code!r}) while it was imported", "a module to import")
        ) from error
    except Exception as error:
        got = f"{type(error).__name__} while it was imported{_line_of(location, error)}: {error}"
        raise UserCodeError(Problem(location.shown, got, "a module that can be imported")) from error


def _missing_module(location: Location, error: ModuleNotFoundError) -> Problem:
    if error.name and (location.name == error.name or location.name.startswith(f"{error.name}.")):
        return Problem(
            location.shown,
            f"no module named {error.name!r}",
            "an installed module",
            "Is the package that holds it installed in this environment (or in the node's image)?",
        )
    return Problem(
        location.shown,
        f"an import of {error.name!r}{_line_of(location, error)}, which is not there",
        "imports of installed packages and of sibling files",
        f"Install {error.name!r} in this environment; or, if it is a file of yours, put it into the same folder: only "
        "the .py files beside the module are packaged with it, no sub-folders.",
    )


def _line_of(location: Location, error: BaseException) -> str:
    """Where in the user's own file it happened, for the last frame there."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if location.file is not None and frame.filename == str(location.file)
    ]
    return f" at line {lines[-1]}" if lines else ""


def _user_code(location: Location, module: ModuleType) -> UserCode:
    for kind, attribute in location.entry_points:
        function = getattr(module, attribute, None)
        if function is not None:
            _check_signature(location, kind, attribute, function)
            return UserCode(function, kind, location)
    wanted = " or ".join(attribute for _, attribute in location.entry_points)
    functions = sorted(
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    )
    raise UserCodeError(
        Problem(
            location.shown,
            f"no {wanted} at its top level; its functions are {functions}",
            f"{RUN_FN}, or {TRAINER_FN} for an Estimator",
        )
    )


def _check_signature(location: Location, kind: str, attribute: str, function: Any) -> None:
    if not callable(function):
        got = f"{attribute} = {function!r}"
        raise UserCodeError(Problem(location.shown, got, "a function", "Assign a function, not what it returns."))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables written in C have none to look at
        return
    try:
        signature.bind(*[None] * _ARGUMENTS[kind])
    except TypeError as error:
        expected = RUN_FN if kind == keys.RUN_FN else TRAINER_FN
        got = f"{attribute}{signature}"
        raise UserCodeError(Problem(location.shown, got, expected, f"As it stands: {error}.")) from error
